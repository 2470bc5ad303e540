//! What becomes of a message: a pure function of the seed, its delivery and the attempt.
//!
//! What lies with the recipient (an unknown number, a bounce, a complaint) is the delivery's own and the same at every
//! attempt; what passes (a full queue, a lost answer) is the attempt's.

use std::time::Duration;

use super::chance::Chance;
use crate::config::SandboxSettings;
use crate::model::receipt::{Bounce, News};
use crate::model::{Channel, DeliveryKey, Reason};

/// What the sandbox does with one attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    Taken,
    /// No answer in time; `arrives` says what nobody knows yet.
    NoAnswer {
        arrives: bool,
    },
    /// Refused for now.
    Soft,
    /// Refused for good, with the provider's words.
    Hard(Reason, &'static str),
}

/// What is heard of a message that arrived, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Delivered or bounced.
    pub receipt: News,
    /// What the recipient does about it.
    pub reaction: Option<News>,
    /// The provider's words about a bounce, or the recipient's.
    pub detail: Option<&'static str>,
    /// The receipt overtakes the answer.
    pub early: bool,
}

impl Later {
    /// What is heard, in this order, each as the word that events and receipts go by.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        [Some(&self.receipt), self.reaction.as_ref()].into_iter().flatten().map(word)
    }
}

pub(super) fn word(news: &News) -> &'static str {
    match news {
        News::Accepted => "accepted",
        News::Delivered => "delivered",
        News::Bounced { .. } => "bounced",
        News::Complained => "complained",
        News::Unsubscribed => "unsubscribed",
        News::Replied => "replied",
    }
}

/// [`Later`], and when, from the answer.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) later: Later,
    pub(super) receipt_after: Duration,
    pub(super) reaction_after: Duration,
}

/// One receipt in a hundred takes longer than this many times `receipt_delay`.
const SLOW_RECEIPT: u32 = 5;
/// How many times `receipt_delay` people take to react after the receipt, in the median.
const REACTION: u32 = 3;

type Refusals = &'static [(f64, Reason, &'static str)];

/// Keeps the questions that are asked of one seed apart.
const RECIPIENT: u64 = 1;
const ATTEMPT: u64 = 2;
const LATER: u64 = 3;

/// Why a channel refuses for good: each cause takes the draws below its bound.
fn refusals(channel: Channel) -> Refusals {
    match channel {
        Channel::Email => &[
            (0.7, Reason::UnknownRecipient, "550 5.1.1 no such user here"),
            (0.9, Reason::MailboxFull, "552 5.2.2 mailbox full"),
            (1.0, Reason::PolicyRefused, "550 5.7.1 refused by policy"),
        ],
        Channel::Sms => &[
            (0.7, Reason::UnknownRecipient, "the number is not in service"),
            (0.9, Reason::PolicyRefused, "the carrier blocks this content"),
            (1.0, Reason::RecipientRefused, "the number is on the carrier's refusal list"),
        ],
        Channel::Wechat => &[
            (0.7, Reason::UnknownRecipient, "the user does not follow the account"),
            (1.0, Reason::RecipientRefused, "the user refuses template messages"),
        ],
        Channel::Push => &[
            (0.9, Reason::UnknownRecipient, "the token is gone: the app was removed"),
            (1.0, Reason::MessageRefused, "the payload is refused"),
        ],
    }
}

/// The words of a soft refusal.
pub(super) fn soft_words(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "451 4.3.0 try again later",
        Channel::Sms => "the carrier is busy",
        Channel::Wechat => "the system is busy",
        Channel::Push => "the service is unavailable",
    }
}

fn question(seed: u64, asked: u64, key: DeliveryKey, attempt: u16) -> Chance {
    let words = [key.campaign.0, key.contact.0, key.occurrence].map(i64::cast_unsigned);
    let [campaign, contact, occurrence] = words;
    Chance::of(seed, [asked, campaign, contact, occurrence, attempt.into()])
}

