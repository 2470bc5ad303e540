//! The client against a server that speaks frame by frame, and so breaks off wherever there is a place for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Client, Post};
use crate::model::{Outcome, Reason};
use crate::provider::certificate::certificate;
use crate::provider::http::{Endpoint, NoAnswer, Timeouts};

/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

struct Server(TcpListener);

/// A connection, as the server sees it.
struct Peer(TcpStream);

impl Server {
    async fn start() -> Self {
        Server(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn client(&self, answer: Duration) -> Client {
        let timeouts = Timeouts { answer, ..Timeouts::default() };
        let base = format!("http://{}", self.0.local_addr().unwrap());
        Client::new(Arc::new(Endpoint::http2(&base, None, timeouts).unwrap()))
    }

    /// Takes a connection that may have `streams` requests at once.
    async fn accept(&self, streams: u32) -> Peer {
        let mut peer = Peer(self.0.accept().await.unwrap().0);
        peer.0.read_exact(&mut [0; 24]).await.unwrap();
        let limit = [&[0, 3][..], &streams.to_be_bytes()].concat();
        peer.write(SETTINGS, 0, 0, &limit).await;
        peer
    }
}

impl Peer {
    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    /// Kind, flags, stream and payload of the next frame.
    async fn read(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
    }

    /// Waits until the client has read everything. Returns the kinds of the frames that it sent by then.
    async fn heard(&mut self) -> Vec<u8> {
        self.write(PING, 0, 0, &[7; 8]).await;
        let mut kinds = Vec::new();
        loop {
            match self.read().await {
                (PING, ACK, ..) => return kinds,
                (kind, ..) => kinds.push(kind),
            }
        }
    }

    /// The stream of the next request that is complete.
    async fn request(&mut self) -> u32 {
        loop {
            match self.read().await {
                (SETTINGS, 0, ..) => self.write(SETTINGS, ACK, 0, &[]).await,
                (DATA, END_STREAM, stream, _) => return stream,
                _ => {}
            }
        }
    }

    async fn requests(&mut self, count: usize) -> BTreeSet<u32> {
        let mut streams = BTreeSet::new();
        while streams.len() < count {
            streams.insert(self.request().await);
        }
        streams
    }

    /// Status 200, and the stream's number as the body.
    async fn answer(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS, stream, &[0x88]).await;
        self.write(DATA, END_STREAM, stream, stream.to_string().as_bytes()).await;
    }

    async fn answer_all(&mut self, streams: impl IntoIterator<Item = u32>) {
        for stream in streams {
            self.answer(stream).await;
        }
    }

    async fn reset(&mut self, stream: u32, code: u32) {
        self.write(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    /// Takes nothing above `last`.
    async fn go_away(&mut self, last: u32) {
        let payload = [&last.to_be_bytes()[..], &0_u32.to_be_bytes(), br#"{"reason":"Shutdown"}"#].concat();
        self.write(GOAWAY, 0, 0, &payload).await;
    }

    async fn cut(self) {
        self.0.set_zero_linger().unwrap();
    }
}

const LONG: Duration = Duration::from_secs(60);

fn posts(count: usize) -> Vec<Post> {
    let post = |n| Post { path: format!("/{n}"), headers: HeaderMap::new(), body: Bytes::from_static(b"{}") };
    (0..count).map(post).collect()
}

async fn post(client: &mut Client, count: usize) -> Vec<String> {
    client.post(&posts(count), &|_| ()).await.into_iter().map(shown).collect()
}

/// The body, or what became of the request.
fn shown(answer: Result<Response<Bytes>, NoAnswer>) -> String {
    match answer {
        Ok(response) => String::from_utf8(response.body().to_vec()).unwrap(),
        Err(NoAnswer::NotSent(outcome)) => format!("not sent: {}", outcome.reason().unwrap().as_str()),
        Err(NoAnswer::InDoubt { reason, .. }) => format!("in doubt: {}", reason.as_str()),
    }
}

const LOST: &str = "in doubt: connection_lost";
const NO_ANSWER: &str = "in doubt: no_answer";
const NOT_SENT: &str = "not sent: connection_failed";

#[tokio::test]
async fn answers_land_on_their_own_requests_in_whatever_order_they_come() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    let (answers, mut peer) = tokio::join!(post(&mut client, 3), async {
        let mut peer = server.accept(100).await;
        let streams = peer.requests(3).await;
        peer.answer_all(streams.into_iter().rev()).await;
        peer
    });
    assert_eq!(answers, ["1", "3", "5"]);
    let (answers, ()) = tokio::join!(post(&mut client, 2), async {
        let streams = peer.requests(2).await;
        peer.answer_all(streams).await;
    });
    assert_eq!(answers, ["7", "9"], "over the same connection");
}

#[tokio::test]
async fn no_more_requests_are_open_than_the_server_allows() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    let (answers, ()) = tokio::join!(post(&mut client, 4), async {
        let mut peer = server.accept(1).await;
        for stream in [1, 3, 5, 7] {
            assert_eq!(peer.request().await, stream);
            assert!(!peer.heard().await.contains(&HEADERS), "one request too many");
            peer.answer(stream).await;
        }
    });
    assert_eq!(answers, ["1", "3", "5", "7"]);
}

#[tokio::test]
async fn what_a_goaway_excludes_goes_again_and_nothing_else() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    let (answers, ()) = tokio::join!(post(&mut client, 3), async {
        let mut old = server.accept(100).await;
        assert_eq!(old.requests(3).await, BTreeSet::from([1, 3, 5]));
        old.go_away(3).await;
        old.answer(1).await;
        old.heard().await;
        old.cut().await;
        let mut new = server.accept(100).await;
        let stream = new.request().await;
        new.answer(stream).await;
    });
    // The second was taken, and its answer is lost.
    assert_eq!(answers, ["1", LOST, "1"]);
}

#[tokio::test]
async fn refused_streams_go_again_once() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    let (answers, ()) = tokio::join!(post(&mut client, 2), async {
        let mut peer = server.accept(100).await;
        peer.requests(2).await;
        peer.reset(3, REFUSED_STREAM).await;
        peer.answer(1).await;
        assert_eq!(peer.request().await, 5);
        peer.reset(5, REFUSED_STREAM).await;
        assert_eq!(peer.request().await, 7);
        peer.reset(7, REFUSED_STREAM).await;
    });
    // The first round brought an answer, the second and third none.
    assert_eq!(answers, ["1", NOT_SENT]);
}

