//! The account as its sessions' callers see it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use tokio::sync::mpsc::Receiver;

use super::*;
use crate::model::content::SmsContent;
use crate::model::receipt::{About, News};
use crate::model::{CampaignNo, ContactNo, Purpose, Receipt};
use crate::provider::{Email, Permit};

/// Takes everything at once and says so at once.
fn smooth() -> SandboxSettings {
    SandboxSettings {
        latency: Duration::ZERO,
        throttled: 0.0,
        soft: 0.0,
        hard: 0.0,
        no_answer: 0.0,
        receipt_delay: Duration::ZERO,
        early_receipts: 0.0,
        bounced: 0.0,
        opted_out: 0.0,
        ..SandboxSettings::default()
    }
}

struct Bed {
    provider: Sandbox,
    mailbox: Arc<Mailbox>,
    arriving: Receiver<Receipt>,
}

impl Bed {
    fn new(settings: SandboxSettings) -> Self {
        let (receipts, arriving) = Receipts::new(100_000);
        let mailbox = Arc::new(Mailbox::new(10_000));
        let provider = Sandbox::new("sandbox", settings, receipts, Some(mailbox.clone()));
        Bed { provider, mailbox, arriving }
    }

    async fn send(&self, contacts: std::ops::Range<i64>, attempt: u16) -> Vec<Outcome> {
        let messages: Vec<_> = contacts.map(|contact| sms(contact, attempt)).collect();
        let mut session = self.provider.session();
        let mut outcomes = Vec::new();
        for chunk in messages.chunks(CHUNK) {
            outcomes.extend(session.send(chunk).await);
        }
        outcomes
    }

    /// Everything that is heard: the account goes, so nothing is pending.
    async fn heard(self) -> Vec<Receipt> {
        let Bed { provider, mut arriving, .. } = self;
        drop(provider);
        let mut receipts = Vec::new();
        while let Some(receipt) = arriving.recv().await {
            receipts.push(receipt);
        }
        receipts
    }

    fn letters(&self) -> Vec<i64> {
        let letters = self.mailbox.after(None, 0, usize::MAX);
        letters.iter().map(|kept| kept.letter.delivery.contact.0).collect()
    }
}

fn sms(contact: i64, attempt: u16) -> Message {
    let content = SmsContent { text: Some(format!("Hello {contact}")), ..SmsContent::default() };
    Message {
        delivery: DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(contact), occurrence: 0 },
        attempt,
        campaign: "spring".into(),
        purpose: Purpose::Service,
        to: format!("+49{contact:09}"),
        unsubscribe: None,
        body: Body::Content(Content::Sms(content)),
        permit: Permit::default(),
    }
}

fn is_accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Accepted { .. })
}

fn contact_of(receipt: &Receipt) -> i64 {
    let About::Delivery(key) = &receipt.about else { panic!("about a delivery") };
    key.contact.0
}

/// The words heard of each contact, in their order.
fn words(receipts: &[Receipt]) -> BTreeMap<i64, Vec<News>> {
    let mut words: BTreeMap<i64, Vec<News>> = BTreeMap::new();
    for receipt in receipts {
        words.entry(contact_of(receipt)).or_default().push(receipt.news.clone());
    }
    words
}

#[tokio::test]
async fn what_it_took_is_readable_and_reported_once() {
    let bed = Bed::new(smooth());
    assert!(bed.send(0..250, 1).await.iter().all(is_accepted));
    assert_eq!(bed.letters(), (0..250).collect::<Vec<_>>());
    let receipts = bed.heard().await;
    assert_eq!(words(&receipts), (0..250).map(|contact| (contact, vec![News::Delivered])).collect());
}

#[tokio::test]
async fn what_comes_again_is_taken_again_without_a_second_message() {
    let bed = Bed::new(smooth());
    let first = bed.send(0..50, 1).await;
    assert_eq!(bed.send(0..50, 2).await, first);
    assert_eq!(bed.letters().len(), 50);
    assert_eq!(bed.heard().await.len(), 50);
}

#[tokio::test]
async fn the_same_seed_decides_alike_after_a_restart() {
    let rough =
        SandboxSettings { soft: 0.2, hard: 0.1, no_answer: 0.1, bounced: 0.2, opted_out: 0.1, ..smooth() };
    let life = async |settings: SandboxSettings| {
        let bed = Bed::new(SandboxSettings { latency_p99: Duration::ZERO, ..settings });
        let outcomes = bed.send(0..500, 1).await;
        (outcomes, bed.letters(), words(&bed.heard().await))
    };
    let first = life(rough.clone()).await;
    assert_eq!(life(rough.clone()).await, first);
    assert_ne!(life(SandboxSettings { seed: 2, ..rough }).await, first);
}

