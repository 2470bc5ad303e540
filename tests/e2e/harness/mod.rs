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

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;

/// An address where nothing listens at this moment, and that no other test was given.
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        if GIVEN.lock().expect("nobody panics with it").insert(address.port()) {
            return address;
        }
    }
}
