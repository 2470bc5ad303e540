//! Over LMTP: an answer a recipient, and none before the receipts are kept.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::bounce::Lmtp;
use crate::lifecycle::Shutdown;

struct Server {
    address: SocketAddr,
    book: Arc<Notebook>,
    part: Shutdown,
    run: tokio::task::JoinHandle<()>,
}

async fn server() -> Server {
    let (book, part) = (Arc::new(Notebook::default()), Shutdown::new("bounces"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lmtp = Lmtp { reader: reader(), book: book.clone() };
    Server { address, book, part: part.clone(), run: tokio::spawn(lmtp.run(listener, part)) }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn to(server: &Server) -> Client {
        let mut client = Client(BufReader::new(TcpStream::connect(server.address).await.unwrap()));
        assert_eq!(client.code().await, "220");
        client.write("LHLO mta.example\r\n").await;
        assert_eq!(client.code().await, "250");
        client
    }

    async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// The code of the next answer, its last line's.
    async fn code(&mut self) -> String {
        loop {
            let mut line = String::new();
            // A connection that is reset has ended, too.
            self.0.read_line(&mut line).await.unwrap_or_default();
            if line.get(3..4) != Some("-") {
                return line.chars().take(3).collect();
            }
        }
    }

    async fn codes(&mut self, n: usize) -> Vec<String> {
        let mut codes = Vec::new();
        for _ in 0..n {
            codes.push(self.code().await);
        }
        codes
    }

    async fn says(&mut self, command: &str) -> String {
        self.write(&format!("{command}\r\n")).await;
        self.code().await
    }
}

fn stuffed(mail: &str) -> String {
    mail.replace("\r\n.", "\r\n..") + ".\r\n"
}

#[tokio::test]
async fn a_pipelined_report_is_kept_before_it_is_answered() {
    let server = server().await;
    let mut client = Client::to(&server).await;
    let to = address();
    client.write(&format!("MAIL FROM:<> SIZE=100\r\nRCPT TO:<{to}> ORCPT=rfc822;x\r\nDATA\r\n")).await;
    assert_eq!(client.codes(3).await, ["250", "250", "354"]);
    let mail = mail("postfix").replace("This is the mail system", ".This is the mail system");
    client.write(&stuffed(&mail)).await;
    assert_eq!(client.code().await, "250");
    assert_eq!(server.book.receipts().len(), 1);
    assert_eq!(server.book.kinds(), [Kind::Report]);
    assert_eq!(client.says("QUIT").await, "221");
}

#[tokio::test]
async fn every_recipient_gets_an_answer_and_while_the_store_is_away_none_is_taken() {
    let server = server().await;
    server.book.goes(true);
    let mut client = Client::to(&server).await;
    for answers in [["451", "451"], ["250", "250"]] {
        client
            .write(&format!(
                "MAIL FROM:<>\r\nRCPT TO:<{}>\r\nRCPT TO:<abuse@b.example>\r\nDATA\r\n",
                address()
            ))
            .await;
        assert_eq!(client.codes(4).await, ["250", "250", "250", "354"]);
        client.write(&stuffed(&mail("gmail_unknown"))).await;
        assert_eq!(client.codes(2).await, answers);
        server.book.goes(false);
    }
    assert_eq!(server.book.receipts().len(), 1);
}

#[tokio::test]
async fn what_is_no_report_is_taken_and_forgotten() {
    let server = server().await;
    let mut client = Client::to(&server).await;
    let endless = format!("Subject: {}\r\n", "x".repeat(400_000));
    for mail in [mail("vacation"), "\r\n".to_owned(), "no mail at all\r\n".to_owned(), endless] {
        client.write(&format!("MAIL FROM:<a@b.example>\r\nRCPT TO:<{}>\r\nDATA\r\n", address())).await;
        assert_eq!(client.codes(3).await, ["250", "250", "354"]);
        client.write(&stuffed(&mail)).await;
        assert_eq!(client.code().await, "250");
    }
    assert_eq!(server.book.kinds(), [Kind::Other; 4]);
    assert!(server.book.receipts().is_empty());
}

#[tokio::test]
async fn commands_out_of_order_are_refused() {
    let server = server().await;
    let mut client = Client::to(&server).await;
    for (command, answer) in [
        ("EHLO mta.example", "500"),
        ("RCPT TO:<a@b.example>", "503"),
        ("DATA", "503"),
        ("MAIL FROM:<>", "250"),
        ("MAIL FROM:<>", "503"),
        ("DATA", "503"),
        ("RCPT TO:a@b.example", "501"),
        ("RCPT TO:<>", "501"),
        ("RSET", "250"),
        ("RCPT TO:<a@b.example>", "503"),
        ("VRFY a", "252"),
        ("NOOP", "250"),
        ("\u{7f}", "500"),
    ] {
        assert_eq!(client.says(command).await, answer, "{command}");
    }
    client.says("MAIL FROM:<>").await;
    for _ in 0..100 {
        assert_eq!(client.says("RCPT TO:<a@b.example>").await, "250");
    }
    assert_eq!(client.says("RCPT TO:<a@b.example>").await, "452");
    client.write(&"x".repeat(10_000)).await;
    assert_eq!(client.code().await, "500");
    assert_eq!(client.code().await, "", "the connection ends");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_with_a_word() {
    let server = server().await;
    let mut client = Client::to(&server).await;
    server.part.ask();
    assert_eq!(client.code().await, "421");
    server.run.await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    assert_eq!(server.part.drain(deadline, std::future::pending()).await, Ok(()));
}
