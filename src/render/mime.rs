//! E-mail as bytes: an RFC 5322 message in MIME, with the headers that bulk mail needs.
//!
//! Everything written is ASCII with CRLF line ends and short lines, so that it passes every server unchanged; only a
//! recipient's address beyond ASCII stays as it is (RFC 6532). No value can begin a header of its own.

use std::borrow::Cow;
use std::str::FromStr;

use bytes::Bytes;
use jiff::Timestamp;
use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::headers::url::URL;
use mail_builder::mime::MimePart;

use crate::model::content::EmailContent;

/// A header value that would break its header. Never repeats the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {header} of this e-mail {problem}; correct the template or the data it takes")]
pub struct InvalidHeader {
    pub header: &'static str,
    pub problem: &'static str,
}

/// A sender: `Shop <news@example.com>`, `"Shop, Berlin" <news@example.com>` or the bare address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    name: Option<String>,
    address: String,
}

impl Mailbox {
    /// # Errors
    /// When the name has line breaks or the address is none. A domain beyond ASCII must be in its `xn--` form.
    pub fn new(name: Option<String>, address: String) -> Result<Self, InvalidHeader> {
        let header = "mailbox";
        if let Some(name) = &name {
            one_line(header, name)?;
        }
        check_address(header, &address)?;
        if !address.is_ascii() {
            return Err(InvalidHeader { header, problem: "has an address beyond ASCII" });
        }
        Ok(Mailbox { name: name.filter(|name| !name.is_empty()), address })
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn address(&self) -> &str {
        &self.address
    }
}

impl FromStr for Mailbox {
    type Err = InvalidHeader;

    fn from_str(text: &str) -> Result<Self, InvalidHeader> {
        let text = text.trim_matches(' ');
        let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) else {
            return Mailbox::new(None, text.to_owned());
        };
        let name = name.trim_matches(' ');
        let name = match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
            Some(quoted) => unquoted(quoted),
            None if name.contains(['<', '>', '"']) => {
                return Err(InvalidHeader {
                    header: "mailbox",
                    problem: "has a name that needs quotes around it",
                });
            }
            None => name.to_owned(),
        };
        Mailbox::new(Some(name), address.to_owned())
    }
}

/// RFC 5322 section 3.2.4: a backslash takes the next character as it is.
fn unquoted(text: &str) -> String {
    let mut chars = text.chars();
    std::iter::from_fn(|| match chars.next() {
        Some('\\') => chars.next(),
        other => other,
    })
    .collect()
}

/// What a message's header says beside its subject.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    /// Where the content names none.
    pub from: &'a Mailbox,
    /// Where the content names none.
    pub reply_to: Option<&'a Mailbox>,
    pub to: &'a str,
    pub to_name: Option<&'a str>,
    /// Without brackets; the same in every attempt, so that a receiver can tell a repeat.
    pub message_id: &'a str,
    pub date: Timestamp,
    /// RFC 2919, without brackets: `news.shop.example`.
    pub list_id: Option<&'a str>,
    /// Gmail's feedback loop: `campaign:customer:type:sender`.
    pub feedback_id: Option<&'a str>,
    /// The address that a POST unsubscribes by (RFC 8058; receivers demand https).
    pub unsubscribe: Option<&'a str>,
    /// An e-mail address that unsubscribes too.
    pub unsubscribe_mailto: Option<&'a str>,
    /// `Precedence: bulk`, which keeps vacation replies away.
    pub bulk: bool,
    /// What the e-mail service behind the relay reads: names of headers and their values.
    pub service: &'a [(&'static str, String)],
}

