//! A small, fast HTTP server: what all simulators of web APIs stand on.
//!
//! It reads a request whole, numbers it, hands it to the simulator's [`Handler`] and writes the [`Reply`], which may
//! be no answer at all: a connection cut before the answer or in the middle of it. Target and body reach the handler
//! as they came on the wire, so that signatures can be checked on raw bytes. It judges nothing itself. Over HTTP/2 a
//! cut ends the connection with all its streams, and a cut in the answer its stream alone.

mod content;
mod fault;
pub mod form;
mod frames;
mod message;
mod streams;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use content::Content;
pub use message::{Answer, Reply, Request};

/// A simulator's side of the server. It may wait: each connection is a task.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, request: Request) -> impl Future<Output = Reply> + Send;
}

/// How the server behaves.
#[derive(Clone)]
pub struct Options {
    /// So many requests are kept, the newest; none: memory does not grow with the run.
    pub keep: usize,
    /// The biggest body in bytes; 413 above it.
    pub max_body: usize,
    /// Spoken from the first byte.
    pub tls: Option<TlsAcceptor>,
    /// A connection that sends nothing for this long is closed, in the middle of a head too.
    pub idle: Duration,
    pub versions: Versions,
    pub http2: Http2,
}

/// What is spoken: over TLS the client chooses by ALPN, without it by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    Http1,
    /// Also to a client that does not ask for it.
    Http2,
    Both,
}

/// How connections of HTTP/2 behave.
#[derive(Debug, Clone)]
pub struct Http2 {
    /// Requests at a time on one connection: `SETTINGS_MAX_CONCURRENT_STREAMS`.
    pub streams: u32,
    /// A connection says GOAWAY once it took so many requests.
    pub requests: Option<u64>,
    /// What the frame's debug data says.
    pub goodbye: Bytes,
}

impl Default for Http2 {
    fn default() -> Self {
        Http2 { streams: 1000, requests: None, goodbye: Bytes::new() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            keep: 10_000,
            max_body: 4 << 20,
            tls: None,
            idle: Duration::from_secs(75),
            versions: Versions::Http1,
            http2: Http2::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("keep", &self.keep)
            .field("tls", &self.tls.is_some())
            .field("versions", &self.versions)
            .field("http2", &self.http2)
            .finish_non_exhaustive()
    }
}

/// What the server saw so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    pub requests: u64,
}

#[derive(Debug, Default)]
struct Log {
    counts: Counts,
    kept: VecDeque<Request>,
}

struct Shared<H> {
    handler: Arc<H>,
    options: Options,
    seen: Arc<Seen>,
}

impl<H: Handler> Shared<H> {
    /// Numbers the request and has it answered.
    async fn handle(&self, mut request: Request) -> Reply {
        self.seen.request(&mut request, self.options.keep);
        self.handler.handle(request).await
    }
}

#[derive(Debug)]
struct Seen {
    log: Mutex<Log>,
    progress: watch::Sender<u64>,
    /// How often connections of HTTP/2 were told to go away.
    goodbyes: watch::Sender<u64>,
}

impl Seen {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> u64 {
        let mut log = self.log();
        log.counts.connections += 1;
        log.counts.connections
    }

    /// Numbers the request and keeps a copy.
    fn request(&self, request: &mut Request, keep: usize) {
        let mut log = self.log();
        log.counts.requests += 1;
        request.number = log.counts.requests;
        if keep > 0 {
            if log.kept.len() == keep {
                log.kept.pop_front();
            }
            log.kept.push_back(request.clone());
        }
        drop(log);
        self.progress.send_replace(request.number);
    }
}

