//! What a simulator does out of the ordinary: rules about requests and recipients, by number or by share.
//!
//! Every rule that matches applies: waits add up, and of answers and of receipts the first rule's holds. Shares are
//! drawn from the seed, the request's number and the recipient, never from chance: the same run fails the same way,
//! and a recipient that is bad stays bad when a batch is split and sent again.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a rule is about.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    Always,
    /// The request with this number, from 1.
    Request(u64),
    /// This share of the requests, 0 to 1.
    Share(f64),
    /// This recipient, as the request names it.
    To(String),
    /// This share of the recipients, 0 to 1.
    ShareOfRecipients(f64),
}

/// What becomes of the request, or of the recipient.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Then {
    /// What a provider without objections does.
    #[default]
    Go,
    /// The provider's error code. About a recipient it stands in that recipient's part of the answer, where the
    /// protocol has such a part, and else for the whole request.
    Code(String),
    /// An empty answer with this HTTP status, as gateways give.
    Status(u16),
    /// The connection ends without an answer, and nothing was sent.
    CutBefore,
    /// All was sent, but the connection ends without an answer.
    CutAfter,
    /// All was sent, but the connection ends in the middle of the answer.
    CutInAnswer,
}

/// One rule; build it as a sentence: `Rule::nth(3).wait(second).cut_after()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub when: When,
    /// The rule holds for so many matches.
    pub times: u64,
    pub wait: Duration,
    pub then: Then,
    /// The receipt that follows fails with this code.
    pub receipt: Option<String>,
}

impl Rule {
    pub fn new(when: When) -> Self {
        Rule { when, times: u64::MAX, wait: Duration::ZERO, then: Then::Go, receipt: None }
    }

    pub fn always() -> Self {
        Rule::new(When::Always)
    }

    pub fn nth(request: u64) -> Self {
        Rule::new(When::Request(request))
    }

    pub fn share(share: f64) -> Self {
        Rule::new(When::Share(share))
    }

    pub fn to(recipient: impl Into<String>) -> Self {
        Rule::new(When::To(recipient.into()))
    }

    pub fn share_of_recipients(share: f64) -> Self {
        Rule::new(When::ShareOfRecipients(share))
    }

    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    #[must_use]
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    #[must_use]
    pub fn code(self, code: impl Into<String>) -> Self {
        self.then(Then::Code(code.into()))
    }

    #[must_use]
    pub fn status(self, status: u16) -> Self {
        self.then(Then::Status(status))
    }

    #[must_use]
    pub fn cut_before(self) -> Self {
        self.then(Then::CutBefore)
    }

    #[must_use]
    pub fn cut_after(self) -> Self {
        self.then(Then::CutAfter)
    }

    /// The receipt fails with this code of the provider or carrier.
    #[must_use]
    pub fn receipt(mut self, code: impl Into<String>) -> Self {
        self.receipt = Some(code.into());
        self
    }
}

/// What the rules say about one request or one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    pub wait: Duration,
    pub then: Then,
    pub receipt: Option<String>,
}

impl Verdict {
    /// Both: what this one leaves open, the other decides.
    #[must_use]
    pub fn and(mut self, other: Verdict) -> Self {
        self.wait += other.wait;
        if self.then == Then::Go {
            self.then = other.then;
        }
        self.receipt = self.receipt.or(other.receipt);
        self
    }
}

/// The rules of a running simulator.
#[derive(Debug, Default)]
pub struct Script {
    seed: u64,
    rules: Vec<(Rule, AtomicU64)>,
}

impl Script {
    pub fn new(seed: u64, rules: impl IntoIterator<Item = Rule>) -> Self {
        Script { seed, rules: rules.into_iter().map(|rule| (rule, AtomicU64::new(0))).collect() }
    }

    /// What the rules about requests say of the one with this number.
    pub fn request(&self, number: u64) -> Verdict {
        self.verdict(|when, index| match when {
            When::Always => true,
            When::Request(wanted) => *wanted == number,
            When::Share(share) => drawn(*share, &(self.seed, index, number)),
            When::To(_) | When::ShareOfRecipients(_) => false,
        })
    }

    /// What the rules about recipients say of this one.
    pub fn recipient(&self, recipient: &str) -> Verdict {
        self.verdict(|when, index| match when {
            When::To(wanted) => wanted == recipient,
            When::ShareOfRecipients(share) => drawn(*share, &(self.seed, index, recipient)),
            When::Always | When::Request(_) | When::Share(_) => false,
        })
    }

    fn verdict(&self, holds: impl Fn(&When, usize) -> bool) -> Verdict {
        let mut verdict = Verdict::default();
        for (index, (rule, used)) in self.rules.iter().enumerate() {
            if holds(&rule.when, index) && used.fetch_add(1, Ordering::Relaxed) < rule.times {
                let Rule { wait, then, receipt, .. } = rule.clone();
                verdict = verdict.and(Verdict { wait, then, receipt });
            }
        }
        verdict
    }
}

/// Whether the lot falls on `subject`.
pub(crate) fn drawn(share: f64, subject: &impl std::hash::Hash) -> bool {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    let lot = u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX);
    f64::from(lot) < share * 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_that_matches_applies_and_the_first_answer_holds() {
        let second = Duration::from_secs(1);
        let script = Script::new(
            0,
            [
                Rule::always().wait(second),
                Rule::nth(2).wait(second).cut_after(),
                Rule::nth(2).status(500),
                Rule::to("1").code("bad").times(1),
            ],
        );
        assert_eq!(script.request(1), Verdict { wait: second, ..Verdict::default() });
        let cut = Verdict { wait: 2 * second, then: Then::CutAfter, receipt: None };
        assert_eq!(script.request(2), cut);
        assert_eq!(script.recipient("2"), Verdict::default());
        assert_eq!(script.recipient("1").then, Then::Code("bad".to_owned()));
        assert_eq!(script.recipient("1").then, Then::Go, "once only");
    }

    #[test]
    fn shares_are_near_their_size_and_the_same_in_each_run() {
        let bad = |seed| {
            let script = Script::new(seed, [Rule::share_of_recipients(0.1).receipt("x")]);
            (0..10_000).filter(|n| script.recipient(&n.to_string()).receipt.is_some()).collect::<Vec<_>>()
        };
        assert!((900..1100).contains(&bad(7).len()));
        assert_eq!(bad(7), bad(7));
        assert_ne!(bad(7), bad(8));
        let none = Script::new(0, [Rule::share(0.0).cut_before()]);
        let all = Script::new(0, [Rule::share(1.0).cut_before()]);
        for number in 0..1000 {
            assert_eq!(none.request(number).then, Then::Go);
            assert_eq!(all.request(number).then, Then::CutBefore);
        }
    }
}
