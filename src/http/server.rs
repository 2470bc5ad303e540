//! The accept loop of both listeners, on hyper-util, HTTP/1.1 only.
//!
//! Promises that no peer holds a place for ever: heads must arrive in time, connections are counted, live for a
//! bounded time and end at shutdown, by force where need be. (`axum::serve` sets no timer, so that a peer that sends its
//! head byte by byte would stay.) Knows no route. Never logs an address.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::peers::Peers;

/// How long `accept` rests when the process or the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one listener grants its peers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; further ones wait in the kernel's backlog.
    pub connections: usize,
    /// Of those, of one address; further ones are closed at once.
    pub connections_per_address: usize,
    /// Networks whose connections are counted only in total.
    pub exempt: Vec<IpNet>,
    /// From the moment that a connection could send a request until its head is complete. So this is the keep-alive
    /// idle time, too: hyper has one timer for both.
    pub head_within: Duration,
    /// Bytes of a request's line and headers; more is answered with 431.
    pub head_bytes: usize,
    /// After this long a connection takes no further request.
    pub lifetime: Duration,
    /// What is left to a connection's last request, after `lifetime` or at shutdown, before the connection is cut.
    pub finish_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 4096,
            exempt: Vec::new(),
            head_within: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            lifetime: Duration::from_secs(600),
            finish_within: Duration::from_secs(10),
        }
    }
}

/// Sees connections come and go, for metrics.
pub trait Watch: Send + Sync + 'static {
    fn opened(&self);
    fn closed(&self);
    /// Closed at once, since its address held as many as it may.
    fn turned_away(&self);
}

impl Watch for () {
    fn opened(&self) {}
    fn closed(&self) {}
    fn turned_away(&self) {}
}

/// Serves `router` on `listener` until `shutdown` resolves; then closes the listener and returns when the requests under
/// way are answered, at most [`Limits::finish_within`] later.
///
/// Handlers find the peer's address as [`ConnectInfo<SocketAddr>`], an IPv4 peer of an IPv6 socket as IPv4. A handler
/// whose client hangs up is dropped where it awaits.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    watch: Arc<dyn Watch>,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let peers = Peers::new(limits.connections_per_address, limits.exempt.clone());
    let closing = CancellationToken::new();
    let connections = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_within).max_header_size(limits.head_bytes);

    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { break };
        let Some(visit) = peers.enter(peer.ip()) else {
            watch.turned_away();
            continue;
        };
        watch.opened();
        let watch = watch.clone();
        let (http, router, closing, limits) = (http.clone(), router.clone(), closing.clone(), limits.clone());
        connections.spawn(async move {
            converse(&http, stream, peer, router, &limits, &closing).await;
            watch.closed();
            drop((place, visit));
        });
    }
    drop(listener);
    closing.cancel();
    connections.close();
    connections.wait().await;
}

