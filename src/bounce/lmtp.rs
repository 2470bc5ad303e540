//! The listener for mail from a server beside us: LMTP (RFC 2033), which answers for each recipient.
//!
//! An answer comes after the receipts are durable; while the store is away it is 451, and the server keeps the mail. Every
//! recipient is taken, since the server decides what it hands us. Lines, recipients, sizes, connections and waits are
//! bounded. There is no login: the address to listen on belongs to this machine or to a network that is trusted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Book, LOOKED_AT, Reader, Unavailable};
use crate::lifecycle::Shutdown;

/// Connections at a time; further ones wait in the kernel's backlog.
const CONNECTIONS: usize = 32;
/// RFC 5321, section 4.5.3.1, asks for 512 and 1,000 octets; its extensions for more.
const LONGEST_COMMAND: u64 = 4 << 10;
const LONGEST_LINE: u64 = 64 << 10;
/// RFC 5321, section 4.5.3.1.8.
const RECIPIENTS: usize = 100;
/// What may be sent of one mail; [`LOOKED_AT`] of it is kept.
const LARGEST: usize = 64 << 20;
/// RFC 5321, section 4.5.3.2.7.
const IDLE: Duration = Duration::from_secs(300);
/// How long `accept` rests when the process or the system is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes mail.
#[derive(Debug, Clone)]
pub struct Lmtp {
    pub reader: Reader,
    pub book: Arc<dyn Book>,
}

/// A mail under way.
#[derive(Debug, Default)]
struct Transaction {
    begun: bool,
    recipients: Vec<String>,
}

/// What follows a command.
enum Next {
    Say(&'static str),
    Content,
    Quit,
}

impl Lmtp {
    /// Serves `listener` until `part` is asked to end. A mail whose answer was not given by then comes again.
    pub async fn run(self, listener: TcpListener, part: Shutdown) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = part.asked() => return,
                accepted = accepted => accepted,
            };
            let Ok((stream, _)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (server, part) = (self.clone(), part.clone());
            let activity = part.activity("bounces over LMTP");
            tokio::spawn(async move {
                // How a connection breaks is its peer's matter: it sends again what was not answered.
                server.converse(stream, &part).await.ok();
                drop((activity, place));
            });
        }
    }

    async fn converse(&self, stream: TcpStream, part: &Shutdown) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut transaction = Transaction::default();
        say(&mut stream, "220 campaignd LMTP").await?;
        loop {
            let command = tokio::select! {
                () = part.asked() => return say(&mut stream, "421 4.3.2 campaignd stops").await,
                command = line(&mut stream, LONGEST_COMMAND) => command?,
            };
            if !command.ends_with(b"\n") {
                return say(&mut stream, "500 5.5.2 the line is too long").await;
            }
            match transaction.command(&String::from_utf8_lossy(&command)) {
                Next::Say(answer) => say(&mut stream, answer).await?,
                Next::Quit => return say(&mut stream, "221 2.0.0 bye").await,
                Next::Content => {
                    say(&mut stream, "354 end it with a dot alone").await?;
                    let content = tokio::select! {
                        () = part.asked() => return Ok(()),
                        content = content(&mut stream) => content?,
                    };
                    let answer = self.take(&content, &transaction.recipients).await;
                    for _ in &transaction.recipients {
                        say(&mut stream, answer).await?;
                    }
                    transaction = Transaction::default();
                }
            }
        }
    }

    /// The answer that every recipient of the mail gets.
    async fn take(&self, mail: &[u8], recipients: &[String]) -> &'static str {
        let reading = self.reader.read(mail, recipients, Timestamp::now());
        let filed = match reading.receipts.is_empty() {
            true => Ok(()),
            false => self.book.file(reading.receipts).await,
        };
        match filed {
            Ok(()) => {
                self.book.took(reading.kind);
                "250 2.0.0 taken"
            }
            Err(Unavailable) => "451 4.3.0 the store does not answer; come again",
        }
    }
}

impl Transaction {
    fn command(&mut self, line: &str) -> Next {
        let line = line.trim_end_matches(['\r', '\n']);
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "LHLO" => {
                *self = Transaction::default();
                Next::Say(
                    "250-campaignd\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n\
                     250-SMTPUTF8\r\n250 SIZE 67108864",
                )
            }
            // RFC 2033, section 4.1.
            "HELO" | "EHLO" => Next::Say("500 5.5.1 this is LMTP: say LHLO"),
            "MAIL" if self.begun => Next::Say("503 5.5.1 a mail is under way"),
            "MAIL" => {
                self.begun = true;
                Next::Say("250 2.1.0 ok")
            }
            "RCPT" => Next::Say(self.recipient(rest)),
            "DATA" if self.recipients.is_empty() => Next::Say("503 5.5.1 no recipients"),
            "DATA" => Next::Content,
            "RSET" => {
                *self = Transaction::default();
                Next::Say("250 2.0.0 ok")
            }
            "NOOP" => Next::Say("250 2.0.0 ok"),
            "VRFY" => Next::Say("252 2.5.0 send it, and see"),
            "QUIT" => Next::Quit,
            _ => Next::Say("500 5.5.2 no such command"),
        }
    }

    fn recipient(&mut self, rest: &str) -> &'static str {
        if !self.begun {
            return "503 5.5.1 MAIL comes first";
        }
        let path = rest.split_once(':').map_or("", |(_, path)| path.trim_start());
        let address = path.strip_prefix('<').and_then(|path| path.split('>').next()).unwrap_or_default();
        if address.is_empty() {
            return "501 5.5.4 write RCPT TO:<address>";
        }
        if self.recipients.len() == RECIPIENTS {
            return "452 4.5.3 too many recipients";
        }
        self.recipients.push(address.to_owned());
        "250 2.1.5 ok"
    }
}

/// The content up to the dot alone, dots unstuffed, of which the first [`LOOKED_AT`] bytes are kept.
async fn content(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let (mut sent, mut line_begins) = (0, true);
    loop {
        let line = line(stream, LONGEST_LINE).await?;
        if line_begins && matches!(line.as_slice(), b".\r\n" | b".\n") {
            return Ok(kept);
        }
        sent += line.len();
        if sent > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the mail has no end"));
        }
        let unstuffed = if line_begins { line.strip_prefix(b".").unwrap_or(&line) } else { &line };
        let room = LOOKED_AT - kept.len();
        kept.extend_from_slice(unstuffed.get(..room).unwrap_or(unstuffed));
        line_begins = line.ends_with(b"\n");
    }
}

/// One line with its end, or as much of a longer one as `limit` allows.
async fn line(stream: &mut BufReader<TcpStream>, limit: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut limited = stream.take(limit);
    let read = timeout(IDLE, limited.read_until(b'\n', &mut line)).await;
    match read.map_err(|_| io::ErrorKind::TimedOut)?? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}

async fn say(stream: &mut BufReader<TcpStream>, answer: &str) -> io::Result<()> {
    let answer = format!("{answer}\r\n");
    let written = stream.write_all(answer.as_bytes());
    timeout(IDLE, written).await.map_err(|_| io::ErrorKind::TimedOut)?
}
