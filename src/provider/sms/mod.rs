//! What the providers of text messages share: calls that carry several messages, what their codes mean, the codes of
//! Chinese carriers, Beijing's clock, the forms that travel.
//!
//! Knows no provider: each brings its own table of codes and its own signature.

pub(super) mod asking;
pub(super) mod beijing;
pub(super) mod calls;
pub(super) mod carrier;
pub(super) mod code;
#[cfg(test)]
pub(super) mod sample;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::detail::masked;
use super::http::retry_after;
use super::{Body, Message};
use crate::model::content::SmsContent;
use crate::model::receipt::{About, News};
use crate::model::{Content, Outcome, Reason, Receipt};

/// RFC 3986, section 2.3: what is never encoded.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The text message in `message`; none of what belongs to another channel.
pub(super) fn content(message: &Message) -> Option<&SmsContent> {
    match &message.body {
        Body::Content(Content::Sms(sms)) => Some(sms),
        Body::Content(_) | Body::Email(_) => None,
    }
}

/// The pairs as a query or a form, everything but unreserved characters encoded.
pub(super) fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut form = String::new();
    for (key, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        form.extend(utf8_percent_encode(key, UNRESERVED));
        form.push('=');
        form.extend(utf8_percent_encode(value, UNRESERVED));
    }
    form
}

/// The pairs of a query or a form; none where one is not UTF-8.
pub(super) fn pairs(form: &str) -> Option<Vec<(String, String)>> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
    };
    form.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(key)?, decoded(value)?))
        })
        .collect()
}

/// A provider's code and words as they may be kept: without numbers that could be telephones, cut short.
pub(super) fn told(code: &str, words: &str) -> String {
    const SHORTEST_NUMBER: usize = 7;
    let mut told = String::with_capacity(code.len() + words.len() + 2);
    told.extend([code, if code.is_empty() || words.is_empty() { "" } else { ": " }]);
    let mut rest = words;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let (digits, after) = from.split_at(from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len()));
        // `SMS_153055065` is a template's code.
        let named = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        told.push_str(before);
        told.push_str(if digits.len() < SHORTEST_NUMBER || named { digits } else { "***" });
        rest = after;
    }
    told.push_str(rest);
    masked(&told)
}

/// What an answer means that is not in the provider's own words, such as a gateway's.
pub(super) fn wordless(response: &Response<Bytes>, now: Timestamp) -> Outcome {
    let status = response.status().as_u16();
    let after = || retry_after(response.headers(), now);
    let text = String::from_utf8_lossy(response.body().get(..500).unwrap_or(response.body()));
    let detail = told(&format!("HTTP {status}"), text.trim());
    match status {
        300..=399 => Outcome::AccountRefused {
            detail: format!("HTTP {status}: redirects are not followed; set base_url to where it leads"),
        },
        408 | 425 => Outcome::Retry { reason: Reason::TemporaryFailure, after: after(), detail },
        429 => Outcome::Throttled { after: after(), detail },
        400..=499 => Outcome::AccountRefused { detail },
        // Without a word of the provider's, a gateway's 5xx does not say how far the request came.
        _ => Outcome::Unknown { reason: Reason::NoAnswer, detail },
    }
}

/// A template that lacks what a provider of this kind needs.
pub(super) fn lacks(what: &str) -> Outcome {
    Outcome::CampaignRefused { detail: format!("the template has no {what}, which this provider needs") }
}

/// That the provider knows the recipient to have opted out, told with its answer.
pub(super) fn opt_out(provider: &str, message: &Message, now: Timestamp) -> Receipt {
    Receipt {
        id: Receipt::id(provider, &message.delivery.to_string(), "unsubscribed"),
        about: About::Delivery(message.delivery),
        at: now,
        news: News::Unsubscribed,
        detail: Some("the provider's list of people who opted out".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_telephones_are_not_kept() {
        for (words, wanted) in [
            ("", "code"),
            ("+8613800000001 is off", "code: +*** is off"),
            ("触发分钟级流控Permits:1", "code: 触发分钟级流控Permits:1"),
            ("no template SMS_153055065", "code: no template SMS_153055065"),
            ("13800000001,13800000002", "code: ***,***"),
            ("号码13800000001不对", "code: 号码***不对"),
        ] {
            assert_eq!(told("code", words), wanted);
        }
        assert!(told("", &"x".repeat(5_000)).len() <= 256);
    }

    #[test]
    fn gateways_are_understood() {
        let now = Timestamp::UNIX_EPOCH;
        for (status, wanted) in [
            (302, "account_refused"),
            (400, "account_refused"),
            (403, "account_refused"),
            (404, "account_refused"),
            (408, "retry"),
            (429, "throttled"),
            (500, "unknown"),
            (502, "unknown"),
            (503, "unknown"),
            (504, "unknown"),
            (200, "unknown"),
        ] {
            let response = Response::builder().status(status).body(Bytes::from_static(b"<html>")).unwrap();
            assert_eq!(wordless(&response, now).as_str(), wanted, "{status}");
        }
        let busy = Response::builder().status(429).header("retry-after", "9").body(Bytes::new()).unwrap();
        let Outcome::Throttled { after, .. } = wordless(&busy, now) else { panic!() };
        assert_eq!(after, Some(Duration::from_secs(9)));
    }

    proptest! {
        #[test]
        fn forms_come_back(given in prop::collection::vec((".*", ".*"), 0..5)) {
            let given: Vec<(String, String)> = given;
            let written = form(given.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            prop_assert!(written.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%=&".contains(&b)));
            prop_assert_eq!(pairs(&written).unwrap(), given);
        }
    }
}
