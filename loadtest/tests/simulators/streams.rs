//! A client of HTTP/2 that looks at every answer and every end, and the server as it sees it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use campaignd_loadtest::http::{Answer, Handler, Http2, Options, Reply, Request, Server, Versions};
use h2::client::{ResponseFuture, SendRequest};
use hyper::header::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// One connection.
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    /// How the connection ended.
    pub(crate) end: JoinHandle<Result<(), h2::Error>>,
}

pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Client {
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Client {
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        Client { sender, end: tokio::spawn(connection) }
    }

    /// Sends a request; the answer is read by [`answered`].
    pub(crate) async fn send(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> ResponseFuture {
        self.sender.clone().ready().await.expect("a connection that takes requests");
        let mut request = hyper::Request::post(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let (answer, mut content) = self.sender.send_request(request, body.is_empty()).expect("taken");
        if !body.is_empty() {
            content.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("sent");
        }
        answer
    }

    pub(crate) async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answered, h2::Error> {
        answered(self.send(path, headers, body).await).await
    }
}

pub(crate) async fn answered(answer: ResponseFuture) -> Result<Answered, h2::Error> {
    let (head, mut content) = answer.await?.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = content.data().await {
        let data = data?;
        content.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Answered { status: head.status.as_u16(), headers: head.headers, body })
}

/// Answers with what it was told; `/wait` once a permit is there.
struct Desk(Semaphore);

impl Handler for Desk {
    async fn handle(&self, request: Request) -> Reply {
        let body = String::from_utf8(request.body.to_vec()).expect("text");
        match request.path() {
            "/cut" => return Reply::Cut,
            "/half" => return Reply::CutInAnswer(Answer::text("123456")),
            "/wait" => self.0.acquire().await.expect("open").forget(),
            _ => {}
        }
        Answer::text(if body.is_empty() { request.number.to_string() } else { body }).into()
    }
}

async fn start(http2: Http2) -> (Server, Arc<Desk>) {
    let desk = Arc::new(Desk(Semaphore::new(0)));
    let options = Options { versions: Versions::Both, http2, ..Options::default() };
    (Server::start("127.0.0.1:0", options, Arc::clone(&desk)).await.expect("a free port"), desk)
}

async fn connect(server: &Server) -> Client {
    Client::over(TcpStream::connect(server.addr()).await.expect("the server listens")).await
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let (server, _) = start(Http2::default()).await;
    let mut client = connect(&server).await;
    let long = "9".repeat(100_000);
    assert_eq!(client.call("/", &[], "7").await.unwrap().body, 7);
    assert_eq!(client.call("/", &[], &format!("\"{long}\"")).await.unwrap().body, long.as_str());
    let old = crate::wire::post("/", &[("host", "h".to_owned())], "8");
    assert_eq!(crate::wire::exchange(server.addr(), &old).await.unwrap().1, 8);
    assert_eq!((server.counts().connections, server.counts().requests), (2, 3));
}

#[tokio::test]
async fn a_cut_takes_the_connection_with_it_and_a_cut_in_the_answer_its_stream() {
    let (server, _) = start(Http2::default()).await;
    let mut client = connect(&server).await;
    let half = client.call("/half", &[], "").await;
    assert!(half.err().unwrap().is_reset());
    let waiting = client.send("/wait", &[], "").await;
    server.received(2).await;
    let cut = client.send("/cut", &[], "").await;
    for lost in [waiting, cut] {
        let lost = answered(lost).await.err().expect("no answer");
        assert!(lost.is_io(), "{lost}");
    }
}

#[tokio::test]
async fn after_the_goodbye_what_was_taken_is_answered_and_the_rest_is_not() {
    let goodbye = Bytes::from_static(br#"{"reason":"Shutdown"}"#);
    let (server, desk) = start(Http2 { requests: Some(2), goodbye, ..Http2::default() }).await;
    let mut client = connect(&server).await;
    // All three leave before the server has said anything.
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(client.send("/wait", &[], "").await);
    }
    server.received(2).await;
    desk.0.add_permits(3);
    let third = answered(sent.pop().unwrap()).await.err().expect("above the last stream");
    assert!(third.is_go_away() && third.is_remote(), "{third}");
    for (taken, number) in sent.into_iter().zip(1..) {
        assert_eq!(answered(taken).await.unwrap().body, number);
    }
    assert_eq!(server.counts().requests, 2, "the third was not taken");
}

#[tokio::test]
async fn goodbye_is_said_on_demand() {
    let (server, desk) = start(Http2::default()).await;
    let mut client = connect(&server).await;
    let taken = client.send("/wait", &[], "").await;
    server.received(1).await;
    server.go_away();
    desk.0.add_permits(1);
    assert_eq!(answered(taken).await.unwrap().body, 1);
    client.end.await.unwrap().expect("a connection that ends in good order");
}
