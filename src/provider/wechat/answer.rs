//! What WeChat's answers mean. Its HTTP status says nothing: whatever happened is a number in the body.
//!
//! From the list of global return codes (developers.weixin.qq.com, `doc/offiaccount/Getting_Started/Global_Return_Code`)
//! and, where that is silent, from what users report.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::civil::Time;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::model::{Outcome, Reason};
use crate::provider::detail::masked;
use crate::provider::http::retry_after;
use crate::provider::reference::reference;

/// What a number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Taken,
    /// Too many requests at once.
    Busy,
    /// The access token is no longer, or not, the one.
    Stale,
    /// Nobody has this openid.
    Dead,
    /// The recipient takes nothing by this way.
    Closed,
    /// The same message went to the recipient a moment ago.
    Duplicate,
    /// The recipient is to be left alone for so long.
    Later(Duration),
    /// What the template makes of this recipient is refused.
    Render,
    /// A request as we should never make it.
    OurFault,
    /// The template itself.
    Template,
    /// Nothing more today: the quota starts anew at midnight in Beijing.
    DailyQuota,
    /// Nothing more in this minute.
    MinuteQuota,
    /// The account, its secret, its rights.
    Account,
}

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

const MEANINGS: &[(i64, Meaning)] = &[
    (-1, Meaning::Busy),
    (0, Meaning::Taken),
    (40_001, Meaning::Stale),
    (40_003, Meaning::Dead),
    (40_013, Meaning::Account),
    (40_014, Meaning::Stale),
    (40_033, Meaning::OurFault),
    (40_036, Meaning::Template),
    // Seen for some minutes as a fault of WeChat's own: a campaign is stopped by many of them, not by one.
    (40_037, Meaning::Template),
    (40_125, Meaning::Account),
    (40_164, Meaning::Account),
    (40_241, Meaning::Duplicate),
    (40_243, Meaning::Account),
    (41_001, Meaning::OurFault),
    (41_030, Meaning::Template),
    (42_001, Meaning::Stale),
    (43_002, Meaning::OurFault),
    // Until the recipient follows the account again.
    (43_004, Meaning::Closed),
    // Our own list of refused recipients.
    (43_019, Meaning::Closed),
    (43_101, Meaning::Closed),
    (43_116, Meaning::Template),
    (43_117, Meaning::Later(HOUR.saturating_mul(6))),
    (44_002, Meaning::OurFault),
    (45_009, Meaning::DailyQuota),
    (45_011, Meaning::MinuteQuota),
    (45_015, Meaning::Closed),
    // Until the recipient writes again; two days after the last time it becomes 45015.
    (45_047, Meaning::Later(HOUR.saturating_mul(6))),
    (45_103, Meaning::Account),
    (45_109, Meaning::Account),
    (47_001, Meaning::OurFault),
    (47_003, Meaning::Render),
    (48_001, Meaning::Account),
    (48_002, Meaning::Closed),
    (48_004, Meaning::Account),
    (50_002, Meaning::Account),
    (61_003, Meaning::Account),
    (61_007, Meaning::Account),
];

fn meaning(code: i64) -> Option<Meaning> {
    MEANINGS.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
}

#[derive(Deserialize)]
struct Answer {
    errcode: i64,
    #[serde(default)]
    errmsg: String,
    /// A number beyond 2^53, or, for some messages, absent.
    msgid: Option<Value>,
}

/// What one request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Settled(Outcome),
    /// Certainly not taken: too many requests at once.
    TooMany(Outcome),
    /// Certainly not taken: the access token is not the one.
    Stale {
        detail: String,
    },
    /// Nobody knows; the reason is for where nothing more can be asked.
    InDoubt {
        reason: Reason,
        detail: String,
    },
}

/// What is known of the message besides its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) openid: &'a str,
    /// It may have gone out before, in this attempt or an earlier one.
    pub(super) again: bool,
}

