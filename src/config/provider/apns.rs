//! The settings of kind `apns`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::push::{STREAMS, TTL, pem};
use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// An app that Apple's push service delivers to, and the key that vouches for its team.
#[derive(Debug, Clone)]
pub struct ApnsSettings {
    /// http or https and a host; http is HTTP/2 by prior knowledge.
    pub base_url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    pub team_id: String,
    pub key_id: String,
    /// PKCS #8, PEM: the `.p8` file.
    pub key: Secret,
    /// The app's bundle id.
    pub topic: String,
    /// 1, 5 or 10.
    pub priority: u8,
    /// How long Apple keeps trying a device that is away.
    pub ttl: Duration,
    /// A file in the app, or `default`; `None`: without a sound.
    pub sound: Option<String>,
    /// Requests at once over one connection, at most.
    pub streams: NonZeroU16,
    /// For one answer.
    pub timeout: Duration,
}

pub(super) fn apns(table: &mut Table<'_>) -> Option<ApnsSettings> {
    table.require("team_id", "the ten characters that name the team in Apple's developer account");
    table.require("key_id", "the ten characters that name the key in Apple's developer account");
    table.require("topic", "the app's bundle id, as `com.example.shop`");
    if !table.has("key_file") {
        table.require("key", "the content of the key's `.p8` file; or `key_file`, its path");
    }
    let environment = table.word(
        "environment",
        &[("production", "https://api.push.apple.com"), ("sandbox", "https://api.sandbox.push.apple.com")],
    );
    let base_url = table.text("base_url", grammar::url);
    let ca_file = table.path("ca_file");
    let (team_id, key_id) = (table.text("team_id", grammar::line), table.text("key_id", grammar::line));
    let key = table.secret("key", "key_file", pem);
    let topic = table.text("topic", grammar::line);
    let priority = table.word("priority", &[("high", 10), ("normal", 5), ("low", 1)]).unwrap_or(10);
    let ttl = table.text("ttl", grammar::duration).unwrap_or(TTL);
    let sound = if table.is_off("sound") {
        None
    } else {
        Some(table.text("sound", grammar::line).unwrap_or_else(|| "default".to_owned()))
    };
    let streams = table.number("streams", "a whole number from 1 to 65535").unwrap_or(STREAMS);
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(30));
    Some(ApnsSettings {
        base_url: base_url.unwrap_or_else(|| environment.unwrap_or("https://api.push.apple.com").to_owned()),
        ca_file,
        team_id: team_id?,
        key_id: key_id?,
        key: key?,
        topic: topic?,
        priority,
        ttl,
        sound,
        streams,
        timeout,
    })
}