/// The next connection that has a place; `None` never comes while `places` is open.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer, place)),
            Err(error) if ended_early(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; is the limit of open files too low?");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The peer was gone before it was accepted: its matter alone.
fn ended_early(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One connection from its first byte to its last. How it ends is the peer's matter and is not reported.
async fn converse(
    http: &http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: &Limits,
    closing: &CancellationToken,
) {
    // Answers are small and whole; Nagle's delay would hold them back for nothing.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let service = service_fn(move |request| answer(router.clone(), peer, request));
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing.cancelled() => {}
        () = sleep(limits.lifetime) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(timeout(limits.finish_within, connection).await);
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::routing::get;
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::sync::Notify;

    use super::*;
    use crate::http::dial::{self, fetch, request};

    #[tokio::test]
    async fn a_head_that_dribbles_is_cut_off() {
        let limits = Limits { head_within: Duration::from_millis(50), ..Limits::default() };
        let server = dial::start(Router::new(), limits).await;
        let mut peer = TcpStream::connect(server.address).await.unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\nHost: cam").await.unwrap();
        let mut answer = Vec::new();
        // Ends only because the server closes: the peer never does.
        peer.read_to_end(&mut answer).await.unwrap();
    }

    #[tokio::test]
    async fn an_oversized_head_is_431() {
        let limits = Limits { head_bytes: 1024, ..Limits::default() };
        let server = dial::start(Router::new(), limits).await;
        let mut long = request("GET", "/");
        long.headers_mut().insert("cookie", "x".repeat(2000).parse().unwrap());
        assert_eq!(fetch(server.address, long).await.status(), 431);
    }

    #[tokio::test]
    async fn shutdown_lets_a_running_request_finish_and_closes_the_rest() {
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let gate = (entered.clone(), release.clone());
        let handler = move || async move {
            gate.0.notify_one();
            gate.1.notified().await;
            "finished"
        };
        let router = Router::new().route("/", get(handler)).route("/idle", get(|| async {}));
        let server = dial::start(router, Limits::default()).await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        idle.write_all(b"GET /idle HTTP/1.1\r\nHost: campaignd\r\n\r\n").await.unwrap();
        let running = tokio::spawn(fetch(server.address, request("GET", "/")));
        entered.notified().await;

        let stopped = server.stop();
        idle.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(!stopped.is_finished(), "a request was still running");
        release.notify_one();
        assert_eq!(running.await.unwrap().into_body(), Bytes::from("finished"));
        stopped.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_never_finishes_is_cut_at_shutdown() {
        let entered = Arc::new(Notify::new());
        let gate = entered.clone();
        let handler = move || async move {
            gate.notify_one();
            std::future::pending::<&'static str>().await
        };
        let limits = Limits { finish_within: Duration::from_millis(50), ..Limits::default() };
        let server = dial::start(Router::new().route("/", get(handler)), limits).await;
        let mut peer = TcpStream::connect(server.address).await.unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\nHost: campaignd\r\n\r\n").await.unwrap();
        entered.notified().await;
        server.stop().await.unwrap();
        assert_eq!(peer.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_connection_ends_after_its_lifetime() {
        let limits = Limits { lifetime: Duration::from_millis(50), ..Limits::default() };
        let server = dial::start(Router::new().route("/", get(|| async { "ok" })), limits).await;
        let mut peer = TcpStream::connect(server.address).await.unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\nHost: campaignd\r\n\r\n").await.unwrap();
        let mut answers = Vec::new();
        peer.read_to_end(&mut answers).await.unwrap();
        assert!(answers.ends_with(b"ok"));
    }

    #[tokio::test]
    async fn no_more_connections_than_allowed_are_served_at_a_time() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (n, m) = (now.clone(), most.clone());
        let handler = move || async move {
            m.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            n.fetch_sub(1, Ordering::SeqCst);
        };
        let limits = Limits { connections: 2, ..Limits::default() };
        let server = dial::start(Router::new().route("/", get(handler)), limits).await;
        let clients: Vec<_> =
            (0..8).map(|_| tokio::spawn(fetch(server.address, request("GET", "/")))).collect();
        for client in clients {
            assert_eq!(client.await.unwrap().status(), 200);
        }
        assert!(most.load(Ordering::SeqCst) <= 2);
    }

    /// A connection from one of the loopback addresses.
    async fn from(ip: [u8; 4], to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((ip, 0).into()).unwrap();
        socket.connect(to).await.unwrap()
    }

    async fn answer_to(mut peer: TcpStream) -> Vec<u8> {
        let asked = peer.write_all(b"GET / HTTP/1.1\r\nHost: campaignd\r\nConnection: close\r\n\r\n").await;
        let mut answer = Vec::new();
        // Whoever was turned away may not even get its request off.
        if asked.is_ok() && peer.read_to_end(&mut answer).await.is_err() {
            answer.clear();
        }
        answer
    }

    #[tokio::test]
    async fn slow_peers_of_one_address_leave_room_for_others() {
        let limits = Limits {
            connections: 4,
            connections_per_address: 2,
            head_within: Duration::from_secs(600),
            ..Limits::default()
        };
        let server = dial::start(Router::new().route("/", get(|| async { "ok" })), limits).await;
        let mut slow = Vec::new();
        for _ in 0..2 {
            let mut peer = from([127, 0, 0, 2], server.address).await;
            peer.write_all(b"GET / HTTP/1.1\r\nHost: cam").await.unwrap();
            slow.push(peer);
        }
        for _ in 0..20 {
            assert_eq!(answer_to(from([127, 0, 0, 2], server.address).await).await, b"");
            assert!(answer_to(from([127, 0, 0, 3], server.address).await).await.ends_with(b"ok"));
        }
        drop(slow);
        while !answer_to(from([127, 0, 0, 2], server.address).await).await.ends_with(b"ok") {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn handlers_see_the_peers_address() {
        let handler = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
        let server = dial::start(Router::new().route("/", get(handler)), Limits::default()).await;
        assert_eq!(fetch(server.address, request("GET", "/")).await.into_body(), Bytes::from("127.0.0.1"));
    }
}
