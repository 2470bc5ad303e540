//! The provider: takes messages, refuses, throttles, hangs and cuts as the weather has it, and tells later what became
//! of them: early, late, twice, in any order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use campaignd::model::receipt::{About, Bounce, News};
use campaignd::model::{Channel, Outcome, Reason, Receipt};
use campaignd::provider::{Message, Provider, Repeats, Session};
use tokio::time::{Instant, sleep};

use super::process::Life;
use super::seam::step_aside;
use super::setting::AccountSetting;
use super::stage::Stage;

#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) stage: Arc<Stage>,
    pub(super) life: Life,
    pub(super) account: AccountSetting,
    pub(super) channel: Channel,
    pub(super) chunk: usize,
}

impl Provider for Carrier {
    fn session(&self) -> Box<dyn Session> {
        Box::new(Line {
            stage: self.stage.clone(),
            life: self.life.clone(),
            account: self.account.clone(),
            channel: self.channel,
            open: false,
        })
    }

    fn repeats(&self) -> Repeats {
        self.account.repeats
    }

    fn chunk_size(&self) -> usize {
        self.chunk
    }
}

struct Line {
    stage: Arc<Stage>,
    life: Life,
    account: AccountSetting,
    channel: Channel,
    open: bool,
}

/// What the provider does with one message.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Takes,
    /// Takes it, and its answer comes late or never.
    TakesSilently,
    /// Does not take it, and does not say so either.
    Hangs,
    Rejects,
    Postpones,
    Throttles,
    RefusesCampaign,
    /// The line breaks before this message.
    Cuts,
}

#[async_trait]
impl Session for Line {
    async fn ready(&mut self) -> Result<(), Outcome> {
        self.life.goes_on().await;
        let weather = &self.stage.weather;
        if weather.is_away(self.account.name) {
            self.open = false;
            let reason = Reason::ConnectionFailed;
            return Err(Outcome::Retry { reason, after: None, detail: "away".to_owned() });
        }
        if self.open {
            return Ok(());
        }
        if weather.strikes(weather.climate.moody / 10.0) {
            let after = Some(weather.up_to(Duration::from_secs(3)));
            return Err(Outcome::Throttled { after, detail: "too many connections".to_owned() });
        }
        let dialling = weather.up_to(Duration::from_millis(40));
        sleep(dialling).await;
        self.life.goes_on().await;
        self.open = true;
        Ok(())
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let stage = self.stage.clone();
        stage.note(|| format!("{} sends {} from {}", self.life, messages.len(), messages[0].delivery));
        stage.law.sets_out(&stage, self.life.incarnation(), messages);
        self.life.goes_on().await;
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            if !self.open {
                outcomes.push(cut());
                continue;
            }
            self.may_be_struck().await;
            outcomes.push(self.hand_over(message).await);
        }
        let answering = stage.weather.up_to(Duration::from_millis(30));
        sleep(answering).await;
        self.may_be_struck().await;
        // A provider of ours that breaks its word.
        if stage.weather.strikes(stage.weather.climate.moody / 30.0) {
            let fewer = stage.weather.dice().bool();
            stage.note(|| {
                format!(
                    "{} answers {} than it was asked",
                    self.account.name,
                    if fewer { "less" } else { "more" }
                )
            });
            if fewer { drop(outcomes.pop()) } else { outcomes.push(cut()) }
        }
        outcomes
    }

    async fn close(&mut self) {
        self.open = false;
    }
}

fn cut() -> Outcome {
    Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail: "the line was cut".to_owned() }
}

impl Line {
    /// Daemons die and stand still in the midst of sending more often than chance would have it.
    async fn may_be_struck(&self) {
        let weather = &self.stage.weather;
        if weather.strikes(weather.climate.deadly) {
            if weather.dice().bool() {
                self.stage.note(|| format!("{} dies in the midst of sending", self.life));
                self.life.end();
            } else {
                let time = weather.up_to(Duration::from_secs(30));
                self.stage.note(|| format!("{} is frozen for {time:?} in the midst of sending", self.life));
                self.life.freeze(time);
            }
        }
        self.life.goes_on().await;
    }

