//! Requests in which every message has a key of ours, by which the provider tells a repeat from a new message.
//!
//! Promises to ask once more, at once and under the same key, about each message of which no answer tells, to split a
//! request that was refused for the sake of one of its messages, and to stop where the next request would meet the
//! same. Knows no protocol.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use async_trait::async_trait;
use uuid::Uuid;

use super::detail::masked;
use super::{Body, Message};
use crate::model::content::PushContent;
use crate::model::{Content, Outcome, Reason};

/// A message and the key under which it is sent.
#[derive(Debug)]
pub(super) struct Keyed<'a> {
    pub(super) message: &'a Message,
    pub(super) key: String,
}

/// The key that every attempt at a delivery has again. Names the account, too, and whom it goes to: the numbers alone
/// begin anew with every ledger, while the provider remembers.
pub(super) fn key(account: &str, message: &Message) -> Uuid {
    let Message { campaign, delivery, to, .. } = message;
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{account}\n{campaign}\n{delivery}\n{to}").as_bytes())
}

/// The content of a push message; `Failed` for any other, which no account for pushes is given.
pub(super) fn content(message: &Message) -> Result<&PushContent, Outcome> {
    match &message.body {
        Body::Content(Content::Push(push)) => Ok(push),
        _ => Err(Outcome::Failed {
            reason: Reason::RenderError,
            detail: "this account carries push messages alone".to_owned(),
        }),
    }
}