/// What becomes of this attempt.
pub(super) fn fate(settings: &SandboxSettings, channel: Channel, key: DeliveryKey, attempt: u16) -> Fate {
    let mut recipient = question(settings.seed, RECIPIENT, key, 0);
    if recipient.happens(settings.hard) {
        let draw = recipient.share();
        if let Some((_, reason, words)) = refusals(channel).iter().find(|(bound, ..)| draw < *bound) {
            return Fate::Hard(*reason, words);
        }
    }
    let mut chance = question(settings.seed, ATTEMPT, key, attempt);
    let draw = chance.share();
    if draw < settings.soft {
        Fate::Soft
    } else if draw < settings.soft + settings.no_answer {
        Fate::NoAnswer { arrives: chance.happens(0.5) }
    } else {
        Fate::Taken
    }
}

/// What is heard of a message once it arrived.
pub(super) fn heard(settings: &SandboxSettings, channel: Channel, key: DeliveryKey) -> Heard {
    let mut chance = question(settings.seed, LATER, key, 0);
    let draw = chance.share();
    let early = chance.happens(settings.early_receipts);
    let (reaction_share, reaction, words) = match channel {
        // Mailbox providers report complaints (RFC 5965); leaving goes by the link in the mail.
        Channel::Email => (settings.complained, News::Complained, "marked as spam"),
        Channel::Sms => (settings.opted_out, News::Unsubscribed, "reply: STOP"),
        Channel::Wechat => (settings.opted_out, News::Unsubscribed, "unfollowed the account"),
        // Who has enough of pushes turns them off in the phone, which tells nobody.
        Channel::Push => (0.0, News::Unsubscribed, ""),
    };
    let later = if draw < settings.bounced {
        let (receipt, words) = bounce(channel, chance.share());
        Later { receipt, reaction: None, detail: Some(words), early }
    } else if draw < settings.bounced + reaction_share {
        Later { receipt: News::Delivered, reaction: Some(reaction), detail: Some(words), early }
    } else {
        Later { receipt: News::Delivered, reaction: None, detail: None, early }
    };
    let delay = settings.receipt_delay;
    let receipt_after = chance.log_normal(delay, delay.saturating_mul(SLOW_RECEIPT));
    let median = delay.saturating_mul(REACTION);
    let reaction_after = receipt_after + chance.log_normal(median, median.saturating_mul(SLOW_RECEIPT));
    Heard { later, receipt_after, reaction_after }
}