#[tokio::test]
async fn a_soft_refusal_may_pass_and_arrives_once() {
    let bed = Bed::new(SandboxSettings { soft: 0.5, ..smooth() });
    let mut waiting: Vec<i64> = (0..200).collect();
    let mut attempt = 0;
    while !waiting.is_empty() {
        attempt += 1;
        assert!(attempt < 40, "each attempt lets half of them pass");
        let mut refused = Vec::new();
        for contact in waiting {
            match bed.send(contact..contact + 1, attempt).await.as_slice() {
                [Outcome::Accepted { .. }] => {}
                [Outcome::Retry { reason: Reason::TemporaryFailure, .. }] => refused.push(contact),
                other => panic!("{other:?}"),
            }
        }
        waiting = refused;
    }
    assert!(attempt > 1);
    let mut letters = bed.letters();
    letters.sort_unstable();
    assert_eq!(letters, (0..200).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn half_of_what_is_not_answered_arrives_and_is_reported() {
    let settings = SandboxSettings { no_answer: 1.0, latency: Duration::from_millis(20), ..smooth() };
    let (patience, bed) = (settings.latency_p99 * PATIENCE, Bed::new(settings));
    let began = Instant::now();
    let outcomes = bed.send(0..100, 1).await;
    assert_eq!(began.elapsed(), patience);
    assert!(outcomes.iter().all(|it| it.reason() == Some(Reason::NoAnswer)), "{outcomes:?}");
    let arrived = bed.letters();
    assert!((20..80).contains(&arrived.len()), "{}", arrived.len());
    assert!(bed.mailbox.after(None, 0, 1).iter().all(|kept| !kept.letter.answered));
    // Asked again, those that arrived are known; the others are lost again, or arrive now.
    let again = bed.send(0..100, 2).await;
    for contact in &arrived {
        assert!(is_accepted(&again[usize::try_from(*contact).unwrap()]));
    }
    let letters = bed.letters();
    let reported: Vec<_> = words(&bed.heard().await).into_keys().collect();
    let mut expected = letters.clone();
    expected.sort_unstable();
    assert_eq!(reported, expected);
    assert!(letters.starts_with(&arrived));
}

#[tokio::test]
async fn refused_for_good_leaves_nothing_behind() {
    let bed = Bed::new(SandboxSettings { hard: 1.0, ..smooth() });
    let outcomes = bed.send(0..100, 1).await;
    assert!(outcomes.iter().all(|it| matches!(it, Outcome::Rejected { .. })));
    assert!(outcomes.iter().any(|it| it.reason() == Some(Reason::UnknownRecipient)));
    assert!(bed.letters().is_empty());
    assert!(bed.heard().await.is_empty());
}

#[tokio::test]
async fn a_throttled_call_takes_nothing_and_the_next_may_pass() {
    let bed = Bed::new(SandboxSettings { throttled: 0.5, ..smooth() });
    let mut calls = Vec::new();
    for _ in 0..100 {
        let outcomes = bed.send(0..2, 1).await;
        let throttled = |it: &Outcome| matches!(it, Outcome::Throttled { after: Some(_), .. });
        assert!(outcomes.iter().all(is_accepted) || outcomes.iter().all(throttled), "{outcomes:?}");
        calls.push(is_accepted(&outcomes[0]));
    }
    let passed = calls.iter().filter(|passed| **passed).count();
    assert!((20..80).contains(&passed), "{passed}");
    assert_eq!(bed.letters(), [0, 1]);
}

#[tokio::test]
async fn what_exceeds_the_capacity_is_told_when_to_come_again() {
    let bed = Bed::new(SandboxSettings { capacity: NonZeroU32::new(1), ..smooth() });
    let outcomes = bed.send(0..CHUNK as i64, 1).await;
    assert!(is_accepted(&outcomes[0]));
    let Some(Outcome::Throttled { after: Some(after), .. }) = outcomes.last() else { panic!("{outcomes:?}") };
    assert!(*after <= Duration::from_secs(1), "{after:?}");
    assert_eq!(bed.letters().len(), outcomes.iter().filter(|it| is_accepted(it)).count());
}

#[tokio::test(start_paused = true)]
async fn receipts_wait_for_the_answer_unless_they_overtake_it() {
    let slow = SandboxSettings {
        latency: Duration::from_secs(10),
        latency_p99: Duration::from_secs(20),
        receipt_delay: Duration::from_secs(100),
        ..smooth()
    };
    for early_receipts in [0.0, 1.0] {
        let mut bed = Bed::new(SandboxSettings { early_receipts, ..slow.clone() });
        let began = Instant::now();
        let mut session = bed.provider.session();
        let message = [sms(1, 1)];
        let sending = async { (session.send(&message).await, began.elapsed()).1 };
        let hearing = async { (bed.arriving.recv().await, began.elapsed()).1 };
        let (answered, heard) = tokio::join!(sending, hearing);
        assert_eq!(heard < answered, early_receipts == 1.0, "answered {answered:?}, heard {heard:?}");
    }
}

#[tokio::test]
async fn people_react_after_the_receipt() {
    let bed = Bed::new(SandboxSettings { opted_out: 1.0, early_receipts: 0.5, ..smooth() });
    bed.send(0..100, 1).await;
    let kept = bed.mailbox.after(None, 0, 1).remove(0);
    assert_eq!(kept.letter.later.as_ref().unwrap().reaction, Some(News::Unsubscribed));
    let receipts = bed.heard().await;
    let both = vec![News::Delivered, News::Unsubscribed];
    assert_eq!(words(&receipts), (0..100).map(|contact| (contact, both.clone())).collect());
    let ids: std::collections::BTreeSet<_> = receipts.iter().map(|receipt| receipt.id).collect();
    assert_eq!(ids.len(), 200);
}

#[tokio::test]
async fn without_receipts_nothing_is_heard() {
    let bed = Bed::new(SandboxSettings { receipts: false, ..smooth() });
    assert!(bed.send(0..10, 1).await.iter().all(is_accepted));
    assert!(bed.mailbox.after(None, 0, 10).iter().all(|kept| kept.letter.later.is_none()));
    assert!(bed.heard().await.is_empty());
}

#[tokio::test]
async fn mail_as_it_travels_is_refused() {
    let bed = Bed::new(smooth());
    let email = Email { envelope_from: "a@b.de".into(), envelope_to: "c@d.de".into(), content: "x".into() };
    let message = Message { body: Body::Email(email), ..sms(1, 1) };
    let outcomes = bed.provider.session().send(&[message]).await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Rejected { reason: Reason::MessageRefused, .. }]));
    assert!(bed.letters().is_empty());
}