/// The provider's words without the recipients' addresses.
pub(super) fn told(words: &str, messages: &[Keyed<'_>]) -> String {
    let addresses = messages.iter().map(|keyed| keyed.message.to.as_str()).filter(|to| !to.is_empty());
    masked(&addresses.fold(words.to_owned(), |words, to| words.replace(to, "***")))
}

/// What became of one request. `Unknown` stands for what it does not tell.
#[derive(Debug)]
pub(super) enum Answer {
    /// One outcome a message, in their order.
    Each(Vec<Outcome>),
    /// The same for all of them.
    Whole(Outcome),
}

/// A session's way to ask the provider once.
#[async_trait]
pub(super) trait Ask: Send {
    async fn ask(&mut self, messages: &[Keyed<'_>]) -> Answer;
}

/// How the provider takes messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Messages of one request.
    pub(super) most: usize,
}

/// Hands the messages over in order; one outcome a message.
pub(super) async fn hand_over(asks: &mut impl Ask, messages: &[Keyed<'_>], terms: Terms) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::Returned; messages.len()];
    let mut parts = parts(messages, terms.most);
    while let Some(range) = parts.pop_front() {
        let Some(part) = messages.get(range.clone()) else { continue };
        let each = match twice(asks, part).await {
            Answer::Whole(Outcome::Rejected { .. }) if part.len() > 1 => {
                let middle = range.start + part.len() / 2;
                parts.push_front(middle..range.end);
                parts.push_front(range.start..middle);
                continue;
            }
            Answer::Whole(outcome) => vec![outcome; part.len()],
            Answer::Each(each) => each,
        };
        let ends = each.iter().any(ends);
        for (slot, outcome) in outcomes.iter_mut().skip(range.start).zip(each) {
            *slot = outcome;
        }
        if ends {
            break;
        }
    }
    outcomes
}

/// Asks; what is in doubt after that is asked about again.
async fn twice(asks: &mut impl Ask, part: &[Keyed<'_>]) -> Answer {
    match asks.ask(part).await {
        Answer::Whole(doubt @ Outcome::Unknown { .. }) => match asks.ask(part).await {
            Answer::Whole(second) => Answer::Whole(settled(doubt, second)),
            Answer::Each(each) => {
                let settled = each.into_iter().map(|second| settled(doubt.clone(), second));
                Answer::Each(settled.collect())
            }
        },
        Answer::Each(mut each) => {
            for (message, outcome) in part.iter().zip(&mut each) {
                if !matches!(outcome, Outcome::Unknown { .. }) {
                    continue;
                }
                let second = match asks.ask(std::slice::from_ref(message)).await {
                    Answer::Whole(second) => Some(second),
                    Answer::Each(each) => each.into_iter().next(),
                };
                if let Some(second) = second {
                    *outcome = settled(outcome.clone(), second);
                }
            }
            Answer::Each(each)
        }
        whole => whole,
    }
}

/// What is known after a doubt and a second answer. "Later" settles nothing.
fn settled(doubt: Outcome, second: Outcome) -> Outcome {
    match second {
        Outcome::Accepted { .. } | Outcome::Rejected { .. } | Outcome::Unknown { .. } => second,
        _ => doubt,
    }
}

/// Whether the next request would meet the same.
fn ends(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::AccountRefused { .. } | Outcome::Throttled { .. })
        || outcome.reason() == Some(Reason::ConnectionFailed)
}

/// Requests of at most `most` messages, none with two for one address: answers tell messages by address.
fn parts(messages: &[Keyed<'_>], most: usize) -> VecDeque<Range<usize>> {
    let (mut parts, mut addresses) = (VecDeque::<Range<usize>>::new(), HashSet::new());
    for (at, Keyed { message, .. }) in messages.iter().enumerate() {
        match parts.back_mut() {
            Some(part) if part.len() < most && addresses.insert(&message.to) => part.end = at + 1,
            _ => {
                parts.push_back(at..at + 1);
                addresses = HashSet::from([&message.to]);
            }
        }
    }
    parts
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::model::{CampaignNo, ContactNo, DeliveryKey, Purpose};
    use crate::provider::{Departures, Permit};

    /// The push message `number` of a campaign.
    pub(in crate::provider) fn push(number: i64, to: &str, url: Option<&str>) -> Message {
        let (title, body) = ("Sale".to_owned(), format!("Hello {number}"));
        Message {
            delivery: DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(number), occurrence: 0 },
            attempt: 1,
            campaign: "spring".into(),
            purpose: Purpose::Marketing,
            to: to.to_owned(),
            unsubscribe: None,
            body: Body::Content(Content::Push(PushContent { title, body, url: url.map(str::to_owned) })),
            permit: Permit::default(),
        }
    }

    /// Counts the messages whose permits are spent.
    #[derive(Debug, Default)]
    pub(in crate::provider) struct Departed(AtomicUsize);

    impl Departed {
        pub(in crate::provider) fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Departures for Departed {
        fn depart(&self, _cells: u32) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The messages, counted as they leave.
    pub(in crate::provider) fn counted(mut messages: Vec<Message>) -> (Vec<Message>, Arc<Departed>) {
        let departed = Arc::new(Departed::default());
        for message in &mut messages {
            message.permit = Permit::new(vec![departed.clone()], 1);
        }
        (messages, departed)
    }

    /// Answers from a list, and remembers which keys were asked about.
    #[derive(Default)]
    struct Scripted {
        answers: VecDeque<Answer>,
        asked: Vec<String>,
    }

    #[async_trait]
    impl Ask for Scripted {
        async fn ask(&mut self, messages: &[Keyed<'_>]) -> Answer {
            self.asked.push(messages.iter().map(|message| message.key.as_str()).collect());
            self.answers.pop_front().unwrap_or(Answer::Whole(accepted()))
        }
    }

    fn accepted() -> Outcome {
        Outcome::Accepted { provider_ref: None }
    }

    fn rejected() -> Outcome {
        Outcome::Rejected { reason: Reason::UnknownRecipient, detail: String::new() }
    }

    fn unknown() -> Outcome {
        Outcome::Unknown { reason: Reason::NoAnswer, detail: "silence".to_owned() }
    }

    fn throttled() -> Outcome {
        Outcome::Throttled { after: None, detail: String::new() }
    }

    /// One message an address, under the addresses as keys.
    fn sent(addresses: &str) -> Vec<Message> {
        (1..).zip(addresses.chars()).map(|(number, to)| push(number, &to.to_string(), None)).collect()
    }

    async fn handed(
        addresses: &str,
        most: usize,
        answers: impl Into<VecDeque<Answer>>,
    ) -> (Vec<&'static str>, String) {
        let messages = sent(addresses);
        let keyed: Vec<Keyed<'_>> =
            messages.iter().map(|message| Keyed { message, key: message.to.clone() }).collect();
        let mut scripted = Scripted { answers: answers.into(), asked: Vec::new() };
        let outcomes = hand_over(&mut scripted, &keyed, Terms { most }).await;
        (outcomes.iter().map(Outcome::as_str).collect(), scripted.asked.join(" "))
    }

    #[tokio::test]
    async fn a_doubt_is_asked_about_once_more() {
        let twice = |second| vec![Answer::Whole(unknown()), Answer::Whole(second)];
        for (second, wanted) in [(accepted(), "accepted"), (unknown(), "unknown"), (throttled(), "unknown")] {
            assert_eq!(handed("ab", 2, twice(second)).await, (vec![wanted; 2], "ab ab".to_owned()));
        }
    }

    #[tokio::test]
    async fn what_an_answer_leaves_out_is_asked_about_alone() {
        let answers = [Answer::Each(vec![accepted(), unknown(), accepted()]), Answer::Whole(rejected())];
        let (outcomes, asked) = handed("abc", 3, answers).await;
        assert_eq!((outcomes, asked.as_str()), (vec!["accepted", "rejected", "accepted"], "abc b"));
    }

    #[tokio::test]
    async fn a_request_that_one_message_spoils_is_split() {
        let spoilt = || Answer::Whole(rejected());
        let answers = [spoilt(), Answer::Whole(accepted()), spoilt(), spoilt()];
        let (outcomes, asked) = handed("abcd", 4, answers).await;
        assert_eq!(asked, "abcd ab cd c d");
        assert_eq!(outcomes, ["accepted", "accepted", "rejected", "accepted"]);
    }

    #[tokio::test]
    async fn a_throttle_ends_it_and_the_rest_comes_back() {
        let answers = [Answer::Whole(accepted()), Answer::Whole(throttled())];
        let (outcomes, asked) = handed("abcde", 2, answers).await;
        assert_eq!(asked, "ab cd");
        assert_eq!(outcomes, ["accepted", "accepted", "throttled", "throttled", "returned"]);
    }

    #[tokio::test]
    async fn no_request_has_an_address_twice() {
        assert_eq!(handed("abacc", 9, []).await.1, "ab ac c");
    }

    proptest! {
        #[test]
        fn parts_hold_every_message_once_and_in_order(addresses in "[a-d]{0,40}", most in 1_usize..9) {
            let messages = sent(&addresses);
            let keyed: Vec<Keyed<'_>> =
                messages.iter().map(|message| Keyed { message, key: String::new() }).collect();
            let parts = parts(&keyed, most);
            prop_assert!(parts.iter().all(|part| (1..=most).contains(&part.len())));
            prop_assert_eq!(parts.into_iter().flatten().collect::<Vec<_>>(), (0..keyed.len()).collect::<Vec<_>>());
        }
    }
}
