//! Who asks: the client's address behind trusted proxies, its User-Agent, and what its request confesses.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, header};
use ipnet::IpNet;

use super::machine;
use crate::http::client_ip;
use crate::model::event::MachineRule;

/// Bytes of the User-Agent that an event keeps.
const AGENT_BYTES: usize = 256;

/// What an event keeps of a request.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) ip: IpAddr,
    pub(super) agent: Option<String>,
    /// Where the request itself says that a machine made it.
    pub(super) machine: Option<MachineRule>,
}

impl Visitor {
    pub(super) fn new(method: &Method, headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Self {
        Self {
            ip: client_ip(peer, headers, trusted),
            agent: user_agent(headers),
            machine: machine::confessed(method, headers),
        }
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let mut agent = String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes()).into_owned();
    let end = (0..=AGENT_BYTES.min(agent.len())).rev().find(|&end| agent.is_char_boundary(end))?;
    agent.truncate(end);
    Some(agent)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_agent_is_a_prefix_of_at_most_256_bytes(agent in "[ -~äß上🙂]{0,300}") {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, HeaderValue::from_bytes(agent.as_bytes()).unwrap());
            let kept = user_agent(&headers).unwrap();
            prop_assert!(agent.starts_with(&kept));
            prop_assert!(kept.len() <= AGENT_BYTES);
            prop_assert!(agent.len() <= kept.len() || kept.len() > AGENT_BYTES - 4);
        }
    }
}
