//! Bytes on the wire: requests as official clients sent them, whole or with one byte changed, and what comes back.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use campaignd_loadtest::http::{self, Answer, Handler, Reply, Request, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The raw requests in a capture, in their order.
pub(crate) fn requests(capture: &[u8]) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let mut rest = capture;
    while let Some(end) = find(rest, b" HTTP/1.1\r\n") {
        let start = rest[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let head = start + find(&rest[start..], b"\r\n\r\n").expect("a head has an end") + 4;
        let text = String::from_utf8_lossy(&rest[start..head]).to_lowercase();
        let length = text.split_once("content-length: ").map_or(0, |(_, length)| {
            length.split("\r\n").next().and_then(|length| length.parse().ok()).expect("a length")
        });
        requests.push(rest[start..head + length].to_vec());
        rest = &rest[head + length..];
    }
    requests
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Where method, target and body stand, and the values of these headers.
pub(crate) fn places(request: &[u8], headers: &[&str]) -> Vec<Range<usize>> {
    let line = find(request, b" HTTP/1.1").expect("a request line");
    let space = find(request, b" ").expect("a method");
    let head = find(request, b"\r\n\r\n").expect("a head");
    let mut places = vec![0..space, space + 1..line, head + 4..request.len()];
    let text = String::from_utf8(request[..head].to_ascii_lowercase()).expect("heads of captures are ASCII");
    for name in headers {
        let from = text.find(&format!("\r\n{name}: ")).expect("the header is there") + 4 + name.len();
        let to = find(&text.as_bytes()[from..], b"\r\n").map_or(head, |at| from + at);
        places.push(from..to);
    }
    places
}

/// The request once for each byte in these places, with that byte changed.
pub(crate) fn altered(request: &[u8], places: &[Range<usize>]) -> Vec<Vec<u8>> {
    let alter = |at: usize| {
        let mut altered = request.to_vec();
        altered[at] ^= 1;
        altered
    };
    places.iter().cloned().flatten().map(alter).collect()
}

/// One request over a connection of its own. Nothing where the connection ends before the answer does.
pub(crate) async fn exchange(to: SocketAddr, request: &[u8]) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(to).await.expect("the simulator listens");
    stream.write_all(request).await.expect("the simulator reads");
    let mut answer = Vec::new();
    loop {
        if let Some(head) = find(&answer, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&answer[..head]).into_owned();
            let length = text.split_once("content-length: ").expect("answers have a length").1;
            let length: usize =
                length.split("\r\n").next().and_then(|length| length.parse().ok()).expect("a number");
            if answer.len() >= head + 4 + length {
                let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
                return Some((status, serde_json::from_slice(&answer[head + 4..]).unwrap_or(Value::Null)));
            }
        }
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Whether a request with one byte changed was turned away. What is no HTTP any more may get no answer at all.
pub(crate) fn refused(answer: Option<(u16, Value)>) -> bool {
    answer.is_none_or(|(status, _)| status >= 400)
}

/// A POST with these headers.
pub(crate) fn post(target: &str, headers: &[(&str, String)], body: &str) -> Vec<u8> {
    let mut request = format!("POST {target} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    (request + "\r\n" + body).into_bytes()
}

/// The customer's side of callbacks: answers them all alike and keeps them.
pub(crate) struct Customer {
    server: Server,
    path: &'static str,
}

struct Says(&'static str);

impl Handler for Says {
    async fn handle(&self, _: Request) -> Reply {
        Answer::text(self.0).into()
    }
}

impl Customer {
    pub(crate) async fn who_says(answer: &'static str) -> Customer {
        let server = Server::start("127.0.0.1:0", http::Options::default(), Arc::new(Says(answer)));
        Customer { server: server.await.expect("a free port"), path: "/hooks/sms?key=1" }
    }

    /// Says `success` to what comes to this path and query; calls may add to the query.
    pub(crate) async fn at(path: &'static str) -> Customer {
        Customer { path, ..Customer::who_says("success").await }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.server.addr(), self.path)
    }

    /// The first calls, once so many came.
    pub(crate) async fn calls(&self, count: usize) -> Vec<Request> {
        self.server.received(count as u64).await;
        let calls = self.server.requests();
        assert!(calls.iter().all(|call| call.target.starts_with(self.path)));
        calls
    }

    /// The entries of the arrays that were posted, once there are so many.
    pub(crate) async fn entries(&self, count: usize) -> Vec<Value> {
        let mut calls = 1;
        loop {
            self.server.received(calls).await;
            let posted = self.server.requests();
            let arrays = posted.iter().map(|call| serde_json::from_slice::<Vec<Value>>(&call.body));
            let entries: Vec<_> = arrays.flat_map(|array| array.expect("an array")).collect();
            if entries.len() >= count {
                return entries;
            }
            calls = posted.len() as u64 + 1;
        }
    }
}