/// What WeChat's answer to a message means at `now`.
pub(super) fn verdict(response: &Response<Bytes>, asked: Asked<'_>, now: Timestamp) -> Verdict {
    let answer: Answer = match serde_json::from_slice(response.body()) {
        Ok(answer) => answer,
        Err(_) => return without_code(response, now),
    };
    let words = format!("{} {}", answer.errcode, answer.errmsg);
    let words = if asked.openid.is_empty() { words } else { words.replace(asked.openid, "***") };
    let detail = masked(words.trim_end());
    let rejected = |reason, detail| Outcome::Rejected { reason, detail };
    let Some(meaning) = meaning(answer.errcode) else {
        return Verdict::Settled(retry(detail));
    };
    Verdict::Settled(match meaning {
        Meaning::Taken => Outcome::Accepted { provider_ref: answer.msgid.as_ref().and_then(id) },
        Meaning::Busy => return Verdict::TooMany(retry(detail)),
        Meaning::Stale => return Verdict::Stale { detail },
        Meaning::Dead => rejected(Reason::UnknownRecipient, detail),
        Meaning::Closed => rejected(Reason::RecipientRefused, detail),
        // What went out before had no answer, or one that said busy: it did arrive.
        Meaning::Duplicate if asked.again => Outcome::Accepted { provider_ref: None },
        Meaning::Duplicate => Outcome::Deferred { after: MINUTE, detail },
        Meaning::Later(after) => Outcome::Deferred { after, detail },
        Meaning::Render => rejected(Reason::MessageRefused, detail),
        Meaning::OurFault => rejected(Reason::MessageRefused, format!("a fault of this program: {detail}")),
        Meaning::Template => Outcome::CampaignRefused { detail },
        Meaning::DailyQuota => Outcome::Throttled { after: Some(until_midnight(now)), detail },
        Meaning::MinuteQuota => Outcome::Throttled { after: Some(MINUTE), detail },
        Meaning::Account => Outcome::AccountRefused { detail },
    })
}

/// Why no access token came: as for a message where the account has to wait, else the account is refused.
pub(super) fn without_token(response: &Response<Bytes>, now: Timestamp) -> Outcome {
    let asked = Asked { openid: "", again: false };
    match verdict(response, asked, now) {
        Verdict::TooMany(outcome)
        | Verdict::Settled(outcome @ (Outcome::Throttled { .. } | Outcome::AccountRefused { .. })) => outcome,
        Verdict::InDoubt { detail, .. } => retry(detail),
        Verdict::Stale { detail } => Outcome::AccountRefused { detail },
        Verdict::Settled(outcome) => {
            let detail = outcome.detail().unwrap_or("the answer holds no access token").to_owned();
            Outcome::AccountRefused { detail }
        }
    }
}

/// Of an answer that is none of WeChat's: somebody between us and it, or a fault on its side.
fn without_code(response: &Response<Bytes>, now: Timestamp) -> Verdict {
    let status = response.status().as_u16();
    let detail = format!("HTTP {status} without a return code");
    match status {
        429 => {
            let after = retry_after(response.headers(), now);
            Verdict::Settled(Outcome::Throttled { after, detail })
        }
        408 => Verdict::Settled(retry(detail)),
        300..=499 => {
            Verdict::Settled(Outcome::AccountRefused { detail: format!("{detail}: check base_url") })
        }
        _ => Verdict::InDoubt { reason: Reason::NoAnswer, detail },
    }
}

fn retry(detail: String) -> Outcome {
    Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail }
}

/// A message's id as receipts name it.
fn id(msgid: &Value) -> Option<String> {
    match msgid {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => reference(text),
        _ => None,
    }
}

