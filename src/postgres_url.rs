//! Where PostgreSQL is and how it is reached: a URL as libpq writes it, with the parameters for TLS.
//!
//! Connects to nothing. Errors never repeat the URL: it may hold a password.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as Encryption};

use crate::tls::{Files, Identity};

/// A URL, read. `Debug` shows no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    pub config: Config,
    pub mode: SslMode,
    pub files: Files,
}

/// What `sslmode` asks for, in libpq's words
/// (<https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// In the clear.
    Disable,
    /// TLS where the server offers it, whoever it is; else in the clear. The default.
    Prefer,
    /// TLS or nothing, with whoever answers.
    Require,
    /// TLS with a server whose certificate a trusted authority signed, whatever its name.
    VerifyCa,
    /// The same, and the certificate is for the host in the URL.
    VerifyFull,
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error(
        "is not of the form `postgres://user:password@host/database?sslmode=verify-full`, or has a parameter that is \
         not known"
    )]
    Form,
    #[error("has an `sslmode` that is none of disable, prefer, require, verify-ca and verify-full")]
    SslMode,
    #[error(
        "has `sslrootcert=system`, which needs `sslmode=verify-full`: anybody can have a certificate of those"
    )]
    System,
    #[error("has one of `sslcert` and `sslkey` without the other")]
    Identity,
}

impl PostgresUrl {
    /// Relative paths of the URL begin in `folder`.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.files.ca = self.files.ca.map(|path| folder.join(path));
        self.files.identity = self.files.identity.map(|identity| Identity {
            certificate: folder.join(identity.certificate),
            key: folder.join(identity.key),
        });
        self
    }

    /// The hosts that are reached over a network, in the URL's order.
    pub fn network_hosts(&self) -> impl Iterator<Item = &str> {
        self.config.get_hosts().iter().filter_map(|host| match host {
            Host::Tcp(name) => Some(name.as_str()),
            Host::Unix(_) => None,
        })
    }
}

impl FromStr for PostgresUrl {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, InvalidUrl> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(InvalidUrl::Form);
        }
        let (place, parameters) = split(url);
        let (mut mode, mut ca, mut certificate, mut key) = (None, None, None, None);
        let mut others = Vec::new();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "sslmode" => mode = Some(ssl_mode(value)?),
                "sslrootcert" => ca = Some(path(value)?),
                "sslcert" => certificate = Some(path(value)?),
                "sslkey" => key = Some(path(value)?),
                _ => others.push(parameter),
            }
        }
        let mut config: Config =
            format!("{place}?{}", others.join("&")).parse().map_err(|_| InvalidUrl::Form)?;
        if config.get_hosts().is_empty() {
            return Err(InvalidUrl::Form);
        }
        let mut mode = mode.unwrap_or(SslMode::Prefer);
        if ca.as_deref() == Some(Path::new("system")) {
            if mode != SslMode::VerifyFull {
                return Err(InvalidUrl::System);
            }
            ca = None;
        }
        // As libpq has it: who names an authority wants it to count.
        if mode == SslMode::Require && ca.is_some() {
            mode = SslMode::VerifyCa;
        }
        config.ssl_mode(match mode {
            SslMode::Disable => Encryption::Disable,
            SslMode::Prefer => Encryption::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Encryption::Require,
        });
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            (None, None) => None,
            _ => return Err(InvalidUrl::Identity),
        };
        Ok(PostgresUrl { config, mode, files: Files { ca, identity } })
    }
}

/// The URL before its parameters, and those. A password may hold a question mark.
fn split(url: &str) -> (&str, &str) {
    let host = url.find('@').unwrap_or(0);
    let end = url.get(host..).and_then(|rest| rest.find('?')).map_or(url.len(), |at| host + at);
    let (place, parameters) = url.split_at_checked(end).unwrap_or((url, ""));
    (place, parameters.strip_prefix('?').unwrap_or(parameters))
}

fn ssl_mode(word: &str) -> Result<SslMode, InvalidUrl> {
    match word {
        "disable" => Ok(SslMode::Disable),
        "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err(InvalidUrl::SslMode),
    }
}

fn path(value: &str) -> Result<PathBuf, InvalidUrl> {
    match percent_decode_str(value).decode_utf8() {
        Ok(path) if !path.is_empty() => Ok(PathBuf::from(path.as_ref())),
        _ => Err(InvalidUrl::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parameters: &str) -> Result<PostgresUrl, InvalidUrl> {
        format!("postgres://news:hush@db.example:6432/ledger{parameters}").parse()
    }

    #[test]
    fn modes_are_libpqs() {
        for (parameters, mode, encryption) in [
            ("", SslMode::Prefer, Encryption::Prefer),
            ("?sslmode=disable", SslMode::Disable, Encryption::Disable),
            ("?sslmode=prefer", SslMode::Prefer, Encryption::Prefer),
            ("?sslmode=require", SslMode::Require, Encryption::Require),
            ("?sslmode=require&sslrootcert=ca.pem", SslMode::VerifyCa, Encryption::Require),
            ("?sslmode=verify-ca", SslMode::VerifyCa, Encryption::Require),
            ("?application_name=a&sslmode=verify-full", SslMode::VerifyFull, Encryption::Require),
        ] {
            let url = read(parameters).unwrap();
            assert_eq!((url.mode, url.config.get_ssl_mode()), (mode, encryption), "{parameters}");
        }
    }

    #[test]
    fn files_are_taken_out_and_begin_in_the_folder() {
        let url = read("?sslmode=verify-full&sslrootcert=my%20ca.pem&sslcert=%2Fetc%2Fc.pem&sslkey=k.pem");
        let files = url.unwrap().within(Path::new("/etc/campaignd")).files;
        let identity = Identity { certificate: "/etc/c.pem".into(), key: "/etc/campaignd/k.pem".into() };
        assert_eq!(files, Files { ca: Some("/etc/campaignd/my ca.pem".into()), identity: Some(identity) });
        assert_eq!(read("?sslmode=verify-full&sslrootcert=system").unwrap().files, Files::default());
    }

    #[test]
    fn what_tokio_postgres_knows_goes_on_to_it() {
        let url: PostgresUrl =
            "postgresql://news:a?b@one,two:7000/ledger?channel_binding=require&sslmode=require"
                .parse()
                .unwrap();
        assert_eq!(url.network_hosts().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(url.config.get_password(), Some(b"a?b".as_slice()));
        assert_eq!(url.config.get_channel_binding(), tokio_postgres::config::ChannelBinding::Require);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        for (parameters, wrong) in [
            ("?sslmode=allow", InvalidUrl::SslMode),
            ("?sslmode=", InvalidUrl::SslMode),
            ("?sslmode=require&sslrootcert=system", InvalidUrl::System),
            ("?sslcert=c.pem", InvalidUrl::Identity),
            ("?sslrootcert=", InvalidUrl::Form),
            ("?sslcrl=c.pem", InvalidUrl::Form),
        ] {
            let error = read(parameters).unwrap_err();
            assert_eq!(error, wrong, "{parameters}");
            assert!(!error.to_string().contains("hush"));
        }
        for url in ["mysql://host/database", "postgres:///database", "host=db.example", ""] {
            assert_eq!(url.parse::<PostgresUrl>(), Err(InvalidUrl::Form), "{url}");
        }
    }
}
