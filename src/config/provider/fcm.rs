//! The settings of kind `fcm`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::push::{STREAMS, TTL, pem};
use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// A Firebase project, and the service account that may send in its name.
#[derive(Debug, Clone)]
pub struct FcmSettings {
    /// http or https and a host.
    pub base_url: String,
    /// Where access tokens come from.
    pub token_url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    pub http: HttpVersion,
    /// The project's id.
    pub project: String,
    pub key: ServiceAccount,
    /// What the addresses are.
    pub target: FcmTarget,
    pub priority: FcmPriority,
    /// How long Google keeps trying a device that is away, 28 days at most.
    pub ttl: Duration,
    /// The notification channel on Android 8 and later.
    pub android_channel: Option<String>,
    /// Requests at once over one connection, at most.
    pub streams: NonZeroU16,
    /// For one answer.
    pub timeout: Duration,
}

/// What matters of a service account's key file.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    pub client_email: String,
    pub private_key_id: String,
    /// PKCS #8, PEM.
    pub private_key: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    Http1,
    /// By ALPN over https, by prior knowledge over http.
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FcmTarget {
    /// A registration token.
    Token,
    /// A Firebase installation id.
    Fid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FcmPriority {
    High,
    Normal,
}

impl FcmTarget {
    /// The field of the request.
    pub fn as_str(self) -> &'static str {
        match self {
            FcmTarget::Token => "token",
            FcmTarget::Fid => "fid",
        }
    }
}

impl FcmPriority {
    /// Google's word.
    pub fn as_str(self) -> &'static str {
        match self {
            FcmPriority::High => "high",
            FcmPriority::Normal => "normal",
        }
    }
}

#[derive(Deserialize)]
struct KeyFile {
    project_id: Option<String>,
    client_email: String,
    private_key_id: String,
    private_key: String,
    token_uri: Option<String>,
}

const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// Google's limit.
const MAX_TTL: Duration = Duration::from_secs(28 * 24 * 60 * 60);

pub(super) fn fcm(table: &mut Table<'_>) -> Option<FcmSettings> {
    if !table.has("key_file") {
        table.require("key", "the service account's key file as JSON; or `key_file`, its path");
    }
    let secret = table.secret("key", "key_file", |text| key_file(text).map(drop));
    let file = secret.and_then(|secret| key_file(secret.reveal()).ok());
    let named = table.text("project", project);
    let own = file.as_ref().and_then(|file| file.project_id.as_deref()).and_then(|id| project(id).ok());
    if file.is_some() && own.is_none() && named.is_none() {
        table.require("project", "the key names none that can be used");
    }
    let base_url = table.text("base_url", grammar::url);
    let token_url = table.text("token_url", grammar::url);
    let ca_file = table.path("ca_file");
    let http = table.word("http", &[("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)]);
    let target = table.word("target", &[("token", FcmTarget::Token), ("fid", FcmTarget::Fid)]);
    let priority = table.word("priority", &[("high", FcmPriority::High), ("normal", FcmPriority::Normal)]);
    let ttl = table.text("ttl", grammar::duration).unwrap_or(TTL);
    if ttl > MAX_TTL {
        table.problem("ttl", "at most 28d");
    }
    let android_channel = table.text("android_channel", grammar::line);
    let streams = table.number("streams", "a whole number from 1 to 65535").unwrap_or(STREAMS);
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(30));
    let file = file?;
    Some(FcmSettings {
        base_url: base_url.unwrap_or_else(|| "https://fcm.googleapis.com".to_owned()),
        token_url: token_url.or(file.token_uri).unwrap_or_else(|| TOKEN_URL.to_owned()),
        ca_file,
        http: http.unwrap_or(HttpVersion::Http2),
        project: named.or(own)?,
        key: ServiceAccount {
            client_email: file.client_email,
            private_key_id: file.private_key_id,
            private_key: Secret::new(file.private_key),
        },
        target: target.unwrap_or(FcmTarget::Token),
        priority: priority.unwrap_or(FcmPriority::High),
        ttl,
        android_channel,
        streams,
        timeout,
    })
}

/// # Errors
/// What is missing, without repeating anything.
fn key_file(text: &str) -> Result<KeyFile, String> {
    let explain =
        "must be the JSON of a service account's key, with client_email, private_key_id and private_key";
    let file: KeyFile = serde_json::from_str(text).map_err(|_| explain.to_owned())?;
    pem(&file.private_key).map_err(|_| explain.to_owned())?;
    if let Some(url) = &file.token_uri {
        grammar::url(url).map_err(|problem| format!("its token_uri {problem}"))?;
    }
    Ok(file)
}

/// A project's id stands in the path of every request.
fn project(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if !text.is_empty() && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("must be a Firebase project's id, as `shop-4711`".to_owned())
}
