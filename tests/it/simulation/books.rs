//! What the law knows: the ledger's rows as they stand, what the provider truly took, and how both may move.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use campaignd::model::{CampaignNo, Channel, ContactNo, DeliveryKey, Reason, State};
use campaignd::store::dispatching::{Intent, Outcomes, Recipient};
use campaignd::store::jobs::Incarnation;
use tokio::time::Instant;

use super::ledger::{Delivery, Reader, Snapshot};
use super::meter::Meter;
use super::setting::{ATTEMPTS, Setting};
use super::stage::Stage;

pub(super) type Verdict = Result<(), String>;

#[derive(Debug)]
pub(super) struct Books {
    pub(super) setting: Arc<Setting>,
    pub(super) reader: Reader,
    pub(super) ledger: Snapshot,
    /// The provider may have them: planned, and before their batch's watermark or waiting to be sent again.
    doubtful: HashSet<DeliveryKey>,
    /// How often the provider took a message.
    pub(super) taken: BTreeMap<DeliveryKey, u32>,
    /// How often a doubt gave leave to send a message again, and how often one that may come twice.
    doubted: HashMap<DeliveryKey, u32>,
    may_double: HashMap<DeliveryKey, u32>,
    /// What the store granted last to a daemon, in the order of grants and unsubscribes.
    granted: HashMap<(Incarnation, DeliveryKey), u64>,
    unsubscribed: HashMap<(ContactNo, Channel), u64>,
    order: u64,
    /// Since when a daemon knows that a campaign has stopped.
    pub(super) stopped: HashMap<(Incarnation, CampaignNo), Instant>,
    /// When the last beat was asked for that the store confirmed.
    pub(super) beaten: HashMap<Incarnation, Instant>,
    pub(super) meters: HashMap<String, Vec<Meter>>,
    /// What the commit under way has settled, and must be found so.
    settled: Vec<(DeliveryKey, State)>,
    /// What the commit under way makes wait again because no answer came.
    unanswered: HashSet<DeliveryKey>,
    /// What every list-based campaign must have, once it is planned.
    pub(super) targeted: HashMap<String, usize>,
    pub(super) broken: Option<String>,
}

impl Books {
    pub(super) fn new(setting: Arc<Setting>, reader: Reader) -> Self {
        Books {
            setting,
            reader,
            ledger: Snapshot::default(),
            doubtful: HashSet::new(),
            taken: BTreeMap::new(),
            doubted: HashMap::new(),
            may_double: HashMap::new(),
            granted: HashMap::new(),
            unsubscribed: HashMap::new(),
            order: 0,
            stopped: HashMap::new(),
            beaten: HashMap::new(),
            meters: HashMap::new(),
            settled: Vec::new(),
            unanswered: HashSet::new(),
            targeted: HashMap::new(),
            broken: None,
        }
    }

