//! One SMTP account: where, as whom, how encrypted, how patient.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::super::trust::Trust;
use crate::model::Outcome;
use crate::tls::InvalidTls;

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
    /// PEM certificates that are trusted instead of the system's.
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
    #[error(transparent)]
    Trust(#[from] InvalidTls),
}

/// A checked configuration with what all its connections share.
pub(super) struct Account {
    pub(super) config: SmtpConfig,
    trust: Option<Trust>,
}

impl Account {
    pub(super) fn new(config: SmtpConfig) -> Result<Self, InvalidSmtp> {
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()) && name.len() <= 255
        };
        if !config.helo_name.as_ref().is_none_or(is_name) {
            return Err(InvalidSmtp::HeloName);
        }
        let trust = match config.tls {
            Tls::None => None,
            Tls::StartTls | Tls::Implicit => Some(Trust::new(&config.host, config.ca_file.as_deref(), &[])?),
        };
        Ok(Account { config, trust })
    }

    /// The TLS handshake, with the certificate checked against the host.
    pub(super) async fn encrypt(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Outcome> {
        match &self.trust {
            Some(trust) => trust.encrypt(stream, self.config.timeouts.connect).await,
            None => Err(Outcome::AccountRefused { detail: "TLS is not configured".to_owned() }),
        }
    }
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
