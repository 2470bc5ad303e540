//! What a receiver's answer means: its status for the whole request, its results for single messages.

use std::collections::HashMap;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;

use crate::model::{Outcome, Reason};
use crate::provider::Message;
use crate::provider::detail::masked;
use crate::provider::http::{retry_after, wait};
use crate::provider::reference::reference;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<OneResult>,
}

#[derive(Deserialize)]
struct OneResult {
    id: String,
    status: String,
    #[serde(rename = "ref")]
    reference: Option<String>,
    reason: Option<String>,
    detail: Option<String>,
    /// Seconds.
    retry_after: Option<f64>,
}

/// One outcome a message, in their order.
pub(super) fn outcomes(messages: &[Message], response: &Response<Bytes>, now: Timestamp) -> Vec<Outcome> {
    let whole = match judged(messages, response, now) {
        Ok(()) => return results(messages, response.body()),
        Err(outcome) => outcome,
    };
    vec![whole; messages.len()]
}

/// Whether the receiver took the request; else what became of all its messages.
fn judged(messages: &[Message], response: &Response<Bytes>, now: Timestamp) -> Result<(), Outcome> {
    let status = response.status();
    let after = || retry_after(response.headers(), now);
    let text = String::from_utf8_lossy(response.body().get(..1_000).unwrap_or(response.body()));
    let detail = told(format!("HTTP {}: {text}", status.as_u16()).trim_end_matches([':', ' ']), messages);
    Err(match status.as_u16() {
        200..=299 => return Ok(()),
        300..=399 => Outcome::AccountRefused {
            detail: format!(
                "HTTP {}: redirects are not followed; set url to where it leads",
                status.as_u16()
            ),
        },
        // They speak of the address and the secret, not of a message.
        401 | 403 | 404 | 405 | 407 | 410 | 421 | 426 => Outcome::AccountRefused { detail },
        // The receiver did not read the request to its end, or not yet.
        408 | 425 => Outcome::Retry { reason: Reason::TemporaryFailure, after: after(), detail },
        429 => Outcome::Throttled { after: after(), detail },
        400..=499 => Outcome::Rejected { reason: Reason::MessageRefused, detail },
        503 => Outcome::Retry { reason: Reason::TemporaryFailure, after: after(), detail },
        // A gateway's 502 and 504 say that somebody had the request, and broke off or was too slow.
        _ => Outcome::Unknown { reason: Reason::NoAnswer, detail },
    })
}

/// Of a request that was taken. A body that is no JSON object says nothing more than the status.
fn results(messages: &[Message], body: &[u8]) -> Vec<Outcome> {
    let accepted = Outcome::Accepted { provider_ref: None };
    if body.trim_ascii_start().first() != Some(&b'{') {
        return vec![accepted; messages.len()];
    }
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(error) => {
            let detail = masked(&format!("the answer's results cannot be read: {error}"));
            return vec![Outcome::Unknown { reason: Reason::NoAnswer, detail }; messages.len()];
        }
    };
    let by_id: HashMap<&str, &OneResult> =
        answer.results.iter().map(|result| (result.id.as_str(), result)).collect();
    let outcome = |message: &Message| match by_id.get(message.delivery.to_string().as_str()) {
        Some(result) => outcome(result, message),
        None => accepted.clone(),
    };
    messages.iter().map(outcome).collect()
}

fn outcome(result: &OneResult, message: &Message) -> Outcome {
    let words = [result.reason.as_deref(), result.detail.as_deref()];
    let words = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
    let detail = told(&words, std::slice::from_ref(message));
    let after = result.retry_after.map(wait);
    match result.status.as_str() {
        "accepted" => Outcome::Accepted { provider_ref: result.reference.as_deref().and_then(reference) },
        "rejected" => Outcome::Rejected { reason: refusal(result.reason.as_deref()), detail },
        "retry" => Outcome::Retry { reason: Reason::TemporaryFailure, after, detail },
        "throttled" => Outcome::Throttled { after, detail },
        status => {
            let detail = masked(&format!("`{status}` is none of accepted, rejected, retry, throttled"));
            Outcome::Unknown { reason: Reason::NoAnswer, detail }
        }
    }
}

/// The receiver's words without the recipients' addresses.
fn told(words: &str, messages: &[Message]) -> String {
    let addresses = messages.iter().map(|message| message.to.as_str()).filter(|to| !to.is_empty());
    masked(&addresses.fold(words.to_owned(), |words, to| words.replace(to, "***")))
}

/// The receiver's word for why it refused, where it is one that a provider may say.
pub(super) fn refusal(word: Option<&str>) -> Reason {
    match word.and_then(|word| word.parse().ok()) {
        Some(
            reason @ (Reason::UnknownRecipient
            | Reason::MailboxFull
            | Reason::PolicyRefused
            | Reason::MessageRefused
            | Reason::RecipientRefused),
        ) => reason,
        _ => Reason::RecipientRefused,
    }
}
