//! What reached whom: the evidence that nothing was lost and nothing came twice.
//!
//! A message is what the recipient reads, whatever ids the sender gave it. Of recipients and messages only hashes are
//! kept, some 40 bytes a message, so that millions can be counted; of the newest messages all is kept, so many as asked.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// What was taken so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken, one a recipient.
    pub messages: u64,
    /// Different recipients.
    pub recipients: u64,
    /// Messages that their recipient had got before, word for word.
    pub repeated: u64,
}

/// Counts messages of the simulator's own type.
#[derive(Debug)]
pub struct Tally<M> {
    inner: Mutex<Inner<M>>,
    hash: RandomState,
    keep: usize,
    progress: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner<M> {
    counts: Counts,
    recipients: HashMap<u64, u32>,
    messages: HashMap<u64, u32>,
    newest: VecDeque<M>,
}

impl<M: Clone> Tally<M> {
    /// Keeps the newest `keep` messages whole.
    pub fn new(keep: usize) -> Self {
        let inner = Inner {
            counts: Counts::default(),
            recipients: HashMap::new(),
            messages: HashMap::new(),
            newest: VecDeque::new(),
        };
        Tally { inner: Mutex::new(inner), hash: RandomState::new(), keep, progress: watch::Sender::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<M>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one message; `text` is what the recipient reads.
    pub fn take(&self, recipient: &str, text: &str, message: M) {
        let mut inner = self.inner();
        inner.counts.messages += 1;
        let to = inner.recipients.entry(self.hash.hash_one(recipient)).or_default();
        *to += 1;
        inner.counts.recipients += u64::from(*to == 1);
        let same = inner.messages.entry(self.hash.hash_one((recipient, text))).or_default();
        *same += 1;
        inner.counts.repeated += u64::from(*same > 1);
        if self.keep > 0 {
            if inner.newest.len() == self.keep {
                inner.newest.pop_front();
            }
            inner.newest.push_back(message);
        }
        let messages = inner.counts.messages;
        drop(inner);
        self.progress.send_replace(messages);
    }

    pub fn counts(&self) -> Counts {
        self.inner().counts
    }

    /// How many messages this recipient got.
    pub fn to(&self, recipient: &str) -> u32 {
        self.inner().recipients.get(&self.hash.hash_one(recipient)).copied().unwrap_or(0)
    }

    /// The newest messages in their order, as many as are kept.
    pub fn newest(&self) -> Vec<M> {
        self.inner().newest.iter().cloned().collect()
    }

    /// Waits until at least so many messages were taken.
    pub async fn received(&self, messages: u64) {
        let mut progress = self.progress.subscribe();
        // The sender lives in `self`, so that the wait ends with the count alone.
        let _count = progress.wait_for(|count| *count >= messages).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_the_same_text_to_the_same_recipient() {
        let tally = Tally::new(2);
        for (number, (to, text)) in [("1", "a"), ("2", "a"), ("1", "b"), ("1", "a")].into_iter().enumerate() {
            tally.take(to, text, number);
        }
        assert_eq!(tally.counts(), Counts { messages: 4, recipients: 2, repeated: 1 });
        assert_eq!((tally.to("1"), tally.to("2"), tally.to("3")), (3, 1, 0));
        assert_eq!(tally.newest(), [2, 3]);
    }
}
