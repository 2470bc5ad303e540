//! Messages that were handed over and of which no provider has told how they ended: what accounts ask about.
//!
//! In memory alone, and bounded: what a restart forgets, and what is too much, is not asked about. Where the same
//! account is called back at another daemon, it is asked about in vain, which changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::model::receipt::{About, News};
use crate::model::{DeliveryKey, Outcome, Receipt};

/// Messages of one account, at most; the one that was to be asked about first is forgotten.
const MOST: usize = 100_000;
/// How often a message is asked about, and how much longer each wait is than the one before.
const ASKED: u32 = 3;
const LONGER: u32 = 6;

/// A message whose end is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) delivery: DeliveryKey,
    /// The canonical address.
    pub(super) to: String,
    pub(super) sent_at: Timestamp,
    /// What the provider took it under; none where that is not known.
    pub(super) reference: Option<String>,
    /// What the message is known by beside that; each provider has its own.
    pub(super) mark: String,
    /// How often it was asked about.
    asked: u32,
}

impl Question {
    /// The question that an outcome leaves open: none where nothing can have been sent.
    pub(super) fn after(
        outcome: &Outcome,
        delivery: DeliveryKey,
        to: &str,
        sent_at: Timestamp,
        mark: String,
    ) -> Option<Self> {
        let reference = match outcome {
            Outcome::Accepted { provider_ref } => provider_ref.clone(),
            Outcome::Unknown { .. } => None,
            _ => return None,
        };
        Some(Question { delivery, to: to.to_owned(), sent_at, reference, mark, asked: 0 })
    }
}

/// Of all accounts, by their names.
#[derive(Debug, Default)]
pub struct Unheard(Mutex<HashMap<String, Open>>);

/// Of one account: in the order in which they are asked about.
#[derive(Debug, Default)]
struct Open {
    due: BTreeMap<(Instant, DeliveryKey), Question>,
    of_delivery: HashMap<DeliveryKey, Instant>,
    of_reference: HashMap<String, DeliveryKey>,
}

impl Unheard {
    fn inner(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be asked about after `wait`, each further time after a longer one; then it is let go.
    pub(super) fn ask(&self, account: &str, question: Question, wait: Duration) {
        if question.asked >= ASKED {
            return;
        }
        let at = Instant::now() + wait.saturating_mul(LONGER.pow(question.asked));
        self.inner().entry(account.to_owned()).or_default().insert(at, question);
    }

    /// The question that has waited longest for its turn, asked now.
    pub(super) fn next(&self, account: &str) -> Option<Question> {
        let mut inner = self.inner();
        let open = inner.get_mut(account)?;
        let (&(at, delivery), _) = open.due.first_key_value()?;
        if at > Instant::now() {
            return None;
        }
        let question = open.remove(delivery)?;
        Some(Question { asked: question.asked + 1, ..question })
    }

    /// Receipts that came by themselves: whose end they tell need not be asked about.
    pub fn heard(&self, receipts: &[Receipt]) {
        let mut inner = self.inner();
        if inner.is_empty() {
            return;
        }
        let ends = |receipt: &&Receipt| matches!(receipt.news, News::Delivered | News::Bounced { .. });
        for receipt in receipts.iter().filter(ends) {
            match &receipt.about {
                About::Delivery(delivery) => {
                    inner.values_mut().for_each(|open| drop(open.remove(*delivery)));
                }
                About::Reference { provider, reference } => {
                    let Some(open) = inner.get_mut(provider) else { continue };
                    if let Some(delivery) = open.of_reference.get(reference).copied() {
                        open.remove(delivery);
                    }
                }
                About::Address { .. } => {}
            }
        }
    }
}

impl Open {
    fn insert(&mut self, at: Instant, question: Question) {
        let delivery = question.delivery;
        // A message that is sent again takes the place of the first.
        self.remove(delivery);
        if self.due.len() >= MOST
            && let Some(&(_, first)) = self.due.first_key_value().map(|(key, _)| key)
        {
            self.remove(first);
        }
        self.of_delivery.insert(delivery, at);
        if let Some(reference) = &question.reference {
            self.of_reference.insert(reference.clone(), delivery);
        }
        self.due.insert((at, delivery), question);
    }

    fn remove(&mut self, delivery: DeliveryKey) -> Option<Question> {
        let at = self.of_delivery.remove(&delivery)?;
        let question = self.due.remove(&(at, delivery))?;
        if let Some(reference) = &question.reference {
            self.of_reference.remove(reference);
        }
        Some(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CampaignNo, ContactNo, Reason};

    const NOW: Duration = Duration::ZERO;

    fn key(contact: i64) -> DeliveryKey {
        DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(contact), occurrence: 0 }
    }

    fn question(contact: i64) -> Question {
        let outcome = Outcome::Accepted { provider_ref: Some(format!("ref-{contact}")) };
        let now = Timestamp::UNIX_EPOCH;
        Question::after(&outcome, key(contact), "+1555", now, String::new()).unwrap()
    }

    fn told(about: About, news: News) -> Receipt {
        let id = Receipt::id("a", "b", "c");
        Receipt { id, about, at: Timestamp::UNIX_EPOCH, news, detail: None }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_of_is_not_asked_about() {
        let unheard = Unheard::default();
        for contact in 1..=4 {
            unheard.ask("a", question(contact), NOW);
        }
        let reference =
            |reference: &str| About::Reference { provider: "a".into(), reference: reference.into() };
        unheard.heard(&[
            told(About::Delivery(key(1)), News::Delivered),
            told(reference("ref-3"), News::Delivered),
            told(reference("ref-9"), News::Delivered),
            told(About::Delivery(key(2)), News::Accepted),
        ]);
        let asked: Vec<_> = std::iter::from_fn(|| unheard.next("a")).map(|open| open.delivery).collect();
        assert_eq!(asked, [key(2), key(4)]);
        assert_eq!(unheard.next("b"), None);
        let open = &unheard.inner()["a"];
        assert!(open.of_delivery.is_empty() && open.of_reference.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_end() {
        let (unheard, wait) = (Unheard::default(), Duration::from_secs(600));
        unheard.ask("a", question(1), wait);
        for minutes in [10, 60, 360] {
            tokio::time::advance(Duration::from_secs(minutes * 60 - 1)).await;
            assert_eq!(unheard.next("a"), None);
            tokio::time::advance(Duration::from_secs(1)).await;
            let question = unheard.next("a").unwrap();
            unheard.ask("a", question, wait);
        }
        assert!(unheard.inner()["a"].due.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let unheard = Unheard::default();
        let many = i64::try_from(MOST).unwrap() + 5;
        (1..=many).for_each(|contact| unheard.ask("a", question(contact), NOW));
        let open = &unheard.inner()["a"];
        assert_eq!((open.due.len(), open.of_delivery.len(), open.of_reference.len()), (MOST, MOST, MOST));
        assert!(!open.of_delivery.contains_key(&key(5)) && open.of_delivery.contains_key(&key(6)));
    }

    #[test]
    fn only_what_may_have_been_sent_is_asked_about() {
        let after =
            |outcome| Question::after(&outcome, key(1), "+1555", Timestamp::UNIX_EPOCH, String::new());
        let doubt = Outcome::Unknown { reason: Reason::NoAnswer, detail: String::new() };
        assert_eq!(after(doubt).map(|question| question.reference), Some(None));
        assert_eq!(after(Outcome::Returned), None);
        assert_eq!(after(Outcome::CampaignRefused { detail: String::new() }), None);
    }
}
