//! A provider inside the program, for trying things out: nothing leaves the machine.
//!
//! Behaves as providers do, by seed: it takes its time, slows callers down, refuses for now and for good, loses answers,
//! and reports later what became of a message. It takes all channels, keeps the last messages in a [`Mailbox`], and is
//! idempotent by delivery key: what it took once it takes again without a second message.

mod chance;
mod fate;
mod mailbox;
mod notices;
mod taken;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use self::chance::Chance;
use self::fate::{Fate, Heard, fate, heard, soft_words};
use self::notices::Notice;
use self::taken::Taken;
use super::{Body, Message, Provider, Receipts, Repeats, Session};
use crate::config::SandboxSettings;
use crate::model::{Channel, Content, DeliveryKey, Outcome, Reason};

pub use self::fate::Later;
pub use self::mailbox::{Kept, Letter, Mailbox};

/// Messages of one call.
const CHUNK: usize = 100;
/// How long a throttled caller is asked to stay away.
const THROTTLED: Duration = Duration::from_secs(1);
/// A call without an answer is given up after this many times `latency_p99`.
const PATIENCE: u32 = 2;
/// One account.
#[derive(Debug)]
pub struct Sandbox(Arc<Account>);

/// What the account's sessions share.
#[derive(Debug)]
struct Account {
    name: Arc<str>,
    settings: SandboxSettings,
    /// `None`: nobody reads.
    mailbox: Option<Arc<Mailbox>>,
    receipts: Receipts,
    /// Starts with the first session: until then no runtime is needed.
    notices: OnceLock<mpsc::Sender<Vec<Notice>>>,
    calls: AtomicU64,
    capacity: Option<DefaultDirectRateLimiter>,
    taken: Mutex<Taken>,
}

/// What becomes of one message of a call.
struct Verdict {
    outcome: Outcome,
    /// It arrived, and for the first time.
    arrived: bool,
    /// What is heard of it then.
    heard: Option<Heard>,
}

impl Sandbox {
    pub fn new(
        name: &str,
        settings: SandboxSettings,
        receipts: Receipts,
        mailbox: Option<Arc<Mailbox>>,
    ) -> Self {
        Sandbox(Arc::new(Account {
            name: name.into(),
            mailbox: mailbox.filter(|mailbox| mailbox.keep() > 0),
            receipts,
            notices: OnceLock::new(),
            calls: AtomicU64::new(0),
            capacity: settings.capacity.map(|most| RateLimiter::direct(Quota::per_second(most))),
            taken: Mutex::default(),
            settings,
        }))
    }
}

impl Provider for Sandbox {
    fn session(&self) -> Box<dyn Session> {
        Box::new(SandboxSession(self.0.clone()))
    }

    fn repeats(&self) -> Repeats {
        Repeats::Dropped(Duration::MAX)
    }

    fn chunk_size(&self) -> usize {
        CHUNK
    }
}

struct SandboxSession(Arc<Account>);

#[async_trait]
impl Session for SandboxSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        Ok(())
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let account = &*self.0;
        let settings = &account.settings;
        let mut chance = Chance::of(settings.seed, [account.calls.fetch_add(1, Ordering::Relaxed)]);
        let latency = chance.log_normal(settings.latency, settings.latency_p99);
        messages.iter().for_each(|message| message.permit.spend());
        if chance.happens(settings.throttled) {
            pass(latency).await;
            return messages.iter().map(|_| throttled(THROTTLED)).collect();
        }
        let verdicts = account.judge(messages);
        account.keep(messages, &verdicts);
        account.report_early(messages, &verdicts).await;
        let lost = verdicts.iter().any(|verdict| matches!(verdict.outcome, Outcome::Unknown { .. }));
        pass(if lost { settings.latency_p99 * PATIENCE } else { latency }).await;
        account.report_later(messages, &verdicts).await;
        verdicts.into_iter().map(|verdict| verdict.outcome).collect()
    }

    async fn close(&mut self) {}
}

impl Account {
    fn judge(&self, messages: &[Message]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(messages.len());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for message in messages {
            let verdict = match (self.has_room(), content(message)) {
                (Err(after), _) => Verdict::without_arrival(throttled(after)),
                (Ok(()), None) => Verdict::without_arrival(Outcome::Rejected {
                    reason: Reason::MessageRefused,
                    detail: "the sandbox takes content, not mail as it travels".to_owned(),
                }),
                (Ok(()), Some((channel, _))) => self.judge_one(message, channel, &mut taken),
            };
            verdicts.push(verdict);
        }
        verdicts
    }

