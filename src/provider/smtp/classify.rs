//! What a server's refusal means: one table, first row that matches. And what its answers say for the record.
//!
//! The enhanced code (RFC 3463) decides before the basic code, the basic code before words; the basic code's class
//! decides between for now (4) and for good (5). Policy never counts against the recipient: it is the sender's
//! reputation or content, and suppressing people for it would lose good addresses.

use std::time::Duration;

use super::super::detail::masked;
use super::reply::Reply;
use crate::model::{Outcome, Reason};

/// Which command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Greeting, EHLO, STARTTLS, AUTH: nothing about a message yet.
    Session,
    Mail,
    Rcpt,
    /// DATA or the final dot.
    Data,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Reject(Reason),
    Retry(Reason),
    Throttle,
    Account,
}

struct Row {
    class: u16,
    basic: &'static [u16],
    /// Subject and detail; an empty list takes any code and none.
    enhanced: &'static [(u16, Option<u16>)],
    words: &'static [&'static str],
    stage: Option<Stage>,
    verdict: Verdict,
}

/// A 4xx or 5xx row that asks for nothing more.
const fn row(class: u16, verdict: Verdict) -> Row {
    Row { class, basic: &[], enhanced: &[], words: &[], stage: None, verdict }
}

/// How servers say that we are too fast, where a code alone does not.
const TOO_FAST: &[&str] =
    &["rate limit", "rate-limit", "ratelimit", "too many", "throttl", "too fast", "slow down"];
const NO_SUCH: &[&str] = &[
    "unknown user",
    "user unknown",
    "unknown recipient",
    "no such user",
    "no such recipient",
    "no mailbox",
    "does not exist",
    "doesn't exist",
    "invalid recipient",
    "mailbox not found",
    "recipient not found",
    "user not found",
    "no longer valid",
    "address rejected",
    "unknown local part",
    "mailbox unavailable",
];
const FULL: &[&str] = &["full", "quota", "over limit"];
const POLICY: &[&str] = &[
    "spam",
    "policy",
    "blocked",
    "blacklist",
    "blocklist",
    "block list",
    "listed",
    "reputation",
    "dmarc",
    "dkim",
    "spf",
    "virus",
    "unsolicited",
];
/// The server does not carry our mail at all: its configuration or ours, whoever the recipient is.
const NO_RELAY: &[&str] = &[
    "relay access denied",
    "relaying denied",
    "relay not permitted",
    "unable to relay",
    "not permitted to relay",
];

const TEMPORARY: Reason = Reason::TemporaryFailure;

