//! One SMTP account: where, as whom, how encrypted, how patient.

use std::fmt;
use std::path::PathBuf;
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    #[default]
    None,
    /// RFC 3207. A server that does not offer it gets nothing.
    StartTls,
    /// TLS from the first byte, port 465 by custom (RFC 8314).
    Implicit,
}

/// How long to wait before giving up on the server. RFC 5321 section 4.5.3.2 asks for minutes, since an answer that
/// comes after we left may be a message sent twice; only the final dot's answer has that danger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, and the TLS handshake.
    pub connect: Duration,
    /// The answer to any command.
    pub command: Duration,
    /// Content that does not move.
    pub content: Duration,
    /// The answer to the final dot.
    pub end: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(30),
            command: Duration::from_secs(60),
            content: Duration::from_secs(120),
            end: Duration::from_secs(600),
        }
    }
}

#[derive(Clone)]
pub struct SmtpConfig {
    /// Name or IP address; with TLS the certificate must be for it.
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    /// PEM certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password: Option<String>,
    /// How we call ourselves in EHLO; the socket's own address if absent.
    pub helo_name: Option<String>,
    /// Messages over one connection before a new one is dialled.
    pub max_messages: u32,
    pub timeouts: Timeouts,
}

impl SmtpConfig {
    /// Without TLS and login, the defaults for the rest.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        SmtpConfig {
            host: host.into(),
            port,
            tls: Tls::None,
            ca_file: None,
            username: None,
            password: None,
            helo_name: None,
            max_messages: 100,
            timeouts: Timeouts::default(),
        }
    }
}

impl fmt::Debug for SmtpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("ca_file", &self.ca_file)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("helo_name", &self.helo_name)
            .field("max_messages", &self.max_messages)
            .field("timeouts", &self.timeouts)
            .finish()
    }
}

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSmtp {
    #[error("helo_name is not a host name")]
    HeloName,
    #[error("host `{0}` is neither a name nor an IP address that a certificate can be for")]
    Host(String),
    #[error("cannot read certificates from ca_file {}", .path.display())]
    CaFile { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("no trusted certificates: the system has none and ca_file is absent or empty")]
    NoRoots,
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// A checked configuration with what all its connections share.
pub(super) struct Account {
    pub(super) config: SmtpConfig,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Account {
    pub(super) fn new(config: SmtpConfig) -> Result<Self, InvalidSmtp> {
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()) && name.len() <= 255
        };
        if !config.helo_name.as_ref().is_none_or(is_name) {
            return Err(InvalidSmtp::HeloName);
        }
        let tls = match config.tls {
            Tls::None => None,
            Tls::StartTls | Tls::Implicit => Some((connector(&config)?, server_name(&config.host)?)),
        };
        Ok(Account { config, tls })
    }

    /// The TLS handshake, with the certificate checked against the host.
    pub(super) async fn encrypt(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Outcome> {
        let refused = |detail| Outcome::AccountRefused { detail };
        let Some((connector, name)) = &self.tls else {
            return Err(refused("TLS is not configured".to_owned()));
        };
        let retry = |detail| Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail };
        let wait = self.config.timeouts.connect;
        match timeout(wait, connector.connect(name.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if error.get_ref().is_some_and(|error| error.is::<rustls::Error>()) => {
                Err(refused(format!("TLS failed: {error}; check tls, ca_file and the server's certificate")))
            }
            Ok(Err(error)) => Err(retry(format!("the connection broke in the TLS handshake: {error}"))),
            Err(_) => Err(retry(format!("no TLS handshake within {} s", wait.as_secs()))),
        }
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, InvalidSmtp> {
    let bare = host.trim_matches(['[', ']']).to_owned();
    ServerName::try_from(bare).map_err(|_| InvalidSmtp::Host(host.to_owned()))
}

fn connector(config: &SmtpConfig) -> Result<TlsConnector, InvalidSmtp> {
    let mut roots = RootCertStore::empty();
    // Single certificates that do not parse are the system's affair, as long as some do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &config.ca_file {
        let unreadable = |source| InvalidSmtp::CaFile { path: path.clone(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            roots.add(certificate.map_err(unreadable)?)?;
        }
    }
    if roots.is_empty() {
        return Err(InvalidSmtp::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(tls)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_stays_out_of_debug() {
        let config = SmtpConfig { password: Some("hunter2".into()), ..SmtpConfig::new("localhost", 25) };
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_helo_name_cannot_carry_commands() {
        for bad in ["", "a b", "a\r\nMAIL", "ä.example"] {
            let config = SmtpConfig { helo_name: Some(bad.into()), ..SmtpConfig::new("localhost", 25) };
            assert!(matches!(Account::new(config), Err(InvalidSmtp::HeloName)), "{bad:?}");
        }
    }

    #[test]
    fn a_missing_ca_file_is_named() {
        let config = SmtpConfig {
            tls: Tls::Implicit,
            ca_file: Some("/nowhere/ca.pem".into()),
            ..SmtpConfig::new("a", 1)
        };
        assert!(
            Account::new(config).err().is_some_and(|error| error.to_string().contains("/nowhere/ca.pem"))
        );
    }
}