/// A running server; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start<H: Handler>(
        address: impl ToSocketAddrs,
        options: Options,
        handler: Arc<H>,
    ) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen {
            log: Mutex::default(),
            progress: watch::Sender::new(0),
            goodbyes: watch::Sender::new(0),
        });
        let shared = Arc::new(Shared { handler, options, seen: Arc::clone(&seen) });
        let accepting = tokio::spawn(accept(listener, shared));
        Ok(Server { address, seen, accepting })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    pub fn counts(&self) -> Counts {
        self.seen.log().counts
    }

    /// The newest requests in the order of their numbers, as many as are kept.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.log().kept.iter().cloned().collect()
    }

    /// Waits until at least so many requests came.
    pub async fn received(&self, requests: u64) {
        let mut progress = self.seen.progress.subscribe();
        // The sender lives in `self`, so that the wait ends with the count alone.
        let _count = progress.wait_for(|count| *count >= requests).await;
    }

    /// Every connection of HTTP/2 says GOAWAY, answers what it took, and takes no more.
    pub fn go_away(&self) {
        self.seen.goodbyes.send_modify(|goodbyes| *goodbyes += 1);
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(mut self) {
        self.accepting.abort();
        let _cancelled = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<H: Handler>(listener: TcpListener, shared: Arc<Shared<H>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors is all that goes wrong here: clients that leave make room again.
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let number = shared.seen.connection();
                connections.spawn(connection(stream, number, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<H: Handler>(stream: TcpStream, number: u64, shared: Arc<Shared<H>>) {
    // A client that breaks off is not the server's trouble: the test looks at what was received.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match shared.options.tls.clone() {
        None => {
            let http2 = match shared.options.versions {
                Versions::Http1 => false,
                Versions::Http2 => true,
                Versions::Both => asks_for_http2(&stream, shared.options.idle).await,
            };
            serve(stream, http2, number, &shared).await;
        }
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                let http2 = match shared.options.versions {
                    Versions::Http1 => false,
                    Versions::Http2 => true,
                    Versions::Both => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
                };
                serve(stream, http2, number, &shared).await;
            }
        }
    }
}

/// Whether the first bytes are those of HTTP/2 with prior knowledge (RFC 9113, section 3.4).
async fn asks_for_http2(stream: &TcpStream, idle: Duration) -> bool {
    let mut first = [0; 3];
    let peeked = async {
        while stream.peek(&mut first).await.is_ok_and(|bytes| (1..first.len()).contains(&bytes)) {
            // Part of a first word: the rest is under way.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(idle, peeked).await.is_ok() && first == *b"PRI"
}

/// Ends the connection at once.
#[derive(Debug)]
struct CutNow;

impl fmt::Display for CutNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut by the script")
    }
}

impl std::error::Error for CutNow {}

async fn serve<H: Handler, S>(stream: S, http2: bool, number: u64, shared: &Shared<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if http2 {
        return streams::serve(stream, number, shared).await;
    }
    let service = service_fn(|request: hyper::Request<Incoming>| answer(request, number, shared));
    let _ended = hyper::server::conn::http1::Builder::new()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(shared.options.idle)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer<H: Handler>(
    request: hyper::Request<Incoming>,
    connection: u64,
    shared: &Shared<H>,
) -> Result<hyper::Response<Content>, CutNow> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, shared.options.max_body).collect().await else {
        return Ok(response(Answer::status(StatusCode::PAYLOAD_TOO_LARGE), false));
    };
    let request = Request {
        connection,
        number: 0,
        method: head.method,
        target: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
        headers: head.headers,
        body: body.to_bytes(),
    };
    match shared.handle(request).await {
        Reply::Answer(answer) => Ok(response(answer, false)),
        Reply::CutInAnswer(answer) => Ok(response(answer, true)),
        Reply::Cut => Err(CutNow),
    }
}

fn response(answer: Answer, cut: bool) -> hyper::Response<Content> {
    let mut response = hyper::Response::new(Content::new(answer.body, cut));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    struct Script;

    impl Handler for Script {
        async fn handle(&self, request: Request) -> Reply {
            match request.path() {
                "/cut" => Reply::Cut,
                "/half" => Reply::CutInAnswer(Answer::text("0123456789")),
                _ => Answer::text(request.query().to_owned()).into(),
            }
        }
    }

    async fn server() -> Server {
        Server::start("127.0.0.1:0", Options { keep: 2, ..Options::default() }, Arc::new(Script))
            .await
            .unwrap()
    }

    /// All that the server says until it closes.
    async fn say(server: &Server, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn requests_on_one_connection_are_answered_in_turn() {
        let server = server().await;
        let answers = say(
            &server,
            b"GET /a?x=%20+* HTTP/1.1\r\nhost: h\r\n\r\n\
              POST /b?second HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
        )
        .await;
        assert!(answers.contains("x=%20+*HTTP/1.1 200"), "{answers}");
        assert!(answers.ends_with("second"), "{answers}");
        assert_eq!(server.counts(), Counts { connections: 1, requests: 2 });
        server.received(2).await;
        let kept = server.requests();
        assert_eq!(kept[1].body, "abc");
        assert_eq!((kept[1].connection, kept[1].number), (1, 2));
    }

    #[tokio::test]
    async fn cuts_leave_no_answer_or_half_of_one() {
        let server = server().await;
        assert_eq!(say(&server, b"GET /cut HTTP/1.1\r\nhost: h\r\n\r\n").await, "");
        let half = say(&server, b"GET /half HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert!(half.contains("content-length: 10") && half.ends_with("01234"), "{half}");
        say(&server, b"GET /cut HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert_eq!(server.requests().len(), 2, "only the newest are kept");
    }

    #[tokio::test]
    async fn tls_is_spoken_from_the_first_byte() {
        use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto, pki_types};

        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = own.cert.der().clone();
        let key = pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let options = Options { tls: Some(TlsAcceptor::from(Arc::new(config))), ..Options::default() };
        let server = Server::start("127.0.0.1:0", options, Arc::new(Script)).await.unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(server.addr()).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut stream =
            tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        stream.write_all(b"GET /?private HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"private"), "{}", String::from_utf8_lossy(&answer));
    }
}
