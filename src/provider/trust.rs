//! TLS towards providers: whose certificates are trusted, and the handshake with its outcomes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::model::{Outcome, Reason};

/// Why TLS cannot be used with a host.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTrust {
    #[error("host `{0}` is neither a name nor an IP address that a certificate can be for")]
    Host(String),
    #[error("cannot read certificates from ca_file {}", .path.display())]
    CaFile { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("no trusted certificates: the system has none, or ca_file is empty")]
    NoRoots,
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Whom we talk to, and how we know that it is them.
pub(super) struct Trust {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Trust {
    /// Trusts the certificates in `ca_file`, without one the system's. `protocols` are offered by ALPN (RFC 7301).
    pub(super) fn new(host: &str, ca_file: Option<&Path>, protocols: &[&[u8]]) -> Result<Self, InvalidTrust> {
        let bare = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(bare).map_err(|_| InvalidTrust::Host(host.to_owned()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
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

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, InvalidTrust> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        // Single certificates that do not parse are the system's affair, as long as some do.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let unreadable = |source| InvalidTrust::CaFile { path: path.to_owned(), source };
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                roots.add(certificate.map_err(unreadable)?)?;
            }
        }
    }
    if roots.is_empty() { Err(InvalidTrust::NoRoots) } else { Ok(roots) }
}
