//! Whether a bounce speaks against the address: what the service says, and what the receiving server said.
//!
//! An address is called dead only where the service says so and the server does not name another cause: suppressing
//! people for policy, content or a full mailbox would lose good addresses.

use crate::model::receipt::{Bounce, News};
use crate::model::{Outcome, Reason};
use crate::provider::smtp;

/// `service` is what the service makes of it, `words` the receiving server's reply, maybe without its codes, `status`
/// the enhanced code (RFC 3463) where the service tells it apart.
pub(super) fn bounced(service: Bounce, status: Option<&str>, words: &str) -> News {
    let usual = match service {
        Bounce::Hard => Reason::UnknownRecipient,
        Bounce::Soft => Reason::RecipientRefused,
        Bounce::Block => Reason::PolicyRefused,
    };
    let (bounce, reason) = match said(status, words) {
        Some(reason @ Reason::MailboxFull) => (Bounce::Soft, reason),
        Some(reason @ (Reason::PolicyRefused | Reason::MessageRefused)) => (Bounce::Block, reason),
        Some(Reason::TemporaryFailure) if service == Bounce::Hard => (Bounce::Soft, Reason::RecipientRefused),
        _ => (service, usual),
    };
    News::Bounced { bounce, reason }
}

/// The server's reason, by its reply or the enhanced code beside it.
fn said(status: Option<&str>, words: &str) -> Option<Reason> {
    let status = status.filter(|status| status.starts_with(['4', '5'])).unwrap_or_default();
    match smtp::reported(status, words) {
        Outcome::Throttled { .. } | Outcome::AccountRefused { .. } => Some(Reason::PolicyRefused),
        outcome => outcome.reason(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_service_and_server_together_condemn_an_address() {
        let hard = |status, words| bounced(Bounce::Hard, status, words);
        let news = |bounce, reason| News::Bounced { bounce, reason };
        let dead = news(Bounce::Hard, Reason::UnknownRecipient);
        for (status, words, wanted) in [
            (None, "", dead.clone()),
            (Some("5.1.1"), "550 5.1.1 unknown", dead.clone()),
            (Some("5.1.1"), "the address is on the suppression list", dead.clone()),
            (Some("5.0.0"), "smtp; 550 not here", dead),
            (Some("5.2.2"), "smtp; 552 5.2.2 full", news(Bounce::Soft, Reason::MailboxFull)),
            (Some("5.7.1"), "refused", news(Bounce::Block, Reason::PolicyRefused)),
            (None, "550 5.7.26 unauthenticated", news(Bounce::Block, Reason::PolicyRefused)),
            (None, "552 5.3.4 too large", news(Bounce::Block, Reason::MessageRefused)),
            (Some("4.4.7"), "expired", news(Bounce::Soft, Reason::RecipientRefused)),
        ] {
            assert_eq!(hard(status, words), wanted, "{status:?} {words}");
        }
        let unknown = Some("5.1.1");
        assert_eq!(
            bounced(Bounce::Soft, unknown, "550 5.1.1 unknown"),
            news(Bounce::Soft, Reason::RecipientRefused)
        );
        assert_eq!(bounced(Bounce::Block, unknown, ""), news(Bounce::Block, Reason::PolicyRefused));
    }
}
