//! `[providers.NAME]`: the accounts that carry messages, and the settings of each kind.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use super::channel::rate_and_burst;
use super::grammar;
use super::problem::did_you_mean;
use super::reader::Table;
use super::secret::Secret;
use crate::model::{Channel, Rates};

/// Kinds that are planned and not built.
const LATER: &[&str] =
    &["aliyun", "tencent", "twilio", "wechat", "fcm", "apns", "jpush", "webhook", "sandbox"];
const BUILT: &str = "smtp";

/// One account at one provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    pub name: String,
    pub channel: Channel,
    /// Messages, for SMS segments; empty means no limit.
    pub rate: Rates,
    /// `None`: a tenth of a second's worth, at least 1.
    pub burst: Option<NonZeroU32>,
    /// Its share of a channel that lists several.
    pub weight: NonZeroU32,
    pub kind: ProviderKind,
}

#[derive(Debug, Clone)]
pub enum ProviderKind {
    Smtp(SmtpSettings),
}

impl ProviderKind {
    /// Whether sending again with the same key is safe from doubles.
    pub fn takes_idempotency_key(&self) -> bool {
        match self {
            ProviderKind::Smtp(_) => false,
        }
    }
}

/// A relay that takes mail by SMTP (RFC 5321).
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// A host name or an IP address.
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Given with `password` or not at all.
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// `Shop <news@example.com>` or `news@example.com`; a template may say otherwise.
    pub from: String,
    /// Written like `from`.
    pub reply_to: Option<String>,
    /// The envelope's sender, which bounces go to; `None`: the address in `from`.
    pub return_path: Option<String>,
    /// RFC 2919, without its angle brackets.
    pub list_id: Option<String>,
    /// What EHLO says; `None`: the machine's name.
    pub helo_name: Option<String>,
    /// Messages over one connection, at most.
    pub max_messages: NonZeroU32,
    /// An address for `List-Unsubscribe` beside the link.
    pub unsubscribe_mailto: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// In the clear: for a relay on the same machine or in the same trusted network.
    None,
    /// In the clear first, then TLS or nothing (RFC 3207).
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
}

/// The providers in `table`; without a value where one is declared but wrong.
pub(super) fn providers(table: Table<'_>) -> BTreeMap<String, Option<ProviderConfig>> {
    let named = table.into_tables().into_iter().map(|(name, table)| {
        let provider = match grammar::provider_name(&name) {
            Ok(()) => provider(&name, table),
            Err(problem) => {
                table.refuse(problem);
                None
            }
        };
        (name, provider)
    });
    named.collect()
}

fn provider(name: &str, mut table: Table<'_>) -> Option<ProviderConfig> {
    table.require("kind", &format!("this version has: {BUILT}"));
    // Which keys a provider has depends on its kind: without one, nothing more can be said about it.
    table.text("kind", |kind| match kind {
        BUILT => Ok(()),
        later if LATER.contains(&later) => {
            Err(format!("provider kind `{later}` comes in a later version; this one has: {BUILT}"))
        }
        other => {
            let near = did_you_mean(other, LATER.iter().copied().chain([BUILT]));
            Err(format!("unknown provider kind `{other}`{near}"))
        }
    })?;
    let channel = table.text("channel", str::parse).unwrap_or(Channel::Email);
    if channel != Channel::Email {
        table.problem("channel", format!("kind `{BUILT}` carries email, not {channel}"));
    }
    let (rate, burst) = rate_and_burst(&mut table);
    let weight = table.number("weight", "a whole number from 1 to 4294967295").unwrap_or(NonZeroU32::MIN);
    let settings = smtp(&mut table);
    table.finish();
    let kind = ProviderKind::Smtp(settings?);
    Some(ProviderConfig { name: name.to_owned(), channel, rate, burst, weight, kind })
}

fn smtp(table: &mut Table<'_>) -> Option<SmtpSettings> {
    table.require("host", "the relay's host name or IP address");
    table.require("from", "who the mail is from, as `Shop <news@example.com>`");
    let host = table.text("host", grammar::host);
    let words = [("none", Tls::None), ("starttls", Tls::StartTls), ("implicit", Tls::Implicit)];
    let tls = table.word("tls", &words).unwrap_or(Tls::StartTls);
    let port = table.number("port", "a whole number from 1 to 65535").map(NonZeroU16::get);
    let ca_file = table.path("ca_file");
    let login = table.has("password") || table.has("password_file");
    if table.has("username") != login {
        let (present, absent) = if login { ("password", "username") } else { ("username", "password") };
        table.require(absent, &format!("`{present}` needs it beside it"));
    }
    let username = table.text("username", grammar::line);
    let password = table.secret("password", "password_file", |text| grammar::line(text).map(drop));
    let from = table.text("from", grammar::mailbox);
    let reply_to = table.text("reply_to", grammar::mailbox);
    let return_path = table.text("return_path", grammar::email);
    let list_id = table.text("list_id", grammar::list_id);
    let helo_name = table.text("helo_name", grammar::helo_name);
    let max_messages = table.number("max_messages", "a whole number from 1 to 4294967295");
    let unsubscribe_mailto = table.text("unsubscribe_mailto", grammar::email);
    Some(SmtpSettings {
        host: host?,
        port: port.unwrap_or(match tls {
            Tls::None => 25,
            Tls::StartTls => 587,
            Tls::Implicit => 465,
        }),
        tls,
        ca_file,
        username,
        password,
        from: from?,
        reply_to,
        return_path,
        list_id,
        helo_name,
        max_messages: max_messages.unwrap_or(const { NonZeroU32::new(100).unwrap() }),
        unsubscribe_mailto,
    })
}
