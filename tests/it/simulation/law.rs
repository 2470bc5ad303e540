//! The law of the ledger, checked after every commit against the rows, and against what the provider truly took.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use campaignd::model::{CampaignNo, ContactNo, DeliveryKey, Reason, State};
use campaignd::provider::Message;
use campaignd::store::dispatching::{Recipient, Tick};
use campaignd::store::jobs::Incarnation;
use tokio::time::Instant;

use super::ledger::{Reader, Snapshot};
use super::meter::Meter;
use super::stage::Stage;

#[derive(Debug)]
pub(super) struct Law {
    books: Mutex<Books>,
    /// Messages that a daemon has intended and not settled, at most.
    window: usize,
}

type Verdict = Result<(), String>;

#[derive(Debug)]
struct Books {
    reader: Reader,
    ledger: Snapshot,
    /// Planned, and before its batch's watermark.
    doubtful: HashSet<DeliveryKey>,
    /// How often the provider took a message.
    taken: BTreeMap<DeliveryKey, u32>,
    /// What the store granted last to whoever sends, in the order of grants and unsubscribes.
    granted: HashMap<DeliveryKey, u64>,
    unsubscribed: HashMap<ContactNo, u64>,
    order: u64,
    /// Since when a daemon knows that a campaign has stopped.
    stopped: HashMap<(Incarnation, CampaignNo), Instant>,
    meters: HashMap<String, Vec<Meter>>,
    /// What the tick under way has settled, and must be found so.
    settled: Vec<(DeliveryKey, State)>,
    /// What every list-based campaign must have, once it is planned.
    targeted: HashMap<String, usize>,
    broken: Option<String>,
}