    fn judge_one(&self, message: &Message, channel: Channel, taken: &mut Taken) -> Verdict {
        let key = message.delivery;
        let accepted = || Outcome::Accepted { provider_ref: Some(key.to_string()) };
        if taken.contains(key) {
            return Verdict::without_arrival(accepted());
        }
        let outcome = match fate(&self.settings, channel, key, message.attempt) {
            Fate::Taken => accepted(),
            Fate::NoAnswer { arrives: true } => no_answer(),
            Fate::NoAnswer { arrives: false } => return Verdict::without_arrival(no_answer()),
            Fate::Soft => {
                let (reason, detail) = (Reason::TemporaryFailure, soft_words(channel).to_owned());
                return Verdict::without_arrival(Outcome::Retry { reason, after: None, detail });
            }
            Fate::Hard(reason, words) => {
                return Verdict::without_arrival(Outcome::Rejected { reason, detail: words.to_owned() });
            }
        };
        taken.insert(key);
        let heard = self.settings.receipts.then(|| heard(&self.settings, channel, key));
        Verdict { outcome, arrived: true, heard }
    }

    /// # Errors
    /// How long the account has no room for another message.
    fn has_room(&self) -> Result<(), Duration> {
        let Some(capacity) = &self.capacity else { return Ok(()) };
        capacity.check().map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }

    /// Puts what arrived where people read it.
    fn keep(&self, messages: &[Message], verdicts: &[Verdict]) {
        let Some(mailbox) = &self.mailbox else { return };
        let at = Timestamp::now();
        let letters = messages.iter().zip(verdicts).filter(|(_, verdict)| verdict.arrived);
        let letters = letters.filter_map(|(message, verdict)| {
            let (channel, content) = content(message)?;
            Some(Letter {
                at,
                account: self.name.clone(),
                channel,
                to: message.to.clone(),
                campaign: message.campaign.clone(),
                delivery: message.delivery,
                attempt: message.attempt,
                content: content.clone(),
                unsubscribe: message.unsubscribe.clone(),
                answered: matches!(verdict.outcome, Outcome::Accepted { .. }),
                later: verdict.heard.as_ref().map(|heard| heard.later.clone()),
            })
        });
        mailbox.put(letters.collect());
    }

    /// Sends the receipts that overtake the answer.
    async fn report_early(&self, messages: &[Message], verdicts: &[Verdict]) {
        for (message, verdict) in messages.iter().zip(verdicts) {
            if let Some(heard) = verdict.heard.as_ref().filter(|heard| heard.later.early) {
                let notice = heard.receipt(message.delivery, Instant::now());
                self.receipts.bring(notice.receipt(&self.name)).await;
            }
        }
    }

    /// Hands on what is heard after the answer; waits while too much of it is under way.
    async fn report_later(&self, messages: &[Message], verdicts: &[Verdict]) {
        let answered = Instant::now();
        let mut due = Vec::new();
        for (message, verdict) in messages.iter().zip(verdicts) {
            let Some(heard) = &verdict.heard else { continue };
            if !heard.later.early {
                due.push(heard.receipt(message.delivery, answered));
            }
            due.extend(heard.reaction(message.delivery, answered));
        }
        if !due.is_empty() {
            let notices = || notices::start(self.name.clone(), self.receipts.clone());
            // The task ends only after its last sender, which is here.
            self.notices.get_or_init(notices).send(due).await.ok();
        }
    }
}

impl Verdict {
    fn without_arrival(outcome: Outcome) -> Self {
        Verdict { outcome, arrived: false, heard: None }
    }
}

impl Heard {
    fn receipt(&self, about: DeliveryKey, answered: Instant) -> Notice {
        let detail = self.later.detail.filter(|_| self.later.reaction.is_none());
        Notice { due: answered + self.receipt_after, about, news: self.later.receipt.clone(), detail }
    }

    fn reaction(&self, about: DeliveryKey, answered: Instant) -> Option<Notice> {
        let news = self.later.reaction.clone()?;
        Some(Notice { due: answered + self.reaction_after, about, news, detail: self.later.detail })
    }
}

fn content(message: &Message) -> Option<(Channel, &Content)> {
    let Body::Content(content) = &message.body else { return None };
    let channel = match content {
        Content::Email(_) => Channel::Email,
        Content::Sms(_) => Channel::Sms,
        Content::Wechat(_) => Channel::Wechat,
        Content::Push(_) => Channel::Push,
    };
    Some((channel, content))
}

fn throttled(after: Duration) -> Outcome {
    Outcome::Throttled { after: Some(after), detail: "too many messages: slow down".to_owned() }
}

fn no_answer() -> Outcome {
    Outcome::Unknown { reason: Reason::NoAnswer, detail: "no answer in time".to_owned() }
}

/// A pause of nothing is none: the timer's resolution is a millisecond.
async fn pass(pause: Duration) {
    if !pause.is_zero() {
        sleep(pause).await;
    }
}
