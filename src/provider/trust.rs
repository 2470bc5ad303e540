//! TLS towards providers: whose certificates are trusted, and the handshake with its outcomes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::model::{Outcome, Reason};
use crate::tls::{self, Files, InvalidTls};

/// Whom we talk to, and how we know that it is them.
pub(super) struct Trust {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Trust {
    /// Trusts the certificates in `ca_file`, without one the system's. `protocols` are offered by ALPN (RFC 7301).
    pub(super) fn new(host: &str, ca_file: Option<&Path>, protocols: &[&[u8]]) -> Result<Self, InvalidTls> {
        let bare = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(bare).map_err(|_| InvalidTls::Host(host.to_owned()))?;
        let files = Files { ca: ca_file.map(Path::to_owned), identity: None };
        let mut tls = tls::verifying(&files)?;
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Trust { connector: TlsConnector::from(Arc::new(tls)), name })
    }

    /// The handshake, with the certificate checked against the host.
    ///
    /// # Errors
    /// `Retry` or `AccountRefused`.
    pub(super) async fn encrypt(
        &self,
        stream: TcpStream,
        wait: Duration,
    ) -> Result<TlsStream<TcpStream>, Outcome> {
        let retry = |detail| Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail };
        match timeout(wait, self.connector.connect(self.name.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if error.get_ref().is_some_and(|error| error.is::<rustls::Error>()) => {
                Err(Outcome::AccountRefused {
                    detail: format!("TLS failed: {error}; check tls, ca_file and the server's certificate"),
                })
            }
            Ok(Err(error)) => Err(retry(format!("the connection broke in the TLS handshake: {error}"))),
            Err(_) => Err(retry(format!("no TLS handshake within {} s", wait.as_secs()))),
        }
    }
}
