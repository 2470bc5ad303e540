//! Receipts of messages in several parts: such a message is delivered when all its parts are.
//!
//! What is known of them stands in memory alone and is bounded. After a restart, or where there is too much of it, the
//! first part's receipt counts for the message: errs towards what the provider said last, never loses a receipt.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::Receipt;
use crate::model::receipt::{About, News};

/// Messages whose parts are awaited, at most; the oldest is forgotten.
const MOST_MESSAGES: usize = 50_000;
/// Receipts that overtook the answers to their messages, at most; what comes beyond counts for its message.
const MOST_EARLY: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Parts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Messages in several parts that are not answered yet, by their numbers: whose parts any unknown id may be.
    unanswered: BTreeSet<u64>,
    /// Each with the newest message that it may be about.
    early: Vec<(u64, Receipt)>,
    next: u64,
    /// The parts whose receipts are awaited, by message.
    awaited: HashMap<u64, HashSet<String>>,
    /// The message of each part, and the order in which messages came.
    message_of: HashMap<String, u64>,
    order: VecDeque<(u64, Vec<String>)>,
}

/// A message in several parts on its way; until it ends, receipts of unknown parts wait.
#[derive(Debug)]
pub(super) struct Sending<'p> {
    parts: &'p Parts,
    message: u64,
}

impl Parts {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before the first part of a message leaves.
    pub(super) fn sending(&self) -> Sending<'_> {
        let mut inner = self.inner();
        let message = inner.next;
        inner.next += 1;
        inner.unanswered.insert(message);
        Sending { parts: self, message }
    }

    /// What a receipt lets us tell: itself, or nothing yet.
    pub(super) fn told(&self, receipt: Receipt) -> Option<Receipt> {
        self.inner().told(receipt)
    }

    /// What waited and need not any more.
    pub(super) fn released(&self) -> Vec<Receipt> {
        let mut inner = self.inner();
        let early = std::mem::take(&mut inner.early);
        early.into_iter().filter_map(|(newest, receipt)| inner.told_by(newest, receipt)).collect()
    }
}

impl Sending<'_> {
    /// All parts were taken under these ids.
    pub(super) fn taken(self, ids: Vec<String>) {
        self.parts.inner().await_parts(self.message, ids);
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.parts.inner().unanswered.remove(&self.message);
    }
}

impl Inner {
    fn told(&mut self, receipt: Receipt) -> Option<Receipt> {
        let newest = self.unanswered.last().copied().unwrap_or_default();
        self.told_by(newest, receipt)
    }

    /// Of a receipt that came before any message after `newest`.
    fn told_by(&mut self, newest: u64, receipt: Receipt) -> Option<Receipt> {
        let About::Reference { reference, .. } = &receipt.about else { return Some(receipt) };
        if receipt.news != News::Delivered {
            // A part that bounced is awaited for ever: its message is not delivered.
            return Some(receipt);
        }
        let Some(message) = self.message_of.get(reference) else {
            let awaits = self.unanswered.first().is_some_and(|oldest| *oldest <= newest);
            if awaits && self.early.len() < MOST_EARLY {
                self.early.push((newest, receipt));
                return None;
            }
            return Some(receipt);
        };
        let awaited = self.awaited.get_mut(message)?;
        awaited.remove(reference);
        awaited.is_empty().then_some(receipt)
    }

    fn await_parts(&mut self, message: u64, ids: Vec<String>) {
        self.message_of.extend(ids.iter().map(|id| (id.clone(), message)));
        self.awaited.insert(message, ids.iter().cloned().collect());
        self.order.push_back((message, ids));
        if self.order.len() > MOST_MESSAGES
            && let Some((oldest, ids)) = self.order.pop_front()
        {
            self.awaited.remove(&oldest);
            for id in ids {
                self.message_of.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::Reason;
    use crate::model::receipt::Bounce;

    fn receipt(reference: &str, news: News) -> Receipt {
        Receipt {
            id: Receipt::id("smsc", reference, news.as_str()),
            about: About::Reference { provider: "smsc".to_owned(), reference: reference.to_owned() },
            at: Timestamp::UNIX_EPOCH,
            news,
            detail: None,
        }
    }

    fn delivered(reference: &str) -> Receipt {
        receipt(reference, News::Delivered)
    }

    fn taken(parts: &Parts, ids: &[&str]) {
        parts.sending().taken(ids.iter().map(|id| (*id).to_owned()).collect());
    }

    #[test]
    fn the_last_part_delivers_the_message() {
        let parts = Parts::default();
        taken(&parts, &["1", "2", "3"]);
        assert_eq!(parts.told(delivered("2")), None);
        assert_eq!(parts.told(delivered("2")), None, "a repeat is no other part");
        assert_eq!(parts.told(delivered("3")), None);
        assert_eq!(parts.told(delivered("1")), Some(delivered("1")));
        assert_eq!(parts.told(delivered("4")), Some(delivered("4")), "a message of one part");
    }

    #[test]
    fn a_part_that_bounces_settles_the_message() {
        let parts = Parts::default();
        taken(&parts, &["1", "2"]);
        let bounced = receipt("1", News::Bounced { bounce: Bounce::Soft, reason: Reason::RecipientRefused });
        assert_eq!(parts.told(delivered("2")), None);
        assert_eq!(parts.told(bounced.clone()), Some(bounced));
        assert_eq!(parts.told(delivered("2")), None);
    }

    #[test]
    fn receipts_that_overtake_the_answer_wait_for_it() {
        let parts = Parts::default();
        let (first, second) = (parts.sending(), parts.sending());
        assert_eq!(parts.told(delivered("1")), None);
        assert_eq!(parts.told(delivered("9")), None);
        first.taken(vec!["1".to_owned(), "2".to_owned()]);
        assert_eq!(parts.released(), [], "9 may be a part of the second");
        assert_eq!(parts.told(delivered("2")), Some(delivered("2")));
        let _third = parts.sending();
        drop(second);
        assert_eq!(parts.released(), [delivered("9")], "whatever was sent after it came");
        assert_eq!(parts.released(), []);
    }

    #[test]
    fn memory_is_bounded() {
        let parts = Parts::default();
        for message in 0..=MOST_MESSAGES {
            taken(&parts, &[&format!("{message}a"), &format!("{message}b")]);
        }
        assert_eq!(parts.inner().message_of.len(), 2 * MOST_MESSAGES);
        assert_eq!(parts.told(delivered("0a")), Some(delivered("0a")), "forgotten");
        assert_eq!(parts.told(delivered("1a")), None);
        let _sending = parts.sending();
        let told = (0..=MOST_EARLY).filter_map(|n| parts.told(delivered(&format!("early{n}")))).count();
        assert_eq!(told, 1);
    }
}