/// The complete message.
///
/// # Errors
/// When a value cannot stand in its header.
pub fn message(content: &EmailContent, headers: &Headers<'_>) -> Result<Bytes, InvalidHeader> {
    let own = |header, text: &Option<String>| {
        text.as_deref()
            .map(|text| text.parse().map_err(|error| InvalidHeader { header, ..error }))
            .transpose()
    };
    let own_from: Option<Mailbox> = own("From", &content.from)?;
    let own_reply_to = own("Reply-To", &content.reply_to)?;
    let from = own_from.as_ref().unwrap_or(headers.from);
    let reply_to = own_reply_to.as_ref().or(headers.reply_to);
    check(content, headers)?;

    let mut list = Vec::with_capacity(14);
    let mut push = |name, value| list.push((Cow::Borrowed(name), value));
    push("From", address(from.name(), from.address()));
    push("To", address(headers.to_name, headers.to));
    if let Some(reply_to) = reply_to {
        push("Reply-To", address(reply_to.name(), reply_to.address()));
    }
    push("Subject", Text::new(content.subject.as_str()).into());
    push("Date", Date::new(headers.date.as_second()).into());
    push("Message-ID", MessageId::new(headers.message_id).into());
    if let Some(list_id) = headers.list_id {
        push("List-Id", URL::new(list_id).into());
    }
    let mailto = headers.unsubscribe_mailto.map(|address| Cow::Owned(format!("mailto:{address}")));
    let ways: Vec<Cow<'_, str>> = headers.unsubscribe.map(Cow::Borrowed).into_iter().chain(mailto).collect();
    if !ways.is_empty() {
        push("List-Unsubscribe", URL { url: ways }.into());
    }
    if headers.unsubscribe.is_some() {
        push("List-Unsubscribe-Post", Raw::new("List-Unsubscribe=One-Click").into());
    }
    if let Some(feedback_id) = headers.feedback_id {
        push("Feedback-ID", Raw::new(feedback_id).into());
    }
    if headers.bulk {
        push("Precedence", Raw::new("bulk").into());
    }
    for (name, value) in headers.service {
        push(name, Raw::new(value.as_str()).into());
    }

    let message = MessageBuilder { headers: list, body: Some(body(content)), ..MessageBuilder::default() };
    let mut output = Vec::new();
    message.serialize(&mut output);
    if !output.ends_with(b"\r\n") {
        output.extend_from_slice(b"\r\n");
    }
    Ok(output.into())
}

fn address<'a>(name: Option<&'a str>, email: &'a str) -> HeaderType<'a> {
    Address::new_address(name.filter(|name| !name.is_empty()), email).into()
}

fn check(content: &EmailContent, headers: &Headers<'_>) -> Result<(), InvalidHeader> {
    one_line("Subject", &content.subject)?;
    one_line("recipient's name", headers.to_name.unwrap_or_default())?;
    check_address("recipient's address", headers.to)?;
    visible_ascii("Message-ID", Some(headers.message_id))?;
    visible_ascii("List-Id", headers.list_id)?;
    visible_ascii("Feedback-ID", headers.feedback_id)?;
    visible_ascii("unsubscribe link", headers.unsubscribe)?;
    visible_ascii("unsubscribe address", headers.unsubscribe_mailto)?;
    headers.service.iter().try_for_each(|(name, value)| visible_ascii(name, Some(value)))
}

fn one_line(header: &'static str, text: &str) -> Result<(), InvalidHeader> {
    let broken = text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    if broken { Err(InvalidHeader { header, problem: "has a line break or NUL" }) } else { Ok(()) }
}

fn check_address(header: &'static str, address: &str) -> Result<(), InvalidHeader> {
    let stray = |c: char| c.is_control() || c.is_whitespace() || "<>()[],;:\\\"".contains(c);
    let whole =
        |(local, domain): (&str, &str)| !local.is_empty() && !domain.is_empty() && !local.contains('@');
    if address.len() <= 254 && !address.contains(stray) && address.rsplit_once('@').is_some_and(whole) {
        return Ok(());
    }
    Err(InvalidHeader { header, problem: "is not an e-mail address" })
}

/// For what stands between brackets and for tokens.
fn visible_ascii(header: &'static str, value: Option<&str>) -> Result<(), InvalidHeader> {
    let fits = |value: &str| {
        (1..=900).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'))
    };
    if value.is_none_or(fits) {
        return Ok(());
    }
    Err(InvalidHeader {
        header,
        problem: "has a space, a bracket or a character beyond ASCII, or is empty or too long",
    })
}

/// The text alone, or text and HTML as alternatives; the last is the best (RFC 2046 section 5.1.4).
fn body(content: &EmailContent) -> MimePart<'_> {
    let text = MimePart::new("text/plain", with_crlf(&content.text));
    let Some(html) = &content.html else { return text };
    let html = MimePart::new("text/html", with_crlf(html));
    // `=_` occurs in neither quoted-printable nor base64 (RFC 2045 section 6.7); in 7bit the random part must do.
    let boundary = format!("=_{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    MimePart::new(ContentType::new("multipart/alternative").attribute("boundary", boundary), vec![text, html])
}

/// Canonical line ends (RFC 2046 section 4.1.1), which base64 would hide from every server, and no NUL, which none
/// takes. A CR alone is a line end too. Plain ASCII with LF is left to the encoder, which does the same.
fn with_crlf(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if text.is_ascii() && memchr::memchr2(b'\r', 0, bytes).is_none() {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + text.len() / 16);
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            clean.push_str("\r\n");
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        if memchr::memchr2(b'\r', 0, line.as_bytes()).is_none() {
            clean.push_str(line);
        } else {
            clean.push_str(&line.replace('\r', "\r\n").replace('\0', ""));
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests;