impl Law {
    pub(super) fn new(file: &Path, window: usize) -> Self {
        let books = Books {
            reader: Reader::open(file),
            ledger: Snapshot::default(),
            doubtful: HashSet::new(),
            taken: BTreeMap::new(),
            granted: HashMap::new(),
            unsubscribed: HashMap::new(),
            order: 0,
            stopped: HashMap::new(),
            meters: HashMap::new(),
            settled: Vec::new(),
            targeted: HashMap::new(),
            broken: None,
        };
        Law { books: Mutex::new(books), window }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// The first breach of the law.
    pub(super) fn broken(&self) -> Option<String> {
        self.books().broken.clone()
    }

    pub(super) fn breach(&self, stage: &Stage, what: &str) {
        let mut books = self.books();
        if books.broken.is_none() {
            books.broken = Some(format!("at {}: {what}", stage.time()));
        }
    }

    /// Reads what `after` has committed.
    pub(super) fn check(&self, stage: &Stage, after: &str) {
        let verdict = {
            let mut books = self.books();
            match books.reader.read() {
                Some(now) => books.read(now, stage, self.window, after),
                None => Ok(()),
            }
            .and_then(|()| books.outcomes())
        };
        if let Err(what) = verdict {
            self.breach(stage, &format!("after {after}: {what}"));
        }
    }

    pub(super) fn limit(&self, scope: &str, meters: Vec<Meter>) {
        self.books().meters.insert(scope.to_owned(), meters);
    }

    pub(super) fn target(&self, campaign: &str, recipients: usize) {
        self.books().targeted.insert(campaign.to_owned(), recipients);
    }

    pub(super) fn unsubscribes(&self, contact: ContactNo) {
        let mut books = self.books();
        books.order += 1;
        let order = books.order;
        books.unsubscribed.insert(contact, order);
    }

    /// The store has done a tick.
    pub(super) fn ticks(&self, tick: &Tick, granted: &[Option<Vec<Recipient>>]) {
        let mut books = self.books();
        books.order += 1;
        let order = books.order;
        books.expect(tick);
        for (intent, recipients) in tick.intents.iter().zip(granted) {
            for recipient in recipients.iter().flatten() {
                let key = DeliveryKey {
                    campaign: intent.campaign,
                    contact: recipient.member.contact,
                    occurrence: recipient.member.occurrence,
                };
                match recipient.excluded {
                    None => drop(books.granted.insert(key, order)),
                    Some(_) => drop(books.granted.remove(&key)),
                }
            }
        }
    }

    /// A daemon has learnt that campaigns have stopped.
    pub(super) fn sees_stopped(&self, who: Incarnation, campaigns: &[CampaignNo], now: i64) {
        let mut books = self.books();
        for campaign in campaigns {
            if books.has_stopped(*campaign, now) {
                books.stopped.entry((who, *campaign)).or_insert_with(Instant::now);
            }
        }
    }

    /// A daemon begins to hand messages over.
    pub(super) fn sets_out(&self, stage: &Stage, who: Incarnation, messages: &[Message]) {
        let books = self.books();
        let late = messages.iter().find(|message| {
            let since = books.stopped.get(&(who, message.delivery.campaign));
            since.is_some_and(|since| !since.elapsed().is_zero())
        });
        let late =
            late.map(|message| format!("{} goes out after its campaign's stop was seen", message.delivery));
        drop(books);
        if let Some(late) = late {
            self.breach(stage, &late);
        }
    }

    /// A message's first byte left.
    pub(super) fn departs(&self, stage: &Stage, scopes: &[&str]) {
        let mut books = self.books();
        let over = scopes.iter().find(|scope| {
            let meters = books.meters.get_mut(**scope).into_iter().flatten();
            // Each of them counts the message.
            meters.map(|meter| meter.admits(Instant::now())).filter(|admits| !admits).count() > 0
        });
        drop(books);
        if let Some(scope) = over {
            self.breach(stage, &format!("{scope} is over its rate"));
        }
    }

    /// The provider took a message.
    pub(super) fn takes(&self, stage: &Stage, message: &Message) {
        let key = message.delivery;
        let verdict = self.books().take(key);
        if let Err(what) = verdict {
            self.breach(stage, &format!("the provider took {key}, {what}"));
        }
    }

    /// What is not settled yet, for the end.
    pub(super) fn open(&self) -> Vec<String> {
        let books = self.books();
        let campaigns = books.ledger.campaigns.values();
        let open = campaigns.filter(|campaign| !campaign.finished && !campaign.standing);
        let waiting = books.ledger.deliveries.iter().filter(|(_, row)| row.state == State::Planned);
        let open = open.map(|campaign| format!("campaign {}", campaign.id));
        open.chain(waiting.map(|(key, row)| format!("delivery {key} in batch {:?}", row.batch))).collect()
    }

    /// A daemon that has drained leaves no lease behind.
    pub(super) fn holds_nothing(&self, stage: &Stage, who: Incarnation) {
        let books = self.books();
        let held = books.ledger.batches.iter().find(|batch| batch.owner == Some(who.0));
        let held = held.map(|batch| format!("daemon {} has drained and holds batch {}", who.0, batch.number));
        drop(books);
        if let Some(held) = held {
            self.breach(stage, &held);
        }
    }

    pub(super) fn is_paused(&self, id: &str) -> bool {
        self.books()
            .ledger
            .campaigns
            .values()
            .any(|campaign| campaign.id == id && campaign.paused && !campaign.finished)
    }

    /// What the ledger knows.
    pub(super) fn deliveries(&self) -> Vec<(DeliveryKey, State)> {
        self.books().ledger.deliveries.iter().map(|(key, row)| (*key, row.state)).collect()
    }

    pub(super) fn taken(&self) -> usize {
        self.books().taken.len()
    }
}

impl Books {
    fn has_stopped(&self, campaign: CampaignNo, now: i64) -> bool {
        self.ledger.campaigns.get(&campaign).is_none_or(|campaign| {
            campaign.paused || campaign.cancelled || campaign.expires_at.is_some_and(|at| at <= now)
        })
    }

    /// Outcomes that the state machine lets in, as the rows stood before the tick.
    fn expect(&mut self, tick: &Tick) {
        let rows = &self.ledger.deliveries;
        let welcome = tick.settled.iter().filter(|one| {
            rows.get(&one.delivery).is_some_and(|row| {
                row.batch == Some(one.batch.0) && one.state.predecessors().contains(&row.state)
            })
        });
        self.settled = welcome.map(|one| (one.delivery, one.state)).collect();
    }

