//! Where requests go: scheme, host, the path in front of every request's own, certificates, patience.

use std::fmt;
use std::net::TcpStream as Probe;
use std::path::Path;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::trust::Trust;
use super::socket::{self, Socket};
use crate::model::{Outcome, Reason};
use crate::tls::InvalidTls;

/// How long to wait for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, and again the TLS handshake.
    pub connect: Duration,
    /// From the request's first byte to the answer's last.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: Duration::from_secs(10), answer: Duration::from_secs(30) }
    }
}

/// Why a base URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    #[error(
        "must be a URL with http or https and a host, without user and query, as `https://api.example.com`"
    )]
    Url,
    #[error(transparent)]
    Trust(#[from] InvalidTls),
}

/// A connection on which nothing was said yet, but for the TLS handshake.
pub(in crate::provider) struct Dialled {
    pub(in crate::provider) stream: Box<dyn Socket>,
    pub(in crate::provider) encrypted: bool,
    pub(in crate::provider) probe: Probe,
}

/// What all connections of an account share.
pub struct Endpoint {
    host: String,
    port: u16,
    authority: HeaderValue,
    /// Without a slash at its end.
    prefix: String,
    trust: Option<Trust>,
    /// What the other side must agree to in the TLS handshake: without a word it speaks HTTP/1.1.
    needs: Option<&'static [u8]>,
    timeouts: Timeouts,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("authority", &self.authority)
            .field("tls", &self.trust.is_some())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// `base` is an http or https URL, whose path stands in front of each request's. With https, `ca_file` holds the
    /// certificates to trust instead of the system's. Connects to nothing.
    ///
    /// # Errors
    /// When the URL is none that requests can go to, or the certificates cannot be read.
    pub fn new(base: &str, ca_file: Option<&Path>, timeouts: Timeouts) -> Result<Self, InvalidEndpoint> {
        Endpoint::speaking(b"http/1.1", None, base, ca_file, timeouts)
    }

    /// As [`Endpoint::new`], for HTTP/2 (RFC 9113, section 3): by ALPN where the URL is https, else by prior knowledge.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn http2(base: &str, ca_file: Option<&Path>, timeouts: Timeouts) -> Result<Self, InvalidEndpoint> {
        Endpoint::speaking(b"h2", Some(b"h2"), base, ca_file, timeouts)
    }

    fn speaking(
        offer: &[u8],
        needs: Option<&'static [u8]>,
        base: &str,
        ca_file: Option<&Path>,
        timeouts: Timeouts,
    ) -> Result<Self, InvalidEndpoint> {
        let url: Uri = base.parse().map_err(|_| InvalidEndpoint::Url)?;
        let authority = url.authority().ok_or(InvalidEndpoint::Url)?;
        let encrypted = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(InvalidEndpoint::Url),
        };
        let host = authority.host();
        if host.is_empty() || authority.as_str().contains('@') || url.query().is_some() {
            return Err(InvalidEndpoint::Url);
        }
        let trust = if encrypted { Some(Trust::new(host, ca_file, &[offer])?) } else { None };
        Ok(Endpoint {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
            authority: authority.as_str().parse().map_err(|_| InvalidEndpoint::Url)?,
            prefix: url.path().trim_end_matches('/').to_owned(),
            trust,
            needs,
            timeouts,
        })
    }

    pub(in crate::provider) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The value of `Host`.
    pub(super) fn authority(&self) -> HeaderValue {
        self.authority.clone()
    }

    /// What stands in the request line.
    pub(super) fn uri(&self, path_and_query: &str) -> Result<Uri, Outcome> {
        let whole = if self.prefix.is_empty() {
            path_and_query.parse()
        } else {
            format!("{}{path_and_query}", self.prefix).parse()
        };
        whole.map_err(|_| failed("the request has a path that no URL can have".to_owned()))
    }

    /// As `uri`, with scheme and host.
    pub(in crate::provider) fn absolute_uri(&self, path_and_query: &str) -> Result<Uri, Outcome> {
        let mut parts = self.uri(path_and_query)?.into_parts();
        parts.scheme = Some(if self.trust.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Authority::try_from(self.authority.as_bytes()).ok();
        Uri::from_parts(parts).map_err(|_| failed("the request has a path that no URL can have".to_owned()))
    }

    /// # Errors
    /// `Retry` or `AccountRefused`.
    pub(in crate::provider) async fn dial(&self) -> Result<Dialled, Outcome> {
        let wait = self.timeouts.connect;
        let stream = timeout(wait, TcpStream::connect((self.host.as_str(), self.port)))
            .await
            .map_err(|_| failed(format!("no connection within {} s", wait.as_secs())))?
            .map_err(|error| failed(format!("cannot connect: {error}")))?;
        let setup = |error| failed(format!("cannot set up the socket: {error}"));
        stream.set_nodelay(true).map_err(setup)?;
        let probe = socket::probe(&stream).map_err(setup)?;
        Ok(match &self.trust {
            None => Dialled { stream: Box::new(stream), encrypted: false, probe },
            Some(trust) => {
                let stream = trust.encrypt(stream, wait).await?;
                if self.needs.is_some() && stream.get_ref().1.alpn_protocol() != self.needs {
                    let detail = "the server does not speak HTTP/2; check base_url".to_owned();
                    return Err(Outcome::AccountRefused { detail });
                }
                Dialled { stream: Box::new(stream), encrypted: true, probe }
            }
        })
    }
}

/// Nothing was handed over.
pub(in crate::provider) fn failed(detail: String) -> Outcome {
    Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str) -> Result<Endpoint, InvalidEndpoint> {
        Endpoint::new(base, None, Timeouts::default())
    }

    #[test]
    fn the_base_path_stands_in_front() {
        for (base, path, wanted) in [
            ("http://h.example", "/send?a=b", "/send?a=b"),
            ("http://h.example:8080/", "/send", "/send"),
            ("http://[::1]:1/v1/", "/send", "/v1/send"),
        ] {
            assert_eq!(endpoint(base).unwrap().uri(path).unwrap(), wanted, "{base}");
        }
        assert!(endpoint("http://h.example").unwrap().uri("/a b").is_err());
    }

    #[test]
    fn urls_that_no_request_can_go_to_are_refused() {
        for bad in
            ["", "h.example", "/path", "ftp://h.example", "http://u:p@h.example", "http://h.example/?a=b"]
        {
            assert!(matches!(endpoint(bad), Err(InvalidEndpoint::Url)), "{bad:?}");
        }
        let absent = Endpoint::new("https://h.example", Some(Path::new("/nowhere.pem")), Timeouts::default());
        assert!(absent.unwrap_err().to_string().contains("/nowhere.pem"));
    }
}