/// RFC 5321 section 4.2, RFC 3463, RFC 4954 section 6, and what big receivers document or do.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // The server ends the connection: overload, shutdown, limits (RFC 5321 section 3.8).
    Row { basic: &[421], ..row(4, Verdict::Throttle) },
    // A mailbox that is full or gets mail too quickly says nothing about our account.
    Row { enhanced: &[(2, Some(2))], ..row(4, Verdict::Retry(Reason::MailboxFull)) },
    Row { enhanced: &[(2, None)], ..row(4, Verdict::Retry(TEMPORARY)) },
    // Not accepting network messages, bad connection, congestion.
    Row { enhanced: &[(3, Some(2)), (4, Some(2)), (4, Some(5)), (7, Some(28))], ..row(4, Verdict::Throttle) },
    Row { words: TOO_FAST, ..row(4, Verdict::Throttle) },
    row(4, Verdict::Retry(TEMPORARY)),

    Row { basic: &[530, 534, 535, 538], ..row(5, Verdict::Account) },
    Row { enhanced: &[(7, Some(8)), (7, Some(9)), (7, Some(11))], ..row(5, Verdict::Account) },
    Row { words: NO_RELAY, ..row(5, Verdict::Account) },
    Row { stage: Some(Stage::Session), ..row(5, Verdict::Account) },
    // Sender's address: 1.7 syntax, 1.8 bad system.
    Row { enhanced: &[(1, Some(7)), (1, Some(8))], ..row(5, Verdict::Reject(Reason::MessageRefused)) },
    // 1.x addressing, 2.1 mailbox disabled, 4.4 no route to the domain.
    Row { enhanced: &[(1, Some(1)), (1, Some(2)), (1, Some(3)), (1, Some(6)), (1, Some(10)), (2, Some(1)), (4, Some(4))],
          ..row(5, Verdict::Reject(Reason::UnknownRecipient)) },
    Row { enhanced: &[(2, Some(2))], ..row(5, Verdict::Reject(Reason::MailboxFull)) },
    Row { enhanced: &[(2, Some(3)), (3, Some(4)), (6, None)], ..row(5, Verdict::Reject(Reason::MessageRefused)) },
    Row { enhanced: &[(7, None)], ..row(5, Verdict::Reject(Reason::PolicyRefused)) },
    // Our commands out of order: a fault of the conversation, not of the message.
    Row { basic: &[502, 503], ..row(5, Verdict::Retry(TEMPORARY)) },
    Row { basic: &[552], words: FULL, ..row(5, Verdict::Reject(Reason::MailboxFull)) },
    Row { basic: &[500, 504, 552, 555], ..row(5, Verdict::Reject(Reason::MessageRefused)) },
    Row { words: POLICY, ..row(5, Verdict::Reject(Reason::PolicyRefused)) },
    Row { stage: Some(Stage::Mail), ..row(5, Verdict::Reject(Reason::MessageRefused)) },
    Row { basic: &[551], ..row(5, Verdict::Reject(Reason::UnknownRecipient)) },
    Row { words: NO_SUCH, ..row(5, Verdict::Reject(Reason::UnknownRecipient)) },
    Row { words: FULL, ..row(5, Verdict::Reject(Reason::MailboxFull)) },
    row(5, Verdict::Reject(Reason::RecipientRefused)),
];

impl Row {
    fn matches(&self, reply: &Reply, stage: Stage, text: &str) -> bool {
        let enhanced = |&(subject, detail): &(u16, Option<u16>)| {
            reply.enhanced.is_some_and(|(s, d)| s == subject && detail.is_none_or(|detail| d == detail))
        };
        self.class == reply.code / 100
            && (self.basic.is_empty() || self.basic.contains(&reply.code))
            && (self.enhanced.is_empty() || self.enhanced.iter().any(enhanced))
            && (self.words.is_empty() || self.words.iter().any(|word| text.contains(word)))
            && self.stage.is_none_or(|wanted| wanted == stage)
    }
}

/// Greylisting asks for a second visit after minutes; five suit the servers in use.
const GREYLISTED: Duration = Duration::from_secs(300);

/// The outcome of a 4xx or 5xx reply. Anything else is no refusal and gets a plain retry.
pub(super) fn refused(reply: &Reply, stage: Stage) -> Outcome {
    let text = reply.text.to_ascii_lowercase();
    let verdict = TABLE.iter().find(|row| row.matches(reply, stage, &text)).map(|row| row.verdict);
    let detail = detail(reply);
    match verdict.unwrap_or(Verdict::Retry(TEMPORARY)) {
        Verdict::Reject(reason) => Outcome::Rejected { reason, detail },
        Verdict::Retry(reason) => {
            let greylisted = text.contains("greylist") || text.contains("graylist");
            Outcome::Retry { reason, after: greylisted.then_some(GREYLISTED), detail }
        }
        Verdict::Throttle => Outcome::Throttled { after: None, detail },
        Verdict::Account => Outcome::AccountRefused { detail },
    }
}

/// The reply on one line, addresses masked, at most 200 bytes.
pub(super) fn detail(reply: &Reply) -> String {
    match reply.enhanced {
        Some((subject, part)) => {
            masked(&format!("{} {}.{subject}.{part} {}", reply.code, reply.code / 100, reply.text))
        }
        None => masked(&format!("{} {}", reply.code, reply.text)),
    }
}

const LONGEST_REF: usize = 64;

