//! A chunk of messages as the calls that carry it.
//!
//! Promises one outcome a message in their order, that a call's messages share what the provider wants them to share
//! and go to different numbers, that a call which is refused for one of its messages is made again in halves until the
//! bad one stands alone, and that nothing more is sent once an answer says that it would meet the same.

use std::collections::{HashSet, VecDeque};
use std::mem::take;

use crate::model::{Outcome, Reason};
use crate::provider::Message;

/// What a call's answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::provider) enum Said {
    /// Of each message, in their order.
    Each(Vec<Outcome>),
    /// Of the call as a whole: all of it was taken, or certainly or maybe nothing.
    All(Outcome),
}

/// Places in the chunk.
pub(in crate::provider) type Group = Vec<usize>;

pub(in crate::provider) struct Calls<'m> {
    messages: &'m [Message],
    outcomes: Vec<Option<Outcome>>,
    waiting: VecDeque<Group>,
}

impl<'m> Calls<'m> {
    /// Messages of the same `key` go together, at most `most` a call. An error is a message's outcome: it is not sent.
    pub(in crate::provider) fn plan<K: PartialEq>(
        messages: &'m [Message],
        most: usize,
        key: impl Fn(&'m Message) -> Result<K, Outcome>,
    ) -> Self {
        let mut outcomes = vec![None; messages.len()];
        let mut open: Vec<(K, HashSet<&str>, Group)> = Vec::new();
        for ((place, message), outcome) in messages.iter().enumerate().zip(&mut outcomes) {
            let key = match key(message) {
                Ok(key) => key,
                Err(refused) => {
                    *outcome = Some(refused);
                    continue;
                }
            };
            let room = |(other, numbers, group): &&mut (K, HashSet<&str>, Group)| {
                *other == key && group.len() < most && !numbers.contains(message.to.as_str())
            };
            match open.iter_mut().find(room) {
                Some((_, numbers, group)) => {
                    numbers.insert(&message.to);
                    group.push(place);
                }
                None => open.push((key, HashSet::from([message.to.as_str()]), vec![place])),
            }
        }
        Calls { messages, outcomes, waiting: open.into_iter().map(|(_, _, group)| group).collect() }
    }

    /// The next call's messages, to be given back with its answer.
    pub(in crate::provider) fn next(&mut self) -> Option<(Group, Vec<&'m Message>)> {
        let group = self.waiting.pop_front()?;
        let messages = group.iter().filter_map(|place| self.messages.get(*place)).collect();
        Some((group, messages))
    }

    pub(in crate::provider) fn settle(&mut self, mut group: Group, said: Said) {
        let outcomes = match said {
            Said::All(Outcome::Rejected { .. } | Outcome::Deferred { .. }) if group.len() > 1 => {
                let second = group.split_off(group.len() / 2);
                self.waiting.push_front(second);
                self.waiting.push_front(group);
                return;
            }
            Said::All(outcome) => vec![outcome; group.len()],
            Said::Each(outcomes) => outcomes,
        };
        if outcomes.iter().any(ends_the_chunk) {
            self.waiting.clear();
        }
        for (place, outcome) in group.into_iter().zip(outcomes) {
            if let Some(slot) = self.outcomes.get_mut(place) {
                *slot = Some(outcome);
            }
        }
    }

    /// Messages whose call was not made are `Returned`.
    pub(in crate::provider) fn outcomes(mut self) -> Vec<Outcome> {
        take(&mut self.outcomes).into_iter().map(|outcome| outcome.unwrap_or(Outcome::Returned)).collect()
    }
}

/// Whether the next call would meet the same. After silence and cuts too: doubts are not to grow.
fn ends_the_chunk(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::AccountRefused { .. } | Outcome::Throttled { .. } | Outcome::Unknown { .. })
        || outcome.reason() == Some(Reason::ConnectionFailed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::sms::sample::message;

    fn taken() -> Outcome {
        Outcome::Accepted { provider_ref: None }
    }

    fn refused() -> Outcome {
        Outcome::Rejected { reason: Reason::UnknownRecipient, detail: String::new() }
    }

    fn numbers(count: i64) -> Vec<Message> {
        (1..=count).map(|n| message(n, &format!("+86138{n:08}"))).collect()
    }

    proptest! {
        /// Whatever numbers are bad, exactly those are refused, and every good one is taken once.
        #[test]
        fn halves_find_the_bad_ones(bad in prop::collection::vec(any::<bool>(), 0..60), most in 1_usize..20) {
            let messages = numbers(bad.len() as i64);
            let mut calls = Calls::plan(&messages, most, |_| Ok(()));
            let (mut times, mut made) = (vec![0; bad.len()], 0);
            while let Some((group, sent)) = calls.next() {
                made += 1;
                prop_assert!(!group.is_empty() && group.len() <= most && group.len() == sent.len());
                let said = if group.iter().any(|place| bad[*place]) { refused() } else { taken() };
                if said == taken() {
                    group.iter().for_each(|place| times[*place] += 1);
                }
                calls.settle(group, Said::All(said));
            }
            let wanted: Vec<_> = bad.iter().map(|bad| if *bad { refused() } else { taken() }).collect();
            prop_assert_eq!(calls.outcomes(), wanted);
            prop_assert!(times.iter().zip(&bad).all(|(times, bad)| *times == u32::from(!bad)));
            prop_assert!(made <= 2 * bad.len());
        }
    }

    #[test]
    fn calls_share_their_key_and_no_number() {
        let mut messages = numbers(6);
        messages[4].to = messages[0].to.clone();
        let mut calls = Calls::plan(&messages, 100, |message| match message.delivery.contact.0 {
            6 => Err(refused()),
            odd => Ok(odd % 2),
        });
        let mut groups = Vec::new();
        while let Some((group, _)) = calls.next() {
            groups.push(group.clone());
            calls.settle(group, Said::All(taken()));
        }
        assert_eq!(groups, [vec![0, 2], vec![1, 3], vec![4]]);
        assert_eq!(calls.outcomes().last(), Some(&refused()));
    }

    #[test]
    fn nothing_more_goes_out_once_it_would_meet_the_same() {
        let detail = String::new;
        for (stops, outcome) in [
            (true, Outcome::AccountRefused { detail: detail() }),
            (true, Outcome::Throttled { after: None, detail: detail() }),
            (true, Outcome::Unknown { reason: Reason::NoAnswer, detail: detail() }),
            (true, Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail: detail() }),
            (false, Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail: detail() }),
            (false, Outcome::CampaignRefused { detail: detail() }),
        ] {
            let messages = numbers(4);
            let mut calls = Calls::plan(&messages, 2, |_| Ok(()));
            let (group, _) = calls.next().unwrap();
            calls.settle(group, Said::Each(vec![taken(), outcome.clone()]));
            assert_eq!(calls.next().is_none(), stops, "{outcome:?}");
            assert_eq!(calls.outcomes(), [taken(), outcome, Outcome::Returned, Outcome::Returned]);
        }
    }
}