#[tokio::test]
async fn a_stream_that_is_reset_is_in_doubt_and_the_others_are_not() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    let (answers, ()) = tokio::join!(post(&mut client, 3), async {
        let mut peer = server.accept(100).await;
        peer.requests(3).await;
        peer.reset(3, INTERNAL_ERROR).await;
        peer.answer_all([1, 5]).await;
    });
    assert_eq!(answers, ["1", LOST, "5"]);
}

#[tokio::test]
async fn a_cut_after_the_requests_is_doubt() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    let (answers, ()) = tokio::join!(post(&mut client, 2), async {
        let mut peer = server.accept(100).await;
        peer.requests(2).await;
        peer.cut().await;
    });
    assert_eq!(answers, [LOST, LOST]);
}

#[tokio::test]
async fn what_waited_for_its_turn_in_a_cut_was_not_sent() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    let left = Mutex::new(BTreeSet::new());
    let note = |n| {
        left.lock().unwrap().insert(n);
    };
    let requests = posts(4);
    let (answers, ()) = tokio::join!(client.post(&requests, &note), async {
        let mut peer = server.accept(1).await;
        peer.request().await;
        peer.cut().await;
        // Those that were not sent come over a new connection, which the server does not want.
        drop(server.0);
    });
    let answers: Vec<_> = answers.into_iter().map(shown).collect();
    assert_eq!(answers[0], LOST);
    assert_eq!(answers[2..], [NOT_SENT, NOT_SENT]);
    assert!(left.lock().unwrap().contains(&0) && !left.lock().unwrap().contains(&3));
}

