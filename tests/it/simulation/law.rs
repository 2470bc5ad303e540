//! The law of the ledger, checked after every commit against the rows, and against what the provider truly took.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use campaignd::model::{CampaignNo, DeliveryKey, State};
use campaignd::provider::Message;
use campaignd::store::dispatching::{HEARTBEAT_TIMEOUT, Intent, Outcomes, Recipient};
use campaignd::store::jobs::Incarnation;
use tokio::time::Instant;

use super::books::Books;
use super::ledger::Reader;
use super::meter::Meter;
use super::setting::Setting;
use super::stage::Stage;

#[derive(Debug)]
pub(super) struct Law {
    books: Mutex<Books>,
}

impl Law {
    pub(super) fn new(file: &Path, setting: Arc<Setting>) -> Self {
        Law { books: Mutex::new(Books::new(setting, Reader::open(file))) }
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
                Some(now) => books.read(now, stage, after),
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

    /// A daemon starts its limits drained; what a message of more cells than the burst still owed is not known to it.
    pub(super) fn starts(&self) {
        self.books().meters.values_mut().flatten().for_each(Meter::forget_debt);
    }

    pub(super) fn target(&self, campaign: &str, recipients: usize) {
        self.books().targeted.insert(campaign.to_owned(), recipients);
    }

    /// The contact of a delivery has enough of its channel.
    pub(super) fn unsubscribes(&self, key: DeliveryKey) {
        self.books().unsubscribes(key);
    }

    /// The store has recorded outcomes.
    pub(super) fn records(&self, outcomes: &Outcomes) {
        self.books().expect(outcomes);
    }

    /// The store has answered intents.
    pub(super) fn grants(
        &self,
        stage: &Stage,
        me: Incarnation,
        intents: &[Intent],
        granted: &[Option<Vec<Recipient>>],
    ) {
        let verdict = self.books().grant(me, intents, granted);
        if let Err(what) = verdict {
            self.breach(stage, &what);
        }
    }

    /// The store has confirmed a beat that was `asked` for.
    pub(super) fn beats(&self, who: Incarnation, asked: Instant) {
        self.books().beaten.insert(who, asked);
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
        let age = books.beaten.get(&who).map_or(Duration::MAX, Instant::elapsed);
        drop(books);
        let old = (age >= HEARTBEAT_TIMEOUT / 2).then(|| format!("{who:?} sends on a heartbeat of {age:?}"));
        if let Some(what) = late.or(old) {
            self.breach(stage, &what);
        }
    }

    /// A message's first byte left.
    pub(super) fn departs(&self, stage: &Stage, scopes: &[String], cells: u32) {
        let mut books = self.books();
        let over = scopes.iter().find(|scope| {
            let meters = books.meters.get_mut(*scope).into_iter().flatten();
            // Each of them counts the message.
            meters.map(|meter| meter.admits(cells, Instant::now())).filter(|admits| !admits).count() > 0
        });
        drop(books);
        if let Some(scope) = over {
            self.breach(stage, &format!("{scope} is over its rate"));
        }
    }

    /// The provider took a message of this daemon's.
    pub(super) fn takes(&self, stage: &Stage, who: Incarnation, message: &Message) {
        let key = message.delivery;
        let verdict = self.books().take(who, key);
        if let Err(what) = verdict {
            self.breach(stage, &format!("the provider took {key}, {what}"));
        }
    }

    /// Deliveries that certainly never left.
    pub(super) fn never_left(&self) -> Vec<DeliveryKey> {
        self.books().never_left().collect()
    }

    /// Nobody is left in doubt who could have been sent to again.
    pub(super) fn resolves_doubts(&self, stage: &Stage) {
        let left =
            self.books().left_in_doubt().next().map(|(key, row)| format!("{key} is left in doubt: {row:?}"));
        if let Some(left) = left {
            self.breach(stage, &left);
        }
    }

    /// What is not settled yet, for the end.
    pub(super) fn open(&self) -> Vec<String> {
        let books = self.books();
        let campaigns = books.ledger.campaigns.values();
        let open = campaigns.filter(|campaign| !campaign.finished && !campaign.standing);
        let waiting = books.ledger.deliveries.iter().filter(|(_, row)| row.state == State::Planned);
        let open = open.map(|campaign| format!("campaign {}", campaign.id));
        let batches = books.ledger.batches.iter().map(|(number, batch)| format!("batch {number}: {batch:?}"));
        let waiting = waiting.map(|(key, row)| format!("delivery {key} in batch {:?}", row.batch));
        open.chain(waiting).chain(batches).collect()
    }

    /// A daemon that has drained leaves no lease behind.
    pub(super) fn holds_nothing(&self, stage: &Stage, who: Incarnation) {
        let books = self.books();
        let held = books.ledger.batches.iter().find(|(_, batch)| batch.owner == Some(who.0));
        let held = held.map(|(number, _)| format!("daemon {} has drained and holds batch {number}", who.0));
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

    /// Deliveries that the provider took, and how often it took one again.
    pub(super) fn taken(&self) -> (usize, usize) {
        let taken = &self.books().taken;
        (taken.len(), taken.values().map(|times| *times as usize - 1).sum())
    }
}
