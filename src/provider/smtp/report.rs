//! What another server reports later of a message, judged by the same table as its answers.

use super::super::detail::masked;
use super::classify::{Stage, refused};
use super::reply::{Reply, enhanced};
use crate::model::Outcome;

/// The outcome that a report's `Status` and the words of its `Diagnostic-Code` (RFC 3464, sections 2.3.4 and 2.3.6)
/// come to. The words of the server that refused go before the status, which others wrote from them.
pub fn reported(status: &str, words: &str) -> Outcome {
    let (status_class, status) = class_and_code(status);
    let reply = Reply::quoted(words).filter(Reply::is_refusal).unwrap_or_else(|| {
        let (enhanced, text) = enhanced(words);
        Reply { code: status_class * 100 + 50, enhanced, text: text.to_owned() }
    });
    let code_of_status = status.filter(|_| reply.code / 100 == status_class);
    // x.0.0 says nothing.
    let enhanced = reply.enhanced.filter(|own| *own != (0, 0)).or(code_of_status).or(reply.enhanced);
    refused(&Reply { enhanced, ..reply }, Stage::Rcpt)
}

/// Words of others as they may be kept: on one line, cut short, addresses masked.
pub fn in_short(words: &str) -> String {
    masked(words)
}

/// `5.1.1`, maybe with a comment behind it; without one it is final and says nothing.
fn class_and_code(status: &str) -> (u16, Option<(u16, u16)>) {
    let word = status.split_whitespace().next().unwrap_or_default();
    let class = if word.starts_with('4') { 4 } else { 5 };
    (class, enhanced(word).0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Reason;

    #[test]
    fn reports_are_judged_by_the_server_that_refused() {
        for (status, words, label, reason) in [
            ("5.1.1", "550 5.1.1 <a@b.example>: mailbox unavailable", "rejected", Reason::UnknownRecipient),
            (
                "5.0.0",
                "550-5.1.1 The account does not exist. 550 5.1.1 Try",
                "rejected",
                Reason::UnknownRecipient,
            ),
            ("", "smtp; 550 5.2.2 full", "rejected", Reason::MailboxFull),
            ("5.1.1 (unknown)", "", "rejected", Reason::UnknownRecipient),
            ("5.1.1", "550 no", "rejected", Reason::UnknownRecipient),
            ("5.4.4", "Host or domain name not found", "rejected", Reason::UnknownRecipient),
            ("5.2.2", "", "rejected", Reason::MailboxFull),
            ("5.4.7", "452 4.2.2 over quota", "retry", Reason::MailboxFull),
            ("4.4.1", "connect to mx.example: Connection timed out", "retry", Reason::TemporaryFailure),
            ("5.7.1", "550 5.7.1 blocked using bl.example", "rejected", Reason::PolicyRefused),
            ("5.3.4", "552 message too big", "rejected", Reason::MessageRefused),
            ("4.7.28", "421-4.7.28 unusual rate", "throttled", Reason::Throttled),
            (
                "5.7.1",
                "554 5.7.1 <a@b.example>: Relay access denied",
                "account_refused",
                Reason::AccountRefused,
            ),
            ("5.0.0", "", "rejected", Reason::RecipientRefused),
            ("", "550 user unknown", "rejected", Reason::UnknownRecipient),
            ("", "", "rejected", Reason::RecipientRefused),
        ] {
            let outcome = reported(status, words);
            assert_eq!((outcome.as_str(), outcome.reason()), (label, Some(reason)), "{status} {words}");
            assert!(!outcome.detail().unwrap_or_default().contains("a@b"));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_reported_has_a_reason(status in "\\PC{0,20}", words in "\\PC{0,60}") {
            prop_assert!(reported(&status, &words).reason().is_some());
        }
    }
}