/// The server's id of an accepted message: `queued as X`, `id=X`, or the last word that looks like an id.
pub(super) fn provider_ref(reply: &Reply) -> Option<String> {
    let text = &reply.text;
    let lower = text.to_ascii_lowercase();
    let after = |marker: &str| {
        let at = lower.find(marker)? + marker.len();
        text.get(at..)?.split(|c: char| !is_ref_char(c)).next()
    };
    let marked = after("queued as ").or_else(|| after("id="));
    let plausible = |word: &&str| {
        (6..=LONGEST_REF).contains(&word.len())
            && word.chars().all(is_ref_char)
            && word.chars().any(|c| c.is_ascii_digit())
    };
    let word = marked.filter(|id| (1..=LONGEST_REF).contains(&id.len())).or_else(|| {
        text.split_whitespace()
            .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
            .rfind(plausible)
    });
    word.map(str::to_owned)
}

fn is_ref_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+')
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    fn reply(line: &str) -> Reply {
        Reply::take(&mut BytesMut::from(format!("{line}\r\n").as_str())).unwrap().unwrap()
    }

    fn judged(stage: Stage, line: &str) -> (&'static str, Option<Reason>) {
        let outcome = refused(&reply(line), stage);
        (outcome.as_str(), outcome.reason())
    }

    #[test]
    fn temporary_refusals() {
        for (line, label, reason) in [
            ("421 4.3.2 shutting down", "throttled", Reason::Throttled),
            ("421-4.7.28 Gmail has detected an unusual rate", "throttled", Reason::Throttled),
            ("421 4.7.0 [TSS04] Messages temporarily deferred", "throttled", Reason::Throttled),
            ("452 4.2.2 mailbox full", "retry", Reason::MailboxFull),
            ("450 4.2.1 receiving mail at a rate that is too fast", "retry", Reason::TemporaryFailure),
            ("450 4.3.2 try later", "throttled", Reason::Throttled),
            ("450 4.4.2 bad connection", "throttled", Reason::Throttled),
            ("451 4.4.5 congested", "throttled", Reason::Throttled),
            ("450 4.7.28 rate", "throttled", Reason::Throttled),
            ("451 4.7.0 too many connections", "throttled", Reason::Throttled),
            ("450 throttled", "throttled", Reason::Throttled),
            ("451 4.4.3 no name server for the recipient's domain", "retry", Reason::TemporaryFailure),
            ("451 4.3.0 queue file write error", "retry", Reason::TemporaryFailure),
            ("452 4.3.1 insufficient system storage", "retry", Reason::TemporaryFailure),
            ("450 later", "retry", Reason::TemporaryFailure),
            ("450 5.1.1 the basic code wins", "retry", Reason::TemporaryFailure),
        ] {
            let line = line.replacen('-', " ", usize::from(line.starts_with("421-")));
            assert_eq!(judged(Stage::Rcpt, &line), (label, Some(reason)), "{line}");
        }
        let Outcome::Retry { after, .. } = refused(&reply("451 4.7.1 Greylisted"), Stage::Rcpt) else {
            panic!()
        };
        assert_eq!(after, Some(GREYLISTED));
    }

    #[test]
    fn final_refusals() {
        for (line, reason) in [
            ("550 5.1.1 no", Reason::UnknownRecipient),
            ("550 5.1.2 no such domain", Reason::UnknownRecipient),
            ("501 5.1.3 bad address syntax", Reason::UnknownRecipient),
            ("550 5.1.6 moved", Reason::UnknownRecipient),
            ("550 5.1.10 not found", Reason::UnknownRecipient),
            ("550 5.2.1 disabled", Reason::UnknownRecipient),
            ("550 5.4.4 no MX", Reason::UnknownRecipient),
            ("553 5.1.7 sender syntax", Reason::MessageRefused),
            ("553 5.1.8 sender's domain", Reason::MessageRefused),
            ("552 5.2.2 over quota", Reason::MailboxFull),
            ("550 5.2.3 too long", Reason::MessageRefused),
            ("552 5.3.4 too big", Reason::MessageRefused),
            ("554 5.6.0 malformed", Reason::MessageRefused),
            ("550 5.7.1 message refused", Reason::PolicyRefused),
            ("550 5.7.26 unauthenticated", Reason::PolicyRefused),
            ("550 5.7.515 access denied", Reason::PolicyRefused),
            ("554 5.7.1 blocked using bl.example", Reason::PolicyRefused),
            ("552 mailbox is full", Reason::MailboxFull),
            ("552 message size exceeds limit", Reason::MessageRefused),
            ("555 unknown parameter", Reason::MessageRefused),
            ("500 line too long", Reason::MessageRefused),
            ("554 detected as spam", Reason::PolicyRefused),
            ("551 user not local", Reason::UnknownRecipient),
            ("550 No such user here", Reason::UnknownRecipient),
            ("550 quota exceeded", Reason::MailboxFull),
            ("550 no", Reason::RecipientRefused),
            ("550 4.1.1 the basic code wins", Reason::UnknownRecipient),
        ] {
            assert_eq!(judged(Stage::Rcpt, line), ("rejected", Some(reason)), "{line}");
        }
        assert_eq!(judged(Stage::Rcpt, "503 5.5.1 MAIL first"), ("retry", Some(Reason::TemporaryFailure)));
        assert_eq!(judged(Stage::Mail, "550 no"), ("rejected", Some(Reason::MessageRefused)));
    }

    #[test]
    fn refusals_of_the_account() {
        for (stage, line) in [
            (Stage::Mail, "530 5.7.0 authentication required"),
            (Stage::Session, "535 5.7.8 wrong password"),
            (Stage::Session, "534 too weak"),
            (Stage::Mail, "550 5.7.8 log in"),
            (Stage::Rcpt, "554 5.7.1 <a@b.example>: Relay access denied"),
            (Stage::Session, "554 no service for you"),
        ] {
            assert_eq!(judged(stage, line).0, "account_refused", "{line}");
        }
        assert_eq!(judged(Stage::Session, "454 4.7.0 temporary authentication failure").0, "retry");
    }

    #[test]
    fn details_hold_no_address() {
        let line =
            "550 5.1.1 <anna@example.com>: user <anna@example.com> unknown, ask postmaster@example.com";
        assert_eq!(
            detail(&reply(line)),
            "550 5.1.1 <a***@example.com>: user <a***@example.com> unknown, ask p***@example.com"
        );
    }

    #[test]
    fn ids_are_found_where_servers_put_them() {
        for (line, id) in [
            ("250 2.0.0 Ok: queued as 4XyZ1k2Bqz", Some("4XyZ1k2Bqz")),
            ("250 OK id=1tVabc-0001Xy-2D", Some("1tVabc-0001Xy-2D")),
            ("250 2.0.0 OK 1795219200 d2e1a72fcca58-7290.12 - gsmtp", Some("d2e1a72fcca58-7290.12")),
            ("250 2.0.0 5ALx1abc012345 Message accepted for delivery", Some("5ALx1abc012345")),
            ("250 2.6.0 <x@y.example> [InternalId=12345, Hostname=h] Queued", Some("12345")),
            ("250 2.0.0 Ok", None),
            ("250 2.0.0 Message accepted", None),
        ] {
            assert_eq!(provider_ref(&reply(line)).as_deref(), id, "{line}");
        }
    }

    proptest! {
        #[test]
        fn details_and_ids_stay_short_whatever_the_server_says(text in "\\PC{0,300}") {
            let reply = Reply { code: 550, enhanced: None, text };
            prop_assert!(detail(&reply).len() <= 200);
            prop_assert!(provider_ref(&reply).is_none_or(|id| !id.is_empty() && id.len() <= LONGEST_REF));
        }

        #[test]
        fn no_local_part_survives(local in "[a-z0-9.+]{3,20}", before in "[<( ,:]", after in "[>) ,:]") {
            let text = format!("no{before}{local}@example.com{after}here");
            let detail = detail(&Reply { code: 550, enhanced: None, text });
            let whole = format!("{local}@");
            prop_assert!(!detail.contains(&whole));
        }
    }
}
