//! The names by which the admin listener may be called.
//!
//! A page of a strange site can have its own name lead to a loopback address a moment later (DNS rebinding): the browser
//! then sends to this listener, and reads the answer, with that name in `Host`. So only names that are known to be ours
//! are answered. An address needs no list: no strange page has it as its origin and another machine behind it.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<String>);

/// Why a request is for nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misdirected {
    /// None, or several, or none that can be read (RFC 9112, section 3.2).
    Unreadable,
    Strange,
}

impl Hosts {
    /// `localhost`, every address, and these names.
    pub fn new(names: &[String]) -> Self {
        Hosts(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// # Errors
    /// When the request names another host, or none.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Misdirected> {
        let mut lines = headers.get_all(HOST).iter();
        let (line, more) = (lines.next(), lines.next());
        let from_line = line.and_then(|line| line.to_str().ok()?.parse::<Authority>().ok());
        // The target's own authority goes before the line (RFC 9112, section 3.2.2).
        let authority = uri.authority().cloned().or(from_line).filter(|_| more.is_none());
        let Some(authority) = authority else { return Err(Misdirected::Unreadable) };
        if self.has(authority.host()) { Ok(()) } else { Err(Misdirected::Strange) }
    }

    fn has(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        bare.parse::<IpAddr>().is_ok() || name == "localhost" || self.0.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn check(target: &str, hosts: &[&str]) -> Result<(), Misdirected> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        Hosts::new(&["Campaigns.internal".to_owned()]).check(&target.parse().unwrap(), &headers)
    }

    #[test]
    fn our_names_and_addresses_are_answered() {
        for host in [
            "127.0.0.1:8081",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8081",
            "10.0.0.5",
            "campaigns.internal:443",
            "campaigns.internal.",
        ] {
            assert_eq!(check("/", &[host]), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "campaigns.internal.evil.example",
            "2130706433x",
        ] {
            assert_eq!(check("/", &[host]), Err(Misdirected::Strange), "{host}");
        }
        assert_eq!(check("http://evil.example/", &["localhost"]), Err(Misdirected::Strange));
        for hosts in [&[][..], &["localhost", "localhost"], &[""], &["a b"]] {
            assert_eq!(check("/", hosts), Err(Misdirected::Unreadable), "{hosts:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_is_ours(host in "[a-z0-9-]{1,20}(\\.[a-z]{1,10}){1,3}") {
            prop_assume!(host != "campaigns.internal");
            prop_assert_eq!(check("/", &[&host]), Err(Misdirected::Strange));
        }
    }
}
