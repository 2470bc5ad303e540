//! What providers' codes mean: each provider's table names one of these, so that all are judged alike.

use jiff::Timestamp;

use super::beijing::Until;
use crate::config::{CodeClass, Codes};
use crate::model::receipt::{Bounce, News};
use crate::model::{Outcome, Reason};

/// How long to wait where a configured code says so and nobody says for how long.
const SLOWER: Until = Until::Seconds(10);
const LATER: Until = Until::Seconds(3_600);

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

impl From<CodeClass> for Means {
    fn from(class: CodeClass) -> Self {
        match class {
            CodeClass::HardBounce => Means::Dead,
            CodeClass::SoftBounce | CodeClass::Blocked => Means::Closed,
            CodeClass::OptedOut => Means::OptedOut,
            CodeClass::Content => Means::Text,
            CodeClass::Template => Means::Campaign,
            CodeClass::Account => Means::Account,
            CodeClass::Throttled => Means::Slower(SLOWER),
            CodeClass::Later => Means::Later(LATER),
            CodeClass::Retry => Means::Trouble,
            CodeClass::Unknown => Means::Doubt,
        }
    }
}

/// The news in a receipt of a message that did not arrive, the message's own first.
pub(in crate::provider) fn news(class: CodeClass) -> Vec<News> {
    let bounced = |bounce, reason| News::Bounced { bounce, reason };
    match class {
        CodeClass::HardBounce => vec![bounced(Bounce::Hard, Reason::UnknownRecipient)],
        CodeClass::SoftBounce => vec![bounced(Bounce::Soft, Reason::RecipientRefused)],
        CodeClass::Blocked => vec![bounced(Bounce::Block, Reason::RecipientRefused)],
        CodeClass::OptedOut => vec![bounced(Bounce::Block, Reason::RecipientRefused), News::Unsubscribed],
        CodeClass::Content | CodeClass::Template => vec![bounced(Bounce::Block, Reason::MessageRefused)],
        CodeClass::Account => vec![bounced(Bounce::Block, Reason::PolicyRefused)],
        CodeClass::Throttled | CodeClass::Later | CodeClass::Retry => {
            vec![bounced(Bounce::Soft, Reason::TemporaryFailure)]
        }
        CodeClass::Unknown => Vec::new(),
    }
}

/// What the configuration says of `code`, else the first row that it fits; a `*` stands for anything. What no row knows
/// is taken for the campaign's fault: it pauses where that repeats, and nothing is lost.
pub(in crate::provider) fn meaning(codes: &Codes, table: &[(&str, Means)], code: &str) -> Means {
    if let Some(class) = codes.get(code) {
        return class.into();
    }
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
            assert_eq!(meaning(&Codes::default(), &table, code), wanted, "{code}");
        }
        let codes: Codes = [("A.B", CodeClass::Blocked), ("new", CodeClass::Retry)].into_iter().collect();
        let configured = ["a.b", "new", "a.bc"].map(|code| meaning(&codes, &table, code));
        assert_eq!(configured, [Means::Closed, Means::Trouble, Means::Account]);
    }
}