/// How long it is until the next 00:00 in Asia/Shanghai, which has known no other offset than +08:00 since 1991.
fn until_midnight(now: Timestamp) -> Duration {
    let beijing = now.to_zoned(TimeZone::fixed(Offset::constant(8)));
    let gone = beijing.time().duration_since(Time::midnight());
    Duration::try_from(SignedDuration::from_hours(24) - gone).unwrap_or(HOUR)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    const NOW: &str = "2026-11-21T15:30:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn response(status: u16, body: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }

    fn said(code: i64, again: bool) -> Verdict {
        let body = format!(r#"{{"errcode":{code},"errmsg":"no: oABC rid: 5f-1"}}"#);
        verdict(&response(200, &body), Asked { openid: "oABC", again }, now())
    }

    fn words(code: i64) -> String {
        format!("{code} no: *** rid: 5f-1")
    }

    /// Codes, and what the words after them make of all of them.
    type Row<'a> = (&'a [i64], &'a dyn Fn(String) -> Outcome);

    #[test]
    fn every_code_of_the_table() {
        let rejected = |reason| move |detail| Outcome::Rejected { reason, detail };
        let dead = rejected(Reason::UnknownRecipient);
        let closed = rejected(Reason::RecipientRefused);
        let render = rejected(Reason::MessageRefused);
        let ours = |detail| Outcome::Rejected {
            reason: Reason::MessageRefused,
            detail: format!("a fault of this program: {detail}"),
        };
        let template = |detail| Outcome::CampaignRefused { detail };
        let account = |detail| Outcome::AccountRefused { detail };
        let throttled =
            |seconds| move |detail| Outcome::Throttled { after: Some(Duration::from_secs(seconds)), detail };
        let deferred =
            |seconds| move |detail| Outcome::Deferred { after: Duration::from_secs(seconds), detail };
        let rows: &[Row<'_>] = &[
            (&[41_001, 47_001, 40_033, 44_002, 43_002], &ours),
            (&[40_003], &dead),
            (&[43_004, 43_019, 43_101, 48_002, 45_015], &closed),
            (&[43_117, 45_047], &deferred(6 * 3_600)),
            (&[40_241], &deferred(60)),
            (&[40_036, 40_037, 43_116, 41_030], &template),
            (&[47_003], &render),
            // 23:30 in Beijing.
            (&[45_009], &throttled(1_800)),
            (&[45_011], &throttled(60)),
            (&[45_109, 45_103], &account),
            (&[40_013, 40_125, 40_164, 40_243], &account),
            (&[48_001, 48_004, 50_002, 61_003, 61_007], &account),
            (&[99_999], &retry),
        ];
        for (codes, wanted) in rows {
            for code in *codes {
                assert_eq!(said(*code, false), Verdict::Settled(wanted(words(*code))), "{code}");
            }
        }
        assert_eq!(said(-1, false), Verdict::TooMany(retry(words(-1))));
        for code in [40_001, 40_014, 42_001] {
            assert_eq!(said(code, false), Verdict::Stale { detail: words(code) });
        }
        assert_eq!(said(40_241, true), Verdict::Settled(Outcome::Accepted { provider_ref: None }));
    }

    #[test]
    fn ids_beyond_what_a_double_holds_stay_exact() {
        for (msgid, wanted) in [
            (r#","msgid":3428411849815982087"#, Some("3428411849815982087")),
            (r#","msgid":18446744073709551615"#, Some("18446744073709551615")),
            (r#","msgid":"200163836""#, Some("200163836")),
            ("", None),
        ] {
            let body = format!(r#"{{"errcode":0,"errmsg":"ok"{msgid}}}"#);
            let asked = Asked { openid: "oABC", again: false };
            let accepted = Outcome::Accepted { provider_ref: wanted.map(str::to_owned) };
            assert_eq!(verdict(&response(200, &body), asked, now()), Verdict::Settled(accepted));
        }
    }

    #[test]
    fn answers_without_a_code_go_by_their_status() {
        let of = |status, body| verdict(&response(status, body), Asked { openid: "", again: false }, now());
        for status in [200, 500, 502, 504] {
            for body in ["", "<html>", "{}", "{\"errcode\":"] {
                assert!(
                    matches!(of(status, body), Verdict::InDoubt { reason: Reason::NoAnswer, .. }),
                    "{status} {body}"
                );
            }
        }
        for status in [302, 403, 404] {
            assert!(matches!(of(status, ""), Verdict::Settled(Outcome::AccountRefused { .. })), "{status}");
        }
        assert!(matches!(of(429, ""), Verdict::Settled(Outcome::Throttled { .. })));
        assert!(matches!(of(408, ""), Verdict::Settled(Outcome::Retry { .. })));
    }

    #[test]
    fn days_begin_at_midnight_in_beijing() {
        for (now, seconds) in
            [("2026-11-21T15:59:59Z", 1), ("2026-11-21T16:00:00Z", 86_400), ("2026-12-31T04:00:00Z", 43_200)]
        {
            assert_eq!(until_midnight(now.parse().unwrap()), Duration::from_secs(seconds), "{now}");
        }
    }

    #[test]
    fn without_a_token_the_account_waits_or_is_refused() {
        let of = |body: &str| without_token(&response(200, body), now());
        assert!(matches!(of(r#"{"errcode":-1,"errmsg":"system error"}"#), Outcome::Retry { .. }));
        assert!(matches!(of("<html>"), Outcome::Retry { .. }));
        let throttled = of(r#"{"errcode":45011,"errmsg":"api minute-quota reach limit"}"#);
        assert_eq!(throttled.as_str(), "throttled");
        for code in [40_001, 40_002, 40_013, 40_125, 40_164, 40_243, 89_503] {
            let refused = of(&format!(r#"{{"errcode":{code},"errmsg":"invalid"}}"#));
            assert_eq!(refused, Outcome::AccountRefused { detail: format!("{code} invalid") });
        }
    }
}
