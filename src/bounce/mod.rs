//! What comes back by mail: reports of delivery (RFC 3464) and of abuse (RFC 5965), read into receipts.
//!
//! A mail comes over LMTP or lies in a maildir; either way it is let go once its receipts are durable. Whose it is says a
//! name that we signed ourselves: the address that the bounce went to (VERP), or the link to unsubscribe in the returned
//! headers. Nobody can make us give up an address by a report that he wrote himself, except where the settings believe
//! Message-IDs. Vacation notices, replies and whatever cannot be read are taken and forgotten: no mail stops the intake.
//!
//! Sends nothing, bounces nothing, and keeps no mail.

mod claim;
mod lmtp;
mod maildir;
mod report;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

pub use lmtp::Lmtp;
pub use maildir::Maildir;

use self::claim::Claims;
use self::report::Report;
use crate::model::Receipt;
use crate::model::receipt::{About, News};
use crate::token::Keyring;

/// Bytes of a mail that are looked at: what a report says stands before the message that it returns.
const LOOKED_AT: usize = 256 << 10;
/// Reports that say to be older are taken as of now: their clock is wrong.
const OLDEST: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Where receipts become durable.
#[async_trait]
pub trait Book: Send + Sync + fmt::Debug {
    /// # Errors
    /// The receipts could not be written now: the mail must come again.
    async fn file(&self, receipts: Vec<Receipt>) -> Result<(), Unavailable>;

    /// One mail more was taken of this kind.
    fn took(&self, kind: Kind);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store does not answer")]
pub struct Unavailable;

/// What a mail turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A report of delivery about messages of ours.
    Report,
    /// A report of abuse about messages of ours.
    Complaint,
    /// A report about nothing that we can tell.
    Unclaimed,
    /// No report: a vacation notice, a reply, something that cannot be read.
    Other,
}

impl Kind {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Report => "report",
            Kind::Complaint => "complaint",
            Kind::Unclaimed => "unclaimed",
            Kind::Other => "other",
        }
    }
}

/// Reads mails; knows whose names are ours.
#[derive(Debug, Clone)]
pub struct Reader {
    keyring: Arc<Keyring>,
    message_ids: bool,
}

/// A mail that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    pub kind: Kind,
    pub receipts: Vec<Receipt>,
}

impl Reader {
    /// `message_ids`: believe the Message-ID of a returned message, which anybody can write.
    pub fn new(keyring: Arc<Keyring>, message_ids: bool) -> Self {
        Reader { keyring, message_ids }
    }

    /// What a mail says; `recipients` are the addresses of its envelope, where it had one.
    pub fn read(&self, mail: &[u8], recipients: &[String], now: Timestamp) -> Reading {
        let Some(report) = Report::read(mail) else {
            return Reading { kind: Kind::Other, receipts: Vec::new() };
        };
        let claims = Claims { keyring: &self.keyring, message_ids: self.message_ids };
        let deliveries = claims.deliveries(recipients, &report);
        let kind = match (&report.news, deliveries.is_empty()) {
            (_, true) => Kind::Unclaimed,
            (Some(News::Complained | News::Unsubscribed), false) => Kind::Complaint,
            (_, false) => Kind::Report,
        };
        let at = report.at.filter(|at| *at <= now && now.duration_since(*at) <= OLDEST).unwrap_or(now);
        let receipt = |delivery: crate::model::DeliveryKey| {
            let news = report.news.clone()?;
            let key = format!("{}.{}.{}", delivery.campaign, delivery.contact, delivery.occurrence);
            Some(Receipt {
                // A mail that comes twice, and two servers that report the same, say one thing.
                id: Receipt::id("mail", &key, news.as_str()),
                about: About::Delivery(delivery),
                at,
                news,
                detail: report.detail.clone(),
            })
        };
        Reading { kind, receipts: deliveries.into_iter().filter_map(receipt).collect() }
    }
}
