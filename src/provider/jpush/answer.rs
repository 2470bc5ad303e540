//! What JPush's answers mean: its error codes first, else the HTTP status
//! (docs.jiguang.cn, "Push API v3" and "HTTP status codes").

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::model::{Outcome, Reason};
use crate::provider::http::{NoAnswer, wait};
use crate::provider::keyed::{Answer, Keyed, told};
use crate::provider::reference::reference;

/// What a code or a status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nobody is behind the registration id.
    Dead,
    /// The message or our request is wrong; a repeat would meet the same.
    Message,
    Account,
    Throttled,
    /// This recipient gets too much.
    Deferred,
    /// Broken on JPush's side: it may have the message.
    Broken,
}

const CODES: &[(i64, Verdict)] = &[
    (1000, Verdict::Broken),
    (1001, Verdict::Message),
    (1002, Verdict::Message),
    (1003, Verdict::Message),
    (1004, Verdict::Account),
    (1005, Verdict::Message),
    (1008, Verdict::Account),
    (1009, Verdict::Message),
    (1011, Verdict::Dead),
    (1020, Verdict::Account),
    (1030, Verdict::Broken),
    (2002, Verdict::Throttled),
    (2003, Verdict::Account),
    (2004, Verdict::Account),
    (2005, Verdict::Deferred),
];

/// The vendor says "beyond a reasonable amount", and not for how long.
const DEFERRED: Duration = Duration::from_secs(3_600);

#[derive(Deserialize)]
struct Failed {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    code: i64,
    #[serde(default)]
    message: String,
}

/// A result by itself, or under its cid.
#[derive(Deserialize)]
struct Told {
    /// A number in some answers, a text in others.
    msg_id: Option<Value>,
    error: Option<Error>,
}

#[derive(Deserialize)]
struct Cids {
    cidlist: Vec<String>,
}

/// The cids that were asked for; at least one.
///
/// # Errors
/// As of a session that cannot be made ready: nothing was handed over.
pub(super) fn cids(answer: Result<Response<Bytes>, NoAnswer>) -> Result<Vec<String>, Outcome> {
    let retry = |detail: String| Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail };
    let response = match answer {
        Ok(response) => response,
        Err(NoAnswer::NotSent(outcome)) => return Err(outcome),
        Err(NoAnswer::InDoubt { detail, .. }) => return Err(retry(format!("no cids: {detail}"))),
    };
    if let Some(refusal) = refusal(&response, &[]) {
        return Err(match refusal {
            Outcome::Rejected { detail, .. } => {
                Outcome::AccountRefused { detail: format!("no cids: {detail}") }
            }
            Outcome::Unknown { detail, .. } => retry(format!("no cids: {detail}")),
            refusal => refusal,
        });
    }
    match serde_json::from_slice::<Cids>(response.body()) {
        Ok(Cids { cidlist }) if !cidlist.is_empty() => Ok(cidlist),
        _ => Err(retry("no cids: the answer has no cidlist".to_owned())),
    }
}

