//! The settings of kind `smtp`.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use super::mailhook::{self, MailHookSettings};
use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

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
    /// The e-mail service behind the relay, where it tells by calls what became of messages.
    pub hook: Option<MailHookSettings>,
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

pub(super) fn smtp(table: &mut Table<'_>) -> Option<SmtpSettings> {
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
    let hooked = table.has("hook").then(|| mailhook::mail_hook(table.table("hook")));
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
        hook: match hooked {
            Some(hook) => Some(hook?),
            None => None,
        },
    })
}
