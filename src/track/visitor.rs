//! Who asks: the client's address behind trusted proxies, its User-Agent, and what its request confesses.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Method, header};
use ipnet::IpNet;

use super::machine;
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

/// The peer; where that is a trusted proxy, the right-most address of `X-Forwarded-For` that is none, since everything
/// left of it is only what that client says. An entry that is no address ends the search at the proxy that wrote it.
pub(super) fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut client = peer.to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).map(address);
    while is_trusted(&client)
        && let Some(Some(hop)) = hops.next()
    {
        client = hop;
    }
    client
}

/// One entry of `X-Forwarded-For`: an address, which some proxies write with brackets or a port.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let ip = bare.parse().or_else(|_| entry.parse().map(|with_port: SocketAddr| with_port.ip()));
    ip.ok().map(|ip: IpAddr| ip.to_canonical())
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

    fn client(peer: &str, forwarded: &[&'static str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_static(line));
        }
        client_ip(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn forwarded_counts_only_behind_a_trusted_proxy() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_right_most_untrusted_address_is_the_client() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.2.3.4"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.2.3.4"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["10.9.9.9, 10.2.3.4"]), "10.9.9.9");
        assert_eq!(client("2001:db8::1", &["2001:db9::7"]), "2001:db9::7");
    }

    #[test]
    fn ports_and_brackets_are_understood_and_nonsense_ends_the_search() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["[2001:db9::7]:443"]), "2001:db9::7");
        assert_eq!(client("10.0.0.1", &["[2001:db9::7]"]), "2001:db9::7");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, unknown, 10.2.3.4"]), "10.2.3.4");
        assert_eq!(client("10.0.0.1", &[""]), "10.0.0.1");
    }

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
