//! What every simulator's command needs to start.

use std::net::SocketAddr;

use campaignd_loadtest::http;

pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Replaces what is given.
pub(super) fn set(to: &mut String, given: Option<&String>) {
    if let Some(given) = given {
        to.clone_from(given);
    }
}

/// Memory does not grow with the requests.
pub(super) fn unrecorded() -> http::Options {
    http::Options { keep: 0, ..http::Options::default() }
}