pub(super) fn read(response: &Response<Bytes>, messages: &[Keyed<'_>]) -> Answer {
    if let Some(refusal) = refusal(response, messages) {
        return Answer::Whole(refusal);
    }
    if let ([_], Ok(Told { msg_id: Some(id), .. })) = (messages, serde_json::from_slice(response.body())) {
        return Answer::Whole(accepted(&id));
    }
    let Ok(by_cid) = serde_json::from_slice::<HashMap<String, Told>>(response.body()) else {
        return Answer::Whole(unknown("the answer cannot be read"));
    };
    let each = messages.iter().map(|keyed| {
        let alone = std::slice::from_ref(keyed);
        match by_cid.get(&keyed.key) {
            Some(Told { error: Some(error), .. }) => failed(error, response.headers(), alone),
            Some(Told { msg_id: Some(id), .. }) => accepted(id),
            _ => unknown("the answer tells nothing about this message"),
        }
    });
    Answer::Each(each.collect())
}

fn accepted(id: &Value) -> Outcome {
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    Outcome::Accepted { provider_ref: reference(&id) }
}

fn unknown(detail: &str) -> Outcome {
    Outcome::Unknown { reason: Reason::NoAnswer, detail: detail.to_owned() }
}

/// What became of a whole request that was not taken.
fn refusal(response: &Response<Bytes>, messages: &[Keyed<'_>]) -> Option<Outcome> {
    let (status, body) = (response.status().as_u16(), response.body());
    if let Ok(Failed { error }) = serde_json::from_slice(body) {
        return Some(failed(&error, response.headers(), messages));
    }
    let verdict = match status {
        200..=299 => return None,
        300..=399 | 401 | 403 | 404 | 405 | 407 | 410 => Verdict::Account,
        429 => Verdict::Throttled,
        400..=499 => Verdict::Message,
        _ => Verdict::Broken,
    };
    let text = String::from_utf8_lossy(body.get(..1_000).unwrap_or(body));
    let detail = told(format!("HTTP {status}: {text}").trim_end_matches([':', ' ']), messages);
    Some(outcome(verdict, detail, response.headers()))
}

fn failed(error: &Error, headers: &HeaderMap, messages: &[Keyed<'_>]) -> Outcome {
    let Error { code, message } = error;
    let known = CODES.iter().find(|(known, _)| known == code).map(|(_, verdict)| *verdict);
    // The 2000s are about what the app may do; none of them is about one message.
    let verdict = known.unwrap_or(if *code >= 2_000 { Verdict::Account } else { Verdict::Message });
    let detail = told(&format!("{code}: {message}"), messages);
    // 1003 stands for a registration id of a wrong form, too; that says nothing about other messages.
    if *code == 1003 && message.contains("registration_id") {
        return Outcome::Rejected { reason: Reason::RecipientRefused, detail };
    }
    outcome(verdict, detail, headers)
}

fn outcome(verdict: Verdict, detail: String, headers: &HeaderMap) -> Outcome {
    match verdict {
        Verdict::Dead => Outcome::Rejected { reason: Reason::UnknownRecipient, detail },
        Verdict::Message => Outcome::Rejected { reason: Reason::MessageRefused, detail },
        Verdict::Account => Outcome::AccountRefused { detail },
        Verdict::Throttled => Outcome::Throttled { after: reset(headers), detail },
        Verdict::Deferred => Outcome::Deferred { after: DEFERRED, detail },
        Verdict::Broken => Outcome::Unknown { reason: Reason::NoAnswer, detail },
    }
}

/// How long until the rate's window begins anew, in seconds.
fn reset(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get("x-rate-limit-reset")?.to_str().ok()?.trim().parse().ok()?;
    Some(wait(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::keyed::tests::push;

    fn response(status: u16, body: &str) -> Response<Bytes> {
        let response = Response::builder().status(status).header("X-Rate-Limit-Reset", "13");
        response.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    /// Label and reason.
    fn verdict(status: u16, body: &str) -> (&'static str, Option<Reason>) {
        let message = push(1, "18071adc030dcba91c0", None);
        let keyed = [Keyed { message: &message, key: "k".to_owned() }];
        match read(&response(status, body), &keyed) {
            Answer::Whole(outcome) => (outcome.as_str(), outcome.reason()),
            Answer::Each(each) => (each[0].as_str(), each[0].reason()),
        }
    }

    const ACCOUNT: (&str, Option<Reason>) = ("account_refused", Some(Reason::AccountRefused));
    const MESSAGE: (&str, Option<Reason>) = ("rejected", Some(Reason::MessageRefused));
    const DEAD: (&str, Option<Reason>) = ("rejected", Some(Reason::UnknownRecipient));
    const THROTTLED: (&str, Option<Reason>) = ("throttled", Some(Reason::Throttled));
    const UNKNOWN: (&str, Option<Reason>) = ("unknown", Some(Reason::NoAnswer));

    #[test]
    fn every_code_has_its_outcome() {
        for (status, code, wanted) in [
            (500, 1000, UNKNOWN),
            (405, 1001, MESSAGE),
            (400, 1002, MESSAGE),
            (400, 1003, MESSAGE),
            (401, 1004, ACCOUNT),
            (400, 1005, MESSAGE),
            (400, 1008, ACCOUNT),
            (400, 1009, MESSAGE),
            (400, 1011, DEAD),
            (200, 1011, DEAD),
            (404, 1020, ACCOUNT),
            (503, 1030, UNKNOWN),
            (429, 2002, THROTTLED),
            (403, 2003, ACCOUNT),
            (403, 2004, ACCOUNT),
            (403, 2005, ("deferred", Some(Reason::Throttled))),
            (400, 1099, MESSAGE),
            (403, 2099, ACCOUNT),
        ] {
            let body = format!(r#"{{"error": {{"code": {code}, "message": "words"}}}}"#);
            assert_eq!(verdict(status, &body), wanted, "{status} {code}");
            let by_cid = format!(r#"{{"k": {{"error": {{"code": {code}, "message": "words"}}}}}}"#);
            assert_eq!(verdict(200, &by_cid), wanted, "{code} under its cid");
        }
    }

    #[test]
    fn a_status_without_a_code_judges_too() {
        for (status, body, wanted) in [
            (301, "", ACCOUNT),
            (400, "", MESSAGE),
            (401, "", ACCOUNT),
            (403, "<html>", ACCOUNT),
            (404, "", ACCOUNT),
            (410, "", ACCOUNT),
            (429, "", THROTTLED),
            (500, "", UNKNOWN),
            (502, "<html>", UNKNOWN),
            (503, "", UNKNOWN),
            (504, "", UNKNOWN),
            (200, "", UNKNOWN),
            (200, "{}", UNKNOWN),
            (200, r#"{"other": {"msg_id": "1"}}"#, UNKNOWN),
        ] {
            assert_eq!(verdict(status, body), wanted, "{status} {body}");
        }
    }

    #[test]
    fn ids_waits_and_words_are_kept_and_addresses_not() {
        let message = push(1, "18071adc030dcba91c0", None);
        let keyed = [Keyed { message: &message, key: "k".to_owned() }];
        let whole = |status, body| match read(&response(status, body), &keyed) {
            Answer::Whole(outcome) => outcome,
            Answer::Each(each) => panic!("{each:?}"),
        };
        for body in [r#"{"sendno": "0", "msg_id": "1828256757"}"#, r#"{"sendno": 0, "msg_id": 1828256757}"#] {
            assert_eq!(whole(200, body), Outcome::Accepted { provider_ref: Some("1828256757".to_owned()) });
        }
        let body =
            r#"{"error": {"code": 1003, "message": "registration_id 18071adc030dcba91c0 is invalid"}}"#;
        let (reason, detail) = (Reason::RecipientRefused, "1003: registration_id *** is invalid".to_owned());
        assert_eq!(whole(400, body), Outcome::Rejected { reason, detail });
        let throttled = whole(429, r#"{"error": {"code": 2002, "message": "slow"}}"#);
        let (after, detail) = (Some(Duration::from_secs(13)), "2002: slow".to_owned());
        assert_eq!(throttled, Outcome::Throttled { after, detail });
    }

    #[test]
    fn no_cids_is_never_a_doubt_about_a_message() {
        let fetched = |status, body| cids(Ok(response(status, body))).map_err(|outcome| outcome.as_str());
        assert_eq!(fetched(200, r#"{"cidlist": ["a", "b"]}"#), Ok(vec!["a".to_owned(), "b".to_owned()]));
        for (status, body, wanted) in [
            (200, r#"{"cidlist": []}"#, "retry"),
            (200, "", "retry"),
            (500, "", "retry"),
            (429, "", "throttled"),
            (400, "", "account_refused"),
            (401, r#"{"error": {"code": 1004, "message": "no"}}"#, "account_refused"),
        ] {
            assert_eq!(fetched(status, body), Err(wanted), "{status} {body}");
        }
        let silence = NoAnswer::InDoubt { reason: Reason::NoAnswer, detail: String::new() };
        assert_eq!(cids(Err(silence)).unwrap_err().as_str(), "retry");
    }
}
