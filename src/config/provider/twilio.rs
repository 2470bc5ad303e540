//! The settings of kind `twilio`.

use std::path::PathBuf;
use std::time::Duration;

use super::codes::{Codes, codes};
use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// An account with Twilio's Programmable Messaging.
#[derive(Debug, Clone)]
pub struct TwilioSettings {
    pub account_sid: String,
    /// Logs in, and signs what Twilio calls us with.
    pub auth_token: Secret,
    pub sender: Sender,
    pub base_url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// For the whole answer.
    pub timeout: Duration,
    /// After how long a message without a final status is asked for; `None`: never.
    pub ask_after: Option<Duration>,
    /// Go before the built-in tables.
    pub codes: Codes,
}

/// Who a message is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// A number, short code or name.
    From(String),
    /// The SID of a messaging service, which chooses among its own.
    Service(String),
}

pub(super) fn twilio(table: &mut Table<'_>) -> Option<TwilioSettings> {
    table.require("account_sid", "the account's SID, as `AC...`");
    if !table.has("auth_token_file") {
        table.require("auth_token", "the account's auth token");
    }
    if !table.has("messaging_service_sid") {
        table.require("from", "the number that messages are from, or `messaging_service_sid`");
    }
    let account_sid = table.text("account_sid", sid);
    let auth_token = table.secret("auth_token", "auth_token_file", |text| grammar::line(text).map(drop));
    let from = table.text("from", grammar::line);
    let service = table.text("messaging_service_sid", sid);
    if from.is_some() && service.is_some() {
        table.problem("messaging_service_sid", "stands beside `from`; keep one of the two");
    }
    let base_url = table.text("base_url", grammar::public_url);
    let ca_file = table.path("ca_file");
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(15));
    let ask_after = table.text("ask_after", grammar::wait);
    let codes = codes(table);
    Some(TwilioSettings {
        account_sid: account_sid?,
        auth_token: auth_token?,
        sender: service.map(Sender::Service).or(from.map(Sender::From))?,
        base_url: base_url.unwrap_or_else(|| "https://api.twilio.com".to_owned()),
        ca_file,
        timeout,
        ask_after,
        codes,
    })
}

/// It stands in paths.
fn sid(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(|c: char| !c.is_ascii_alphanumeric()) {
        true => Err("must be a SID, as Twilio's console shows it: letters and digits alone".to_owned()),
        false => Ok(text.to_owned()),
    }
}