    /// An outcome that was written is there.
    fn outcomes(&mut self) -> Verdict {
        for (key, state) in std::mem::take(&mut self.settled) {
            let row = self.ledger.deliveries.get(&key);
            if row.is_none_or(|row| row.state != state) {
                return Err(format!("{key} was recorded as {state} and is {row:?}"));
            }
        }
        Ok(())
    }

    fn read(&mut self, now: Snapshot, stage: &Stage, window: usize, after: &str) -> Verdict {
        let before = std::mem::replace(&mut self.ledger, now);
        let at = stage.clock.now().as_microsecond();
        let stopped: Vec<_> =
            self.stopped.keys().copied().filter(|(_, campaign)| !self.has_stopped(*campaign, at)).collect();
        for resumed in stopped {
            self.stopped.remove(&resumed);
        }
        self.moves(&before, window, after)?;
        self.counts()?;
        self.batches(window)?;
        self.campaigns(&before)?;
        self.provider()
    }

    /// Rows move as the state machine allows, none vanishes, and a crash puts no more than a window in doubt.
    fn moves(&self, before: &Snapshot, window: usize, after: &str) -> Verdict {
        let mut crashed = 0;
        for (key, was) in &before.deliveries {
            let Some(is) = self.ledger.deliveries.get(key) else { return Err(format!("{key} vanished")) };
            if is.state == was.state {
                continue;
            }
            if !is.state.predecessors().contains(&was.state) {
                return Err(format!("{key} went from {} to {}", was.state, is.state));
            }
            if (is.state, is.reason) == (State::Unknown, Some(Reason::Crash)) {
                crashed += 1;
            }
        }
        match crashed {
            0 => Ok(()),
            n if after == "rescue" && n <= window => Ok(()),
            n => Err(format!("{n} deliveries became unknown at once; the window is {window}")),
        }
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
    fn batches(&mut self, window: usize) -> Verdict {
        let mut waiting = BTreeSet::new();
        let mut doubts: HashMap<Option<i64>, usize> = HashMap::new();
        let mut doubtful = HashSet::new();
        for batch in &self.ledger.batches {
            for key in batch.members.iter().take(batch.size).skip(batch.watermark) {
                let row = self.ledger.deliveries.get(key);
                if row.is_none_or(|row| row.state != State::Planned || row.batch != Some(batch.number)) {
                    return Err(format!("{key} waits in batch {} and is {row:?}", batch.number));
                }
                waiting.insert(*key);
            }
            let before = doubtful.len();
            doubtful.extend(self.ledger.doubtful(batch));
            *doubts.entry(batch.owner).or_default() += doubtful.len() - before;
        }
        let lost = self.ledger.deliveries.iter().find(|(key, row)| {
            row.state == State::Planned && !waiting.contains(key) && !doubtful.contains(key)
        });
        if let Some((key, row)) = lost {
            return Err(format!("{key} is planned and waits nowhere: {row:?}"));
        }
        self.doubtful = doubtful;
        for (owner, n) in doubts.into_iter().filter(|(_, n)| *n > 0) {
            match owner {
                None => return Err(format!("{n} are in doubt without an owner")),
                Some(owner) if n > window => {
                    return Err(format!("{n} are in doubt at daemon {owner}; the window is {window}"));
                }
                Some(_) => {}
            }
        }
        Ok(())
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

    fn may_be_taken(&self, key: DeliveryKey) -> Verdict {
        match self.ledger.deliveries.get(&key) {
            Some(row) if row.state.is_sent() || row.state == State::Unknown => Ok(()),
            Some(row) if row.state == State::Planned && self.doubtful.contains(&key) => Ok(()),
            row => Err(format!("{key} was taken and is booked as {row:?}")),
        }
    }

    fn take(&mut self, key: DeliveryKey) -> Verdict {
        let times = self.taken.entry(key).or_default();
        *times += 1;
        if *times > 1 {
            return Err("which it had before".to_owned());
        }
        let Some(granted) = self.granted.get(&key) else { return Err("which was not granted".to_owned()) };
        let marketing = self.ledger.campaigns.get(&key.campaign).is_some_and(|campaign| !campaign.standing);
        if marketing && self.unsubscribed.get(&key.contact).is_some_and(|since| since < granted) {
            return Err("granted after its contact had unsubscribed".to_owned());
        }
        self.may_be_taken(key)
    }
}
