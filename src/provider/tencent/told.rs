//! Statuses and replies as receipts, however they came: pushed or fetched. Both ways give a receipt the same id.

use jiff::Timestamp;

use crate::config::Codes;
use crate::model::opt_out::opts_out;
use crate::model::receipt::{About, News};
use crate::model::{Channel, Receipt, address};
use crate::provider::sms::{carrier, told};

pub(super) struct Status<'a> {
    pub(super) about: About,
    pub(super) serial_no: &'a str,
    pub(super) at: Option<Timestamp>,
    pub(super) success: bool,
    /// The carrier's.
    pub(super) code: &'a str,
    pub(super) words: &'a str,
}

pub(super) struct Reply<'a> {
    /// With `+` and the country's code.
    pub(super) number: &'a str,
    pub(super) text: &'a str,
    /// Seconds since 1970.
    pub(super) time: i64,
}

/// `provider` is the account's name.
pub(super) fn reported(provider: &str, codes: &Codes, status: &Status<'_>, now: Timestamp) -> Vec<Receipt> {
    let words = if status.words == status.code { "" } else { status.words };
    let detail = told(status.code, words);
    let receipt = |news: News| Receipt {
        id: Receipt::id(provider, status.serial_no, &format!("{} {}", status.code, news.as_str())),
        about: status.about.clone(),
        at: Receipt::happened(status.at, now),
        detail: Some(detail.clone()).filter(|detail| !detail.is_empty()),
        news,
    };
    carrier::news(codes, status.success, status.code).into_iter().map(receipt).collect()
}

/// What no number replies is nobody's.
pub(super) fn replied(provider: &str, reply: &Reply<'_>, now: Timestamp) -> Option<Receipt> {
    let news = if opts_out(reply.text) { News::Unsubscribed } else { News::Replied };
    let address = address::canonical(Channel::Sms, reply.number).ok()?;
    let key = format!("reply {address} {} {}", reply.time, reply.text);
    Some(Receipt {
        id: Receipt::id(provider, &key, news.as_str()),
        about: About::Address { channel: Channel::Sms, address },
        at: Receipt::happened(Timestamp::from_second(reply.time).ok(), now),
        news,
        detail: None,
    })
}
