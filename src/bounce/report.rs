//! A mail's report, as another server words it: what happened, and what it returns of our message.

use std::panic::catch_unwind;

use jiff::Timestamp;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders as _};

use crate::model::receipt::{Bounce, News};
use crate::model::{Outcome, Reason};
use crate::provider::smtp;

/// Groups of recipients in a report that are read, at most. Our messages have one recipient each.
const GROUPS: usize = 100;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// `None`: nothing final, as of a delay.
    pub(super) news: Option<News>,
    pub(super) detail: Option<String>,
    /// When it was written, by its own header.
    pub(super) at: Option<Timestamp>,
    /// Whom the report's own header addresses.
    pub(super) recipients: Vec<String>,
    pub(super) returned: Returned,
}

/// What a report gives back of the message it is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Returned {
    /// Where the envelope's sender is named.
    pub(super) senders: Vec<String>,
    pub(super) unsubscribe: Option<String>,
    pub(super) message_id: Option<String>,
}

impl Report {
    /// `None` where the mail has no report, or cannot be read.
    pub(super) fn read(mail: &[u8]) -> Option<Self> {
        // Strangers write these mails: should one trip the parser, it is one mail that cannot be read.
        catch_unwind(|| Self::parsed(mail)).unwrap_or_default()
    }

    fn parsed(mail: &[u8]) -> Option<Self> {
        let message = MessageParser::new().parse(mail)?;
        let of_type = |wanted: &[(&str, &str)]| {
            message.parts.iter().find(|part| {
                let (main, sub) = type_of(part);
                wanted.iter().any(|(m, s)| main.eq_ignore_ascii_case(m) && sub.eq_ignore_ascii_case(s))
            })
        };
        let mut report = Report::default();
        // RFC 3464 and its like for addresses beyond ASCII, RFC 6533.
        let delivery = [("message", "delivery-status"), ("message", "global-delivery-status")];
        if let Some(part) = of_type(&delivery) {
            report.take_delivery(&groups(part.contents()));
        } else {
            report.take_feedback(&groups(of_type(&[("message", "feedback-report")])?.contents()));
        }
        report.at = message.date().and_then(|date| Timestamp::from_second(date.to_timestamp()).ok());
        report.recipients = ["To", "Delivered-To", "X-Original-To", "Envelope-To"]
            .iter()
            .flat_map(|name| raw(&message, name))
            .collect();
        let headers =
            [("text", "rfc822-headers"), ("message", "rfc822-headers"), ("message", "global-headers")];
        if let Some(returned) = message.parts.iter().find_map(MessagePart::message) {
            report.returned.take(returned);
        } else if let Some(part) = of_type(&headers)
            && let Some(returned) = MessageParser::new().parse_headers(part.contents())
        {
            report.returned.take(&returned);
        }
        Some(report)
    }

    /// The first recipient with something final to tell; one that failed goes before others.
    fn take_delivery(&mut self, groups: &[Fields]) {
        self.returned.senders.extend(groups.iter().filter_map(|group| group.get("X-Postfix-Sender")));
        let told = groups.iter().filter_map(recipient);
        let first = told.min_by_key(|(news, _)| !matches!(news, News::Bounced { .. }));
        if let Some((news, detail)) = first {
            (self.news, self.detail) = (Some(news), detail);
        }
    }

    /// RFC 5965. Other types than these tell of no wish of the recipient's.
    fn take_feedback(&mut self, groups: &[Fields]) {
        let Some(fields) = groups.first() else { return };
        let kind = fields.get("Feedback-Type").unwrap_or_default().to_ascii_lowercase();
        self.news = match kind.as_str() {
            "abuse" => Some(News::Complained),
            "opt-out" => Some(News::Unsubscribed),
            _ => None,
        };
        self.detail = Some(smtp::in_short(&format!("feedback report: {kind}")));
        self.returned.senders.extend(fields.get("Original-Mail-From"));
    }
}

impl Returned {
    fn take(&mut self, message: &Message<'_>) {
        self.senders.extend(raw(message, "Return-Path"));
        self.unsubscribe = raw(message, "List-Unsubscribe").next();
        self.message_id = message.message_id().map(str::to_owned);
    }
}

fn type_of<'m>(part: &'m MessagePart<'_>) -> (&'m str, &'m str) {
    part.content_type().map_or(("", ""), |it| (it.ctype(), it.subtype().unwrap_or_default()))
}

/// The values of the headers of this name, as they stand.
fn raw(message: &Message<'_>, name: &'static str) -> impl Iterator<Item = String> {
    let values = message.headers_raw().filter(move |(own, _)| own.eq_ignore_ascii_case(name));
    values
        .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .into_iter()
}

/// What a group says of its recipient (RFC 3464, section 2.3).
fn recipient(group: &Fields) -> Option<(News, Option<String>)> {
    let status = group.get("Status").unwrap_or_default();
    let action = group.get("Action").unwrap_or_default().to_ascii_lowercase();
    match action.as_str() {
        "failed" => {}
        "delivered" | "relayed" => return Some((News::Delivered, None)),
        // Servers that leave the action out say by the status that it is final.
        "" if status.starts_with('5') => {}
        _ => return None,
    }
    let diagnostic = group.get("Diagnostic-Code");
    let words =
        diagnostic.as_deref().map(|text| text.split_once(';').map_or(text, |(_, words)| words).trim());
    let outcome = smtp::reported(&status, words.unwrap_or_default());
    let (bounce, reason) = weighed(&outcome);
    Some((News::Bounced { bounce, reason }, outcome.detail().map(str::to_owned)))
}

/// What a refusal says about the address.
fn weighed(outcome: &Outcome) -> (Bounce, Reason) {
    let reason = outcome.reason().unwrap_or(Reason::RecipientRefused);
    let bounce = match (outcome, reason) {
        (Outcome::Rejected { .. }, Reason::UnknownRecipient) => Bounce::Hard,
        (Outcome::Rejected { .. }, Reason::PolicyRefused | Reason::MessageRefused)
        | (Outcome::Throttled { .. } | Outcome::AccountRefused { .. }, _) => Bounce::Block,
        _ => Bounce::Soft,
    };
    (bounce, reason)
}

/// The fields of one group.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<String> {
        let found = self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }
}

/// Groups of fields with empty lines between them (RFC 3464, section 2.1); folded lines are joined by a blank.
fn groups(contents: &[u8]) -> Vec<Fields> {
    let text = String::from_utf8_lossy(contents);
    let mut groups = vec![Fields::default()];
    for line in text.lines() {
        let Some(Fields(fields)) = groups.last_mut() else { break };
        if line.trim().is_empty() {
            if !fields.is_empty() {
                if groups.len() == GROUPS {
                    break;
                }
                groups.push(Fields::default());
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    groups
}
