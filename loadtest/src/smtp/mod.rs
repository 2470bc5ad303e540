//! An SMTP server that takes everything in and delivers nothing: fast, scriptable, and strict about the protocol.
//!
//! Vocabulary: a *script* decides the answer at each [`Event`]; what was acknowledged is *received*. A message counts
//! as received once its final dot is read and the script lets it pass, whether or not the answer reaches the client.

mod session;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What a client just did; the script answers it.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    Connect,
    Mail {
        from: &'a str,
    },
    Rcpt {
        from: &'a str,
        to: &'a str,
    },
    Data {
        from: &'a str,
        to: &'a [String],
    },
    /// The final dot was read. `content` is without dot-stuffing.
    End {
        from: &'a str,
        to: &'a [String],
        content: &'a [u8],
    },
}

/// The script's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// What a server without objections says.
    Go,
    /// To go on, after this long.
    Wait(Duration),
    /// This line, without its CRLF. A 4xx or 5xx refuses; a 354 at [`Event::Data`] is given even without recipients.
    Reply(String),
    /// This line, then the connection ends.
    ReplyAndCut(String),
    /// The connection ends without a word.
    Cut,
    /// At [`Event::Data`]: the go-ahead, then the connection ends as soon as content arrives.
    CutInContent,
}

impl Action {
    pub fn reply(line: impl Into<String>) -> Self {
        Action::Reply(line.into())
    }
}

/// Decides every answer. Called on the server's tasks: it must not block.
pub type Script = Arc<dyn Fn(Event<'_>) -> Action + Send + Sync>;

/// How much of each received message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Counters alone: memory does not grow with the run.
    Counts,
    Envelopes,
    Content,
}

/// The one account that may log in.
#[derive(Debug, Clone)]
pub struct Account {
    pub username: String,
    pub password: String,
    /// As advertised: `PLAIN LOGIN`.
    pub mechanisms: &'static str,
}

/// How the server behaves.
#[derive(Clone)]
pub struct Options {
    pub keep: Keep,
    /// EHLO keywords that are not advertised. Without `PIPELINING` a client that pipelines is cut off.
    pub without: &'static [&'static str],
    /// 421 and the end to the MAIL after so many messages of a connection.
    pub messages_per_connection: Option<u64>,
    /// Demanded before MAIL.
    pub account: Option<Account>,
    /// Offered as STARTTLS, or spoken from the first byte.
    pub tls: Option<TlsAcceptor>,
    pub implicit_tls: bool,
    /// The biggest message, as advertised with SIZE.
    pub max_size: usize,
    /// TCP with Ethernet's segments and a small window. With loopback's own the kernel holds megabytes under way, and no
    /// client sees a cut before its last byte is written.
    pub narrow: bool,
    pub script: Script,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            keep: Keep::Content,
            without: &[],
            messages_per_connection: None,
            account: None,
            tls: None,
            implicit_tls: false,
            max_size: 64 << 20,
            narrow: false,
            script: Arc::new(|_| Action::Go),
        }
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
        f.debug_struct("Options")
            .field("keep", &self.keep)
            .field("without", &self.without)
            .finish_non_exhaustive()
    }
}

/// A message that the server took.
#[derive(Debug, Clone)]
pub struct Received {
    /// Connections are numbered from 0.
    pub connection: u64,
    pub from: String,
    pub to: Vec<String>,
    /// When its final dot was read.
    pub at: Instant,
    /// Bytes of content without dot-stuffing.
    pub size: usize,
    /// With [`Keep::Content`] only.
    pub content: Option<Bytes>,
}

/// What the server saw so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    pub messages: u64,
    pub bytes: u64,
    /// Writes to clients: each ends what was a round trip to the client that waited for it.
    pub answers: u64,
}

#[derive(Debug, Default)]
struct Log {
    counts: Counts,
    /// Messages by whole second since the start.
    per_second: Vec<u64>,
    received: Vec<Received>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    started: Instant,
    log: Mutex<Log>,
    progress: watch::Sender<u64>,
}

impl Shared {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, message: Received) {
        let second = usize::try_from(self.started.elapsed().as_secs()).unwrap_or(usize::MAX);
        let mut log = self.log();
        log.counts.messages += 1;
        log.counts.bytes += message.size as u64;
        if log.per_second.len() <= second {
            log.per_second.resize(second + 1, 0);
        }
        log.per_second[second] += 1;
        let messages = log.counts.messages;
        if self.options.keep != Keep::Counts {
            log.received.push(message);
        }
        drop(log);
        self.progress.send_replace(messages);
    }
}

/// A running server; it ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Sink {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: impl ToSocketAddrs, options: Options) -> io::Result<Sink> {
        let listener = bind(address, &options).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            started: Instant::now(),
            log: Mutex::default(),
            progress: watch::Sender::new(0),
        });
        let server = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Ok(Sink { address, shared, server })
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    pub fn counts(&self) -> Counts {
        self.shared.log().counts
    }

    /// All that was received, in the order of the final dots. Empty with [`Keep::Counts`].
    pub fn messages(&self) -> Vec<Received> {
        self.shared.log().received.clone()
    }

    /// Messages received in each second since the start.
    pub fn per_second(&self) -> Vec<u64> {
        self.shared.log().per_second.clone()
    }

    /// Waits until at least so many messages were received.
    pub async fn received(&self, messages: u64) {
        let mut progress = self.shared.progress.subscribe();
        // The sender lives in `self`, so that the wait ends with the count alone.
        let _count = progress.wait_for(|count| *count >= messages).await;
    }

    /// Ends the listener and every connection, without a word to the clients. What was received stays known.
    pub async fn stop(&mut self) {
        self.server.abort();
        let _cancelled = (&mut self.server).await;
    }

    /// Listens again where it was stopped.
    ///
    /// # Errors
    /// When the address was taken meanwhile.
    pub async fn resume(&mut self) -> io::Result<()> {
        let listener = bind(self.address, &self.shared.options).await?;
        self.server = tokio::spawn(listen(listener, Arc::clone(&self.shared)));
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn bind(address: impl ToSocketAddrs, options: &Options) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    if options.narrow {
        // Connections inherit both.
        let socket = SockRef::from(&listener);
        socket.set_tcp_mss(1_460)?;
        socket.set_recv_buffer_size(8 << 10)?;
    }
    Ok(listener)
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
                    log.counts.connections += 1;
                    log.counts.connections - 1
                };
                connections.spawn(session::serve(stream, number, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