fn bounce(channel: Channel, draw: f64) -> (News, &'static str) {
    let bounced = |bounce, reason| News::Bounced { bounce, reason };
    let (hard, full, blocked) = match channel {
        Channel::Email => ("550 5.1.1 no such user", "552 5.2.2 mailbox full", "554 5.7.1 looks like spam"),
        Channel::Sms => ("the number does not exist", "the phone stayed off", "the carrier blocked it"),
        Channel::Wechat => ("the user left", "the system failed", "the user blocks the account"),
        Channel::Push => ("the token is gone", "the device stayed away", "the device refuses the app"),
    };
    if draw < 0.4 {
        (bounced(Bounce::Hard, Reason::UnknownRecipient), hard)
    } else if draw < 0.9 {
        (
            bounced(
                Bounce::Soft,
                if channel == Channel::Email { Reason::MailboxFull } else { Reason::RecipientRefused },
            ),
            full,
        )
    } else {
        (bounced(Bounce::Block, Reason::PolicyRefused), blocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CampaignNo, ContactNo};

    const N: i64 = 50_000;

    fn key(contact: i64) -> DeliveryKey {
        DeliveryKey { campaign: CampaignNo(3), contact: ContactNo(contact), occurrence: 0 }
    }

    fn busy() -> SandboxSettings {
        SandboxSettings {
            soft: 0.1,
            hard: 0.05,
            no_answer: 0.02,
            bounced: 0.04,
            complained: 0.03,
            opted_out: 0.02,
            early_receipts: 0.1,
            ..SandboxSettings::default()
        }
    }

    /// How many of `N` messages; the bounds around it are more than five standard deviations wide.
    fn assert_share(found: usize, share: f64) {
        let (found, expected) = (found as f64, share * N as f64);
        let tolerance = 6.0 * expected.sqrt();
        assert!((found - expected).abs() < tolerance, "{found}, expected {expected} ± {tolerance}");
    }

    #[test]
    fn shares_are_as_configured() {
        let settings = busy();
        let fates: Vec<_> = (0..N).map(|contact| fate(&settings, Channel::Sms, key(contact), 1)).collect();
        let count = |wanted: fn(&Fate) -> bool| fates.iter().filter(|fate| wanted(fate)).count();
        assert_share(count(|fate| matches!(fate, Fate::Hard(..))), 0.05);
        assert_share(count(|fate| matches!(fate, Fate::Hard(Reason::UnknownRecipient, _))), 0.05 * 0.7);
        assert_share(count(|fate| *fate == Fate::Soft), 0.95 * 0.1);
        assert_share(count(|fate| *fate == Fate::NoAnswer { arrives: true }), 0.95 * 0.01);
        assert_share(count(|fate| *fate == Fate::NoAnswer { arrives: false }), 0.95 * 0.01);
    }

    #[test]
    fn what_is_heard_later_has_its_shares_and_fits_the_channel() {
        let settings = busy();
        let count = |channel, wanted: fn(&Later) -> bool| {
            (0..N).filter(|contact| wanted(&heard(&settings, channel, key(*contact)).later)).count()
        };
        let complains = |later: &Later| later.reaction == Some(News::Complained);
        let leaves = |later: &Later| later.reaction == Some(News::Unsubscribed);
        assert_share(count(Channel::Email, |later| matches!(later.receipt, News::Bounced { .. })), 0.04);
        assert_share(count(Channel::Email, complains), 0.03);
        assert_share(count(Channel::Sms, leaves), 0.02);
        assert_share(count(Channel::Wechat, leaves), 0.02);
        assert_share(count(Channel::Sms, |later| later.early), 0.1);
        assert_eq!(count(Channel::Email, leaves) + count(Channel::Sms, complains), 0);
        assert_eq!(count(Channel::Push, |later| later.reaction.is_some()), 0);
    }

    #[test]
    fn a_bounced_message_brings_no_reaction() {
        let settings = SandboxSettings { bounced: 1.0, ..busy() };
        assert!(
            (0..100).all(|contact| heard(&settings, Channel::Email, key(contact)).later.reaction.is_none())
        );
    }

    #[test]
    fn the_recipient_stays_what_it_is_and_a_retry_may_succeed() {
        let settings = busy();
        let fates = |attempt| (0..N).map(move |contact| fate(&busy(), Channel::Push, key(contact), attempt));
        let (first, second): (Vec<_>, Vec<_>) = (fates(1).collect(), fates(2).collect());
        assert_eq!(first, fates(1).collect::<Vec<_>>());
        let pairs = || first.iter().zip(&second);
        assert!(pairs().all(|(a, b)| matches!(a, Fate::Hard(..)) == matches!(b, Fate::Hard(..))));
        let saved = pairs().filter(|(a, b)| **a == Fate::Soft && **b == Fate::Taken).count();
        assert_share(saved, 0.95 * 0.1 * 0.88);
        let reseeded = SandboxSettings { seed: 2, ..settings };
        assert!(
            (0..N).zip(&first).any(|(contact, was)| fate(&reseeded, Channel::Push, key(contact), 1) != *was)
        );
    }

    #[test]
    fn every_channel_has_a_cause_for_every_draw() {
        for channel in Channel::ALL {
            let bounds: Vec<f64> = refusals(*channel).iter().map(|(bound, ..)| *bound).collect();
            assert!(bounds.is_sorted() && bounds.last() == Some(&1.0), "{channel}: {bounds:?}");
        }
    }
}