    async fn hand_over(&mut self, message: &Message) -> Outcome {
        let (stage, weather) = (&self.stage, &self.stage.weather);
        let mood = self.mood();
        if !matches!(mood, Mood::Takes) {
            stage.note(|| format!("carrier {mood:?} {}", message.delivery));
        }
        if let Mood::Cuts = mood {
            self.open = false;
            return cut();
        }
        message.permit.spend();
        let names = [self.account.name, self.channel.as_str()];
        let mut scopes = names.map(|name| self.life.scope(name)).to_vec();
        scopes.extend(names.map(str::to_owned).into_iter().chain([message.campaign.to_string()]));
        stage.law.departs(stage, &scopes, message.permit.cells());
        let travelling = weather.up_to(Duration::from_millis(10));
        let taken = matches!(mood, Mood::Takes | Mood::TakesSilently);
        if taken {
            if !self.knows(message) {
                stage.law.takes(stage, self.life.incarnation(), message);
                self.tell_later(message);
            }
            // A receipt may be faster than the answer.
            step_aside().await;
        }
        sleep(travelling).await;
        let detail = "words".to_owned();
        match mood {
            Mood::Takes => Outcome::Accepted { provider_ref: Some(message.delivery.to_string()) },
            Mood::TakesSilently | Mood::Hangs => {
                let silence = weather.up_to(Duration::from_secs(20));
                sleep(silence).await;
                self.open = false;
                Outcome::Unknown { reason: Reason::NoAnswer, detail }
            }
            Mood::Rejects => Outcome::Rejected { reason: Reason::PolicyRefused, detail },
            Mood::Postpones => Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail },
            Mood::Throttles => {
                Outcome::Throttled { after: Some(weather.up_to(Duration::from_secs(2))), detail }
            }
            Mood::RefusesCampaign => Outcome::CampaignRefused { detail },
            Mood::Cuts => cut(),
        }
    }

    /// Whether the account took this message before and drops it now.
    fn knows(&self, message: &Message) -> bool {
        let Repeats::Dropped(within) = self.account.repeats else { return false };
        let (key, now) = ((self.account.name, message.delivery), Instant::now());
        let mut keys = self.stage.keys.lock().unwrap();
        let known = keys.get(&key).is_some_and(|first| now.duration_since(*first) < within);
        if !known {
            keys.insert(key, now);
        }
        known
    }

    fn mood(&self) -> Mood {
        let weather = &self.stage.weather;
        if !weather.strikes(weather.climate.moody) {
            return Mood::Takes;
        }
        // Each as often as the others, but for a refusal of the whole campaign, after which it waits for a minute.
        const MOODS: [Mood; 7] = [
            Mood::TakesSilently,
            Mood::Hangs,
            Mood::Rejects,
            Mood::Postpones,
            Mood::Throttles,
            Mood::Cuts,
            Mood::RefusesCampaign,
        ];
        let at = weather.dice().usize(0..MOODS.len() * 3 - 2);
        MOODS[at / 3]
    }

    /// Some receipts about a message, each at its own time, some of them twice.
    fn tell_later(&self, message: &Message) {
        let weather = &self.stage.weather;
        let key = message.delivery;
        let soft = News::Bounced { bounce: Bounce::Soft, reason: Reason::MailboxFull };
        for news in [News::Accepted, News::Delivered, soft] {
            if weather.dice().u8(0..4) != 0 {
                continue;
            }
            let id = Receipt::id(self.account.name, &key.to_string(), news.as_str());
            let about = About::Delivery(key);
            let receipt = Receipt { id, about, at: self.stage.clock.now(), news, detail: None };
            let waits = [Duration::ZERO, Duration::from_secs(3)].map(|longest| weather.up_to(longest));
            let times = weather.dice().usize(1..=2);
            for wait in waits.into_iter().rev().take(times) {
                self.stage.bring(receipt.clone(), wait);
            }
        }
    }
}
