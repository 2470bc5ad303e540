//! What providers' codes mean: each provider's table names one of these, so that all are judged alike.

use jiff::Timestamp;

use super::beijing::Until;
use crate::model::{Outcome, Reason};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::provider) enum Means {
    /// No such number: nothing goes there any more.
    Dead,
    /// The number cannot be reached this way.
    Closed,
    /// The recipient told the provider to be left alone.
    OptedOut,
    /// What was rendered for this recipient.
    Text,
    /// The template or the signature, whoever gets it.
    Campaign,
    Account,
    /// Our clock, or theirs.
    Clock,
    /// The account is too fast.
    Slower(Until),
    /// This recipient gets no more for a while, or the message may not go now.
    Later(Until),
    /// Not taken; the provider has trouble of its own.
    Trouble,
    /// The provider does not know itself whether it was sent.
    Doubt,
    /// A request that no provider takes.
    OurFault,
}

impl Means {
    pub(in crate::provider) fn outcome(self, detail: String, now: Timestamp) -> Outcome {
        let rejected = |reason, detail| Outcome::Rejected { reason, detail };
        match self {
            Means::Dead => rejected(Reason::UnknownRecipient, detail),
            Means::Closed | Means::OptedOut => rejected(Reason::RecipientRefused, detail),
            Means::Text => rejected(Reason::MessageRefused, detail),
            Means::OurFault => {
                rejected(Reason::MessageRefused, format!("campaignd made a wrong request: {detail}"))
            }
            Means::Campaign => Outcome::CampaignRefused { detail },
            Means::Account => Outcome::AccountRefused { detail },
            Means::Clock => {
                Outcome::AccountRefused { detail: format!("look at this machine's clock: {detail}") }
            }
            Means::Slower(until) => Outcome::Throttled { after: Some(until.from(now)), detail },
            Means::Later(until) => Outcome::Deferred { after: until.from(now), detail },
            Means::Trouble => Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail },
            Means::Doubt => Outcome::Unknown { reason: Reason::NoAnswer, detail },
        }
    }
}

/// The first row that `code` fits; a `*` stands for anything. What no row knows is taken for the campaign's fault:
/// it pauses where that repeats, and nothing is lost.
pub(in crate::provider) fn meaning(table: &[(&str, Means)], code: &str) -> Means {
    let fits = |pattern: &str| match pattern.split_once('*') {
        Some((start, end)) => {
            code.len() >= start.len() + end.len() && code.starts_with(start) && code.ends_with(end)
        }
        None => pattern == code,
    };
    table.iter().find(|(pattern, _)| fits(pattern)).map_or(Means::Campaign, |(_, means)| *means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_that_fits_holds() {
        let table =
            [("a.b", Means::Dead), ("a.*", Means::Account), ("c*d", Means::Text), ("cd", Means::Doubt)];
        for (code, wanted) in [
            ("a.b", Means::Dead),
            ("a.bc", Means::Account),
            ("a.", Means::Account),
            ("c-d", Means::Text),
            ("cd", Means::Text),
            ("c", Means::Campaign),
            ("", Means::Campaign),
        ] {
            assert_eq!(meaning(&table, code), wanted, "{code}");
        }
    }
}
