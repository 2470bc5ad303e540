//! What Getui's answers mean: the code in the body first, else the HTTP status (docs.getui.com, "rest_v2/code").

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde::Deserialize;

use crate::model::{Outcome, Reason};
use crate::provider::keyed::{Answer, Keyed, told};
use crate::provider::reference::reference;

/// What a code or a status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Token,
    /// This recipient, and no word that the address is dead.
    Recipient,
    /// The message or our request is wrong; a repeat would meet the same.
    Message,
    Account,
    /// For this long.
    Throttled(Duration),
    /// For now, in Getui's own words; the same request_id keeps a repeat from doubling.
    Broken,
    /// An error of whoever stands between us: Getui may have the message.
    Doubtful,
}

const MINUTE: Duration = Duration::from_secs(60);
/// Limits of a day: asked again by the hour, since no answer says when the day ends.
const HOUR: Duration = Duration::from_secs(3_600);

const CODES: &[(i64, Verdict)] = &[
    (1, Verdict::Message),
    (2, Verdict::Broken),
    (301, Verdict::Account),
    (404, Verdict::Account),
    (405, Verdict::Account),
    (5_000, Verdict::Broken),
    (10_001, Verdict::Token),
    (10_002, Verdict::Account),
    (10_003, Verdict::Throttled(MINUTE)),
    (10_004, Verdict::Account),
    (10_005, Verdict::Throttled(MINUTE)),
    (20_001, Verdict::Message),
    // "The user is invalid, or a strategy is": does not say which.
    (21_001, Verdict::Recipient),
    // Pushes of this day.
    (30_009, Verdict::Throttled(HOUR)),
];

/// An answer, or that the token is no longer good.
#[derive(Debug)]
pub(super) enum Heard {
    Answer(Answer),
    TokenRefused(String),
}

#[derive(Deserialize)]
struct Head {
    code: i64,
    #[serde(default)]
    msg: String,
}

#[derive(Deserialize)]
struct Results {
    /// Words by cid, by task.
    data: HashMap<String, HashMap<String, String>>,
}

pub(super) fn read(response: &Response<Bytes>, messages: &[Keyed<'_>]) -> Heard {
    let Some((verdict, words)) = judged(response) else {
        return Heard::Answer(results(response.body(), messages));
    };
    let detail = told(&words, messages);
    if verdict == Verdict::Token {
        return Heard::TokenRefused(detail);
    }
    let outcome = match verdict {
        // "target user is invalid": no cid, or another app's.
        Verdict::Message if words.contains("target user is invalid") => {
            Outcome::Rejected { reason: Reason::UnknownRecipient, detail }
        }
        // Getui has a message of this id already: it is ours, of an attempt whose answer was lost.
        Verdict::Message if is_repeat(&words) && messages.len() == 1 => {
            Outcome::Accepted { provider_ref: None }
        }
        verdict => outcome(verdict, detail),
    };
    Heard::Answer(Answer::Whole(outcome))
}

/// What is wrong where a token was asked for and none was given.
pub(super) fn no_token(response: &Response<Bytes>) -> Option<Outcome> {
    let (verdict, words) = judged(response)?;
    let detail = told(&format!("no token: {words}"), &[]);
    Some(match verdict {
        Verdict::Throttled(_) => outcome(verdict, detail),
        Verdict::Broken | Verdict::Doubtful => outcome(Verdict::Broken, detail),
        // With 10001 or 20001, key and secret do not belong together, or the clock is wrong.
        _ => Outcome::AccountRefused { detail },
    })
}

fn is_repeat(words: &str) -> bool {
    words.contains("request_id") && (words.contains("repeat") || words.contains("duplicate"))
}

/// `None` where the request was taken.
fn judged(response: &Response<Bytes>) -> Option<(Verdict, String)> {
    let (status, body) = (response.status().as_u16(), response.body());
    let by_status = match status {
        200..=299 => None,
        300..=399 | 401 | 403 | 404 | 405 | 407 | 410 => Some(Verdict::Account),
        429 => Some(Verdict::Throttled(MINUTE)),
        400..=499 => Some(Verdict::Message),
        _ => Some(Verdict::Broken),
    };
    let Ok(Head { code, msg }) = serde_json::from_slice(body) else {
        let text = String::from_utf8_lossy(body.get(..1_000).unwrap_or(body));
        let words = format!("HTTP {status}: {text}").trim_end_matches([':', ' ']).to_owned();
        let without_words = by_status.map(|verdict| match verdict {
            Verdict::Broken => Verdict::Doubtful,
            verdict => verdict,
        });
        return without_words.map(|verdict| (verdict, words));
    };
    let by_code = match CODES.iter().find(|(known, _)| *known == code) {
        Some((_, verdict)) => Some(*verdict),
        None if code == 0 => None,
        // The 30000s are about what the app has booked.
        None => by_status.or(Some(if code >= 30_000 { Verdict::Account } else { Verdict::Message })),
    };
    by_code.map(|verdict| (verdict, format!("{code}: {msg}")))
}

fn outcome(verdict: Verdict, detail: String) -> Outcome {
    match verdict {
        Verdict::Recipient => Outcome::Rejected { reason: Reason::RecipientRefused, detail },
        Verdict::Message => Outcome::Rejected { reason: Reason::MessageRefused, detail },
        Verdict::Token | Verdict::Account => Outcome::AccountRefused { detail },
        Verdict::Throttled(after) => Outcome::Throttled { after: Some(after), detail },
        Verdict::Broken => Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail },
        Verdict::Doubtful => Outcome::Unknown { reason: Reason::NoAnswer, detail },
    }
}