#[tokio::test]
async fn a_server_that_is_away_gets_nothing() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    drop(server);
    assert_eq!(post(&mut client, 2).await, [NOT_SENT, NOT_SENT]);
}

#[tokio::test]
async fn silence_is_doubt_and_the_end_of_the_connection() {
    let server = Server::start().await;
    let mut client = server.client(Duration::from_millis(300));
    let (answers, peer) = tokio::join!(post(&mut client, 1), async {
        let mut peer = server.accept(100).await;
        peer.request().await;
        peer
    });
    assert_eq!(answers, [NO_ANSWER]);
    let (answers, ()) = tokio::join!(post(&mut client, 1), async {
        let mut peer = server.accept(100).await;
        let stream = peer.request().await;
        peer.answer(stream).await;
    });
    assert_eq!(answers, ["1"]);
    drop(peer);
}

#[tokio::test]
async fn a_server_that_never_says_what_it_takes_gets_nothing() {
    let server = Server::start().await;
    let mut client = server.client(Duration::from_millis(300));
    let requests = posts(2);
    let (answers, peers) = tokio::join!(client.post(&requests, &|_| ()), async {
        [server.0.accept().await.unwrap(), server.0.accept().await.unwrap()]
    });
    assert!(answers.iter().all(|answer| match answer {
        Err(NoAnswer::NotSent(outcome)) => outcome.as_str() == "retry",
        // The preface goes out meanwhile, which cannot be told from the request.
        Err(NoAnswer::InDoubt { reason, .. }) => *reason == Reason::NoAnswer,
        Ok(_) => false,
    }));
    drop(peers);
}

#[tokio::test]
async fn pings_are_answered_between_requests() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    let (ready, mut peer) = tokio::join!(client.ready(), server.accept(100));
    ready.unwrap();
    peer.heard().await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_costs_nothing() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    for _ in 0..3 {
        let (answers, ()) = tokio::join!(post(&mut client, 1), async {
            let mut peer = server.accept(100).await;
            let stream = peer.request().await;
            peer.answer(stream).await;
            peer.go_away(stream).await;
        });
        assert_eq!(answers, ["1"]);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    let server = Server::start().await;
    let mut client = server.client(LONG);
    let endless = async {
        let mut peer = server.accept(100).await;
        let stream = peer.request().await;
        peer.write(HEADERS, END_HEADERS, stream, &[0x88]).await;
        // Of the connection and of the stream.
        let mut windows = [65_535_i64; 2];
        loop {
            while windows.iter().all(|window| *window >= 16_384) {
                peer.write(DATA, 0, stream, &[b'x'; 16_384]).await;
                windows.iter_mut().for_each(|window| *window -= 16_384);
            }
            if let (WINDOW_UPDATE, _, stream, more) = peer.read().await {
                windows[usize::from(stream > 0)] += i64::from(u32::from_be_bytes(more.try_into().unwrap()));
            }
        }
    };
    tokio::select! {
        biased;
        answers = post(&mut client, 1) => assert_eq!(answers, [NO_ANSWER]),
        () = endless => {}
    }
}

#[tokio::test]
async fn over_tls_the_server_must_agree_to_http2() {
    let (acceptor, ca) = certificate();
    let server = Server::start().await;
    let base = format!("https://{}", server.0.local_addr().unwrap());
    let endpoint = Endpoint::http2(&base, Some(ca.path()), Timeouts::default()).unwrap();
    let mut client = Client::new(Arc::new(endpoint));
    let (ready, _stream) = tokio::join!(client.ready(), async {
        let (stream, _) = server.0.accept().await.unwrap();
        acceptor.accept(stream).await
    });
    let Err(Outcome::AccountRefused { detail }) = ready else { panic!("{ready:?}") };
    assert!(detail.contains("HTTP/2"), "{detail}");
}
