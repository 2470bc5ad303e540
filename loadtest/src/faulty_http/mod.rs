//! An HTTP/1.1 server that fails where its script says: before a request, within it, after it, within the answer,
//! between two requests. It records every complete request as it came.
//!
//! Written by hand, since a real server cannot be told to break off at a given byte.

mod session;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What a client just did; the script answers it.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Before TLS.
    Connect,
    /// The head was read, the body not yet.
    Head(&'a Request),
    /// The request is complete.
    Request(&'a Request),
}

/// A request as it came. At [`Event::Head`] its body is empty.
#[derive(Debug, Clone)]
pub struct Request {
    /// Connections are numbered from 0.
    pub connection: u64,
    pub method: String,
    /// Path and query, as they stand in the request line.
    pub target: String,
    /// In their order, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Request {
    /// The first value of a header; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Beside `Content-Length`.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The script's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// To go on; at [`Event::Request`] an empty 200.
    Go,
    Answer(Answer),
    /// The answer, after this long.
    Late(Duration, Answer),
    /// The answer, then the connection ends, though nothing in the answer says so.
    AnswerAndCut(Answer),
    /// So many bytes of the answer, then the connection ends.
    CutInAnswer(usize, Answer),
    /// The connection ends without a word.
    Cut,
}

/// Decides every answer. Called on the server's tasks: it must not block.
pub type Script = Arc<dyn Fn(Event<'_>) -> Action + Send + Sync>;

/// How the server behaves.
#[derive(Clone)]
pub struct Options {
    pub tls: Option<TlsAcceptor>,
    /// The longest body that is read; a longer one ends the connection.
    pub max_body: usize,
    pub script: Script,
}

impl Default for Options {
    fn default() -> Self {
        Options { tls: None, max_body: 64 << 20, script: Arc::new(|_| Action::Go) }
    }
}

impl Options {
    #[must_use]
    pub fn script(mut self, script: impl Fn(Event<'_>) -> Action + Send + Sync + 'static) -> Self {
        self.script = Arc::new(script);
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Log {
    connections: u64,
    requests: Vec<Request>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    log: Mutex<Log>,
    /// Complete requests, and connections that ended.
    progress: watch::Sender<(usize, u64)>,
}

impl Shared {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, request: Request) {
        let mut log = self.log();
        log.requests.push(request);
        let requests = log.requests.len();
        drop(log);
        self.progress.send_modify(|progress| progress.0 = requests);
    }
}

/// A running server; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { options, log: Mutex::default(), progress: watch::Sender::new((0, 0)) });
        let task = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Ok(Server { address, shared, task })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// `http` or `https` by its options.
    pub fn url(&self) -> String {
        let scheme = if self.shared.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn connections(&self) -> u64 {
        self.shared.log().connections
    }

    /// All complete requests, in the order in which their last byte was read, answered or not.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log().requests.clone()
    }

    /// Waits until at least so many requests are complete.
    pub async fn received(&self, requests: usize) {
        let mut progress = self.shared.progress.subscribe();
        // The sender lives in `self`, so that the wait ends with the count alone.
        let _progress = progress.wait_for(|(complete, _)| *complete >= requests).await;
    }

    /// Waits until the server has closed at least so many connections.
    pub async fn closed(&self, connections: u64) {
        let mut progress = self.shared.progress.subscribe();
        let _progress = progress.wait_for(|(_, closed)| *closed >= connections).await;
    }

    /// Ends the listener and every connection, without a word to the clients.
    pub async fn stop(mut self) {
        self.task.abort();
        let _cancelled = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors is all that goes wrong here: clients that leave make room again.
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let number = {
                    let mut log = shared.log();
                    log.connections += 1;
                    log.connections - 1
                };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // A client that leaves or breaks the protocol ends its connection and nothing else.
                    let _ended = session::serve(stream, number, &shared).await;
                    shared.progress.send_modify(|progress| progress.1 += 1);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
