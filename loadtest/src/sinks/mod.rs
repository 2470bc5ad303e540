//! Sinks for measuring: they take what comes as fast as one thread can, and look at as little of it as they can.
//!
//! They judge nothing, keep nothing, and answer what a provider without objections would. What is right on the wire is
//! the simulators' concern, who cost several times as much a message.

pub mod http;
pub mod smtp;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a sink has taken so far.
#[derive(Debug, Default)]
pub struct Counter {
    connections: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// A [`Counter`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    pub messages: u64,
    /// Of content, without envelopes and headers of HTTP.
    pub bytes: u64,
}

impl Counter {
    fn took(&self, messages: u64, bytes: usize) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Serves each connection in a task of its own, until it is dropped.
async fn listen<F>(listener: TcpListener, counter: Arc<Counter>, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors is all that goes wrong here: clients that leave make room again.
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                counter.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