    fn next(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    pub(super) fn unsubscribes(&mut self, key: DeliveryKey) {
        let order = self.next();
        if let Some(channel) = self.ledger.channel(key.campaign) {
            self.unsubscribed.insert((key.contact, channel), order);
        }
    }

    /// # Errors
    /// When something was granted that waits no more.
    pub(super) fn grant(
        &mut self,
        me: Incarnation,
        intents: &[Intent],
        granted: &[Option<Vec<Recipient>>],
    ) -> Verdict {
        let order = self.next();
        for (intent, recipients) in intents.iter().zip(granted) {
            for recipient in recipients.iter().flatten() {
                let key = DeliveryKey {
                    campaign: intent.campaign,
                    contact: recipient.member.contact,
                    occurrence: recipient.member.occurrence,
                };
                let row = self.ledger.deliveries.get(&key);
                if row.is_none_or(|row| (row.state, row.batch) != (State::Planned, Some(intent.batch.0))) {
                    return Err(format!("{key} was granted and was {row:?}"));
                }
                match recipient.excluded {
                    None => drop(self.granted.insert((me, key), order)),
                    Some(_) => drop(self.granted.remove(&(me, key))),
                }
            }
        }
        Ok(())
    }

    pub(super) fn has_stopped(&self, campaign: CampaignNo, now: i64) -> bool {
        self.ledger.campaigns.get(&campaign).is_none_or(|campaign| {
            campaign.paused || campaign.cancelled || campaign.expires_at.is_some_and(|at| at <= now)
        })
    }

    /// Outcomes that the state machine lets in, as the rows stood before their commit.
    pub(super) fn expect(&mut self, outcomes: &Outcomes) {
        let rows = &self.ledger.deliveries;
        let welcome = outcomes.settled.iter().filter(|one| {
            rows.get(&one.delivery).is_some_and(|row| {
                row.batch == Some(one.batch.0) && one.state.predecessors().contains(&row.state)
            })
        });
        self.settled = welcome.map(|one| (one.delivery, one.state)).collect();
        let unanswered = outcomes
            .rescheduled
            .iter()
            .filter(|one| one.attempt.as_ref().is_some_and(|attempt| attempt.reason == Reason::NoAnswer));
        self.unanswered = unanswered.map(campaignd::store::dispatching::Rescheduled::delivery).collect();
    }

    /// An outcome that was written is there.
    pub(super) fn outcomes(&mut self) -> Verdict {
        self.unanswered.clear();
        for (key, state) in std::mem::take(&mut self.settled) {
            let row = self.ledger.deliveries.get(&key);
            if row.is_none_or(|row| row.state != state) {
                return Err(format!("{key} was recorded as {state} and is {row:?}"));
            }
        }
        Ok(())
    }

    pub(super) fn read(&mut self, now: Snapshot, stage: &Stage, after: &str) -> Verdict {
        let before = std::mem::replace(&mut self.ledger, now);
        let at = stage.clock.now().as_microsecond();
        let stopped: Vec<_> =
            self.stopped.keys().copied().filter(|(_, campaign)| !self.has_stopped(*campaign, at)).collect();
        for resumed in stopped {
            self.stopped.remove(&resumed);
        }
        self.moves(&before, after)?;
        self.counts()?;
        self.batches()?;
        self.campaigns(&before)?;
        self.provider()
    }

    /// Rows move as the state machine allows, none vanishes, and a crash puts no more than a window in doubt.
    fn moves(&mut self, before: &Snapshot, after: &str) -> Verdict {
        let mut crashed: BTreeMap<Option<Channel>, usize> = BTreeMap::new();
        for (key, was) in &before.deliveries {
            let Some(is) = self.ledger.deliveries.get(key).copied() else {
                return Err(format!("{key} vanished"));
            };
            if is.state == was.state {
                let moved = is.state == State::Planned && is.batch != was.batch;
                if moved && after != "record" && self.doubts_again(*key, is) {
                    *crashed.entry(self.ledger.channel(key.campaign)).or_default() += 1;
                } else if moved && self.unanswered.contains(key) {
                    self.doubts_again(*key, is);
                }
                continue;
            }
            if !is.state.predecessors().contains(&was.state) {
                return Err(format!("{key} went from {} to {}", was.state, is.state));
            }
            if after != "record" && (is.state, is.reason) == (State::Unknown, Some(Reason::Crash)) {
                *crashed.entry(self.ledger.channel(key.campaign)).or_default() += 1;
            }
        }
        let window = self.setting.window;
        match crashed.into_values().max() {
            None => Ok(()),
            // What is waiting to be sent again stays in doubt where its campaign ends.
            Some(_) if after == "settle_stopped" => Ok(()),
            Some(n) if after == "rescue" && n <= window => Ok(()),
            Some(n) => Err(format!("a crash put {n} deliveries in doubt; the window is {window}")),
        }
    }

    /// A delivery has moved to another batch; whether with leave to be sent although it may have been.
    fn doubts_again(&mut self, key: DeliveryKey, is: Delivery) -> bool {
        let batch = is.batch.and_then(|number| self.ledger.batches.get(&number));
        let Some(batch) = batch.filter(|batch| batch.doubted) else { return false };
        *self.doubted.entry(key).or_default() += 1;
        if batch.resend_provider.as_deref().is_none_or(|name| !self.setting.drops_repeats(name)) {
            *self.may_double.entry(key).or_default() += 1;
        }
        true
    }

    /// targeted = sum of states: rows and counters say the same.
    fn counts(&self) -> Verdict {
        let mut rows: BTreeMap<(CampaignNo, State, i16), i64> = BTreeMap::new();
        for (key, row) in &self.ledger.deliveries {
            *rows.entry((key.campaign, row.state, row.reason.map_or(0, Reason::code))).or_default() += 1;
        }
        match rows == self.ledger.counted {
            true => Ok(()),
            false => Err(format!("the rows are {rows:?} and the counters {:?}", self.ledger.counted)),
        }
    }

    /// Whoever waits, waits in exactly one batch; whoever is in doubt has an owner, and not too many have the same.
    fn batches(&mut self) -> Verdict {
        let mut waiting = BTreeSet::new();
        let mut doubts: HashMap<(Option<i64>, Option<Channel>), usize> = HashMap::new();
        let mut doubtful = HashSet::new();
        for (number, batch) in &self.ledger.batches {
            for key in batch.members.iter().take(batch.size).skip(batch.watermark) {
                let row = self.ledger.deliveries.get(key);
                let here = row.filter(|row| row.state == State::Planned && row.batch == Some(*number));
                // What is sent again may have been told of meanwhile; it is left out when it is intended.
                if here.is_none() && !(batch.doubted && row.is_some_and(|row| row.state != State::Planned)) {
                    return Err(format!("{key} waits in batch {number} and is {row:?}"));
                }
                if here.is_some() {
                    waiting.insert(*key);
                }
            }
            let before = doubtful.len();
            doubtful.extend(self.ledger.doubtful(*number, batch));
            let channel = batch.members.first().and_then(|key| self.ledger.channel(key.campaign));
            *doubts.entry((batch.owner, channel)).or_default() += doubtful.len() - before;
        }
        let lost = self.ledger.deliveries.iter().find(|(key, row)| {
            row.state == State::Planned && !waiting.contains(key) && !doubtful.contains(key)
        });
        if let Some((key, row)) = lost {
            return Err(format!("{key} is planned and waits nowhere: {row:?}"));
        }
        let again = self.ledger.batches.values().filter(|batch| batch.doubted);
        doubtful.extend(again.flat_map(|batch| &batch.members).filter(|key| waiting.contains(key)));
        self.doubtful = doubtful;
        let window = self.setting.window;
        match doubts.into_iter().find(|((owner, _), n)| *n > if owner.is_some() { window } else { 0 }) {
            None => Ok(()),
            Some(((owner, _), n)) => {
                Err(format!("{n} are in doubt at daemon {owner:?}; the window is {window}"))
            }
        }
    }

    /// A campaign that is planned has everyone it was given; one that is finished has nobody on the way, and stays so.
    fn campaigns(&self, before: &Snapshot) -> Verdict {
        for (number, campaign) in &self.ledger.campaigns {
            let rows = || self.ledger.deliveries.iter().filter(|(key, _)| key.campaign == *number);
            let newly_planned =
                campaign.planned && before.campaigns.get(number).is_none_or(|was| !was.planned);
            if let Some(targeted) = self.targeted.get(&campaign.id).filter(|_| newly_planned)
                && rows().count() != *targeted
            {
                return Err(format!(
                    "{} of {targeted} recipients of {} are planned",
                    rows().count(),
                    campaign.id
                ));
            }
            if campaign.finished && rows().any(|(_, row)| row.state == State::Planned) {
                return Err(format!("{} is finished, and somebody waits", campaign.id));
            }
            if !campaign.finished && before.campaigns.get(number).is_some_and(|was| was.finished) {
                return Err(format!("{} was finished and is not any more", campaign.id));
            }
        }
        Ok(())
    }

    /// What was taken is never booked as not sent, and what is booked as sent was taken.
    fn provider(&self) -> Verdict {
        for key in self.taken.keys() {
            self.may_be_taken(*key)?;
        }
        let sent = self.ledger.deliveries.iter().filter(|(_, row)| row.state.is_sent());
        for (key, row) in sent {
            if !self.taken.contains_key(key) {
                return Err(format!("{key} is {} and the provider never took it", row.state));
            }
        }
        Ok(())
    }

    /// After a doubt the provider may refuse what it took before, and its last word stands.
    fn may_be_taken(&self, key: DeliveryKey) -> Verdict {
        match self.ledger.deliveries.get(&key) {
            Some(row) if row.state.is_sent() || row.state == State::Unknown => Ok(()),
            Some(row) if row.state == State::Planned && self.doubtful.contains(&key) => Ok(()),
            Some(row) if row.state == State::Rejected && self.doubted.contains_key(&key) => Ok(()),
            row => Err(format!("{key} was taken and is booked as {row:?}")),
        }
    }

    pub(super) fn take(&mut self, who: Incarnation, key: DeliveryKey) -> Verdict {
        let times = self.taken.entry(key).or_default();
        *times += 1;
        if *times > 1 + self.may_double.get(&key).copied().unwrap_or_default() {
            return Err(format!("for the {times}. time, with no doubt that allows it"));
        }
        let Some(granted) = self.granted.get(&(who, key)) else {
            return Err("which was not granted".to_owned());
        };
        let campaign = self.ledger.campaigns.get(&key.campaign);
        let marketing = campaign.filter(|campaign| !campaign.standing);
        let unsubscribed =
            marketing.and_then(|campaign| self.unsubscribed.get(&(key.contact, campaign.channel)));
        if unsubscribed.is_some_and(|since| since < granted) {
            return Err("granted after its contact had unsubscribed".to_owned());
        }
        self.may_be_taken(key)
    }

    /// Deliveries of which the provider never heard, and that no crash and no silence has put in doubt.
    pub(super) fn never_left(&self) -> impl Iterator<Item = DeliveryKey> {
        let rows = self.ledger.deliveries.iter().filter(|(key, row)| {
            let doubt = row.state == State::Unknown || self.doubtful.contains(key);
            !doubt && !self.doubted.contains_key(key) && !self.taken.contains_key(key)
        });
        rows.map(|(key, _)| *key)
    }

    /// Those left in doubt where every doubt is sent again, though neither the schedule nor the campaign nor their contact
    /// put an end to it.
    pub(super) fn left_in_doubt(&self) -> impl Iterator<Item = (&DeliveryKey, &Delivery)> {
        self.ledger.deliveries.iter().filter(|(key, row)| {
            let Some(campaign) = self.ledger.campaigns.get(&key.campaign) else { return true };
            let cut_short = campaign.cancelled || campaign.expires_at.is_some();
            let opted_out = self.unsubscribed.contains_key(&(key.contact, campaign.channel));
            let sent_again = self
                .setting
                .channel(campaign.channel)
                .is_some_and(|channel| channel.always_sends_again(campaign.provider.as_deref()));
            let over = cut_short || opted_out || row.attempts >= ATTEMPTS;
            row.state == State::Unknown && sent_again && !over
        })
    }
}
