//! The daemon and its peers as values of a test: started on free ports, stopped and cleaned up when dropped.

pub mod books;
pub mod chance;
pub mod consume;
pub mod crowd;
pub mod daemon;
pub mod http;
pub mod instance;
pub mod mail;
pub mod node;
pub mod postfix;
pub mod process;
pub mod publish;
pub mod reckoning;
pub mod shop;

use std::net::SocketAddr;

/// An address where nothing listens at this moment.
pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket")
}