fn results(body: &[u8], messages: &[Keyed<'_>]) -> Answer {
    let unknown = |detail: &str| Outcome::Unknown { reason: Reason::NoAnswer, detail: detail.to_owned() };
    let Ok(Results { data }) = serde_json::from_slice(body) else {
        return Answer::Whole(unknown("the answer cannot be read"));
    };
    let by_cid: HashMap<&str, (&str, &str)> = data
        .iter()
        .flat_map(|(task, words)| {
            words.iter().map(|(cid, word)| (cid.as_str(), (task.as_str(), word.as_str())))
        })
        .collect();
    let each = messages.iter().map(|keyed| match by_cid.get(keyed.message.to.as_str()) {
        Some((task, "successed_online" | "successed_offline")) => {
            Outcome::Accepted { provider_ref: reference(task) }
        }
        // Nothing goes to a device that was not seen for 90 days; one that comes back is reached again.
        Some((_, word @ "successed_ignore")) => {
            let detail = format!("{word}: inactive for 90 days");
            Outcome::Rejected { reason: Reason::RecipientRefused, detail }
        }
        Some((_, word)) => unknown(&told(&format!("`{word}` is no result that is known"), messages)),
        None => unknown("the answer tells nothing about this message"),
    });
    Answer::Each(each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::keyed::tests::push;

    fn heard(status: u16, body: &str) -> Outcome {
        let response = Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes()));
        let message = push(1, "cid0000001", None);
        let keyed = [Keyed { message: &message, key: "k".to_owned() }];
        match read(&response.unwrap(), &keyed) {
            Heard::Answer(Answer::Whole(outcome)) => outcome,
            Heard::Answer(Answer::Each(each)) => each.into_iter().next().unwrap(),
            Heard::TokenRefused(detail) => Outcome::AccountRefused { detail: format!("token: {detail}") },
        }
    }

    #[test]
    fn every_code_has_its_outcome() {
        let (account, message) = (Reason::AccountRefused, Reason::MessageRefused);
        let (throttled, retry) = (Reason::Throttled, Reason::TemporaryFailure);
        for (status, code, msg, label, reason) in [
            (200, 1, "", "rejected", message),
            (200, 2, "", "retry", retry),
            (200, 301, "", "account_refused", account),
            (404, 404, "", "account_refused", account),
            (405, 405, "", "account_refused", account),
            (200, 5000, "", "retry", retry),
            (401, 10001, "", "account_refused", account),
            (401, 10002, "", "account_refused", account),
            (401, 10003, "", "throttled", throttled),
            (401, 10004, "", "account_refused", account),
            (401, 10005, "", "throttled", throttled),
            (400, 20001, "title is invalid", "rejected", message),
            (400, 20001, "target user is invalid", "rejected", Reason::UnknownRecipient),
            (400, 21001, "", "rejected", Reason::RecipientRefused),
            (403, 30000, "", "account_refused", account),
            (403, 30009, "", "throttled", throttled),
            (200, 30028, "", "account_refused", account),
            (200, 29999, "", "rejected", message),
            (400, 29999, "", "rejected", message),
            (500, 29999, "", "retry", retry),
        ] {
            let outcome = heard(status, &format!(r#"{{"code": {code}, "msg": "{msg}"}}"#));
            assert_eq!((outcome.as_str(), outcome.reason()), (label, Some(reason)), "{code} {msg}");
        }
    }

    #[test]
    fn a_status_without_a_code_judges_too() {
        for (status, label) in [
            (200, "unknown"),
            (302, "account_refused"),
            (400, "rejected"),
            (401, "account_refused"),
            (403, "account_refused"),
            (429, "throttled"),
            (500, "unknown"),
            (502, "unknown"),
            (503, "unknown"),
        ] {
            assert_eq!(heard(status, "<html>").as_str(), label, "{status}");
        }
    }

    #[test]
    fn every_result_has_its_outcome() {
        let result =
            |word: &str| format!(r#"{{"code": 0, "data": {{"RASS_1": {{"cid0000001": "{word}"}}}}}}"#);
        let accepted = Outcome::Accepted { provider_ref: Some("RASS_1".to_owned()) };
        assert_eq!(heard(200, &result("successed_online")), accepted);
        assert_eq!(heard(200, &result("successed_offline")), accepted);
        assert_eq!(heard(200, &result("successed_ignore")).reason(), Some(Reason::RecipientRefused));
        for body in [&result("sent"), r#"{"code": 0, "data": {}}"#, r#"{"code": 0}"#] {
            assert_eq!(heard(200, body).as_str(), "unknown", "{body}");
        }
        let repeated = r#"{"code": 20001, "msg": "request_id cannot be repeat."}"#;
        assert_eq!(heard(400, repeated), Outcome::Accepted { provider_ref: None });
        let named = heard(400, r#"{"code": 20001, "msg": "cid0000001 is odd"}"#);
        assert_eq!(named.detail(), Some("20001: *** is odd"));
    }

    #[test]
    fn a_token_that_is_not_given_is_the_accounts_matter_or_waits() {
        let refused = |status, body: &str| {
            let response = Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes()));
            no_token(&response.unwrap()).map(|outcome| outcome.as_str())
        };
        assert_eq!(refused(200, r#"{"code": 0, "data": {}}"#), None);
        for (status, body, wanted) in [
            (401, r#"{"code": 10001, "msg": "no match"}"#, "account_refused"),
            (400, r#"{"code": 20001, "msg": "sign is invalid"}"#, "account_refused"),
            (401, r#"{"code": 10002}"#, "account_refused"),
            (401, r#"{"code": 10003}"#, "throttled"),
            (200, r#"{"code": 2}"#, "retry"),
            (502, "", "retry"),
        ] {
            assert_eq!(refused(status, body), Some(wanted), "{body}");
        }
    }
}
