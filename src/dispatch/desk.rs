//! The desk of a lane: rendered messages wait here, workers ask here, and only here limits are taken from.
//!
//! One task, so that permits go in a fair order: lanes by rank, campaigns of a lane in turn, accounts by weight.
//! It looks at every scope before it takes from any, because a permit cannot be given back. What other daemons share it
//! asks for ahead of need, and deals what it has.

mod asking;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::ledger::Ledger;
use super::limit::Limiter;
use super::prepared::Prepared;
use super::supply::Supply;
use super::{LaneConfig, Limit};
use crate::backoff::Schedule;
use crate::clock::Clock;
use crate::lifecycle::Shutdown;
use crate::model::{CampaignNo, Channel, Lane};
use crate::provider::{Departures, Permit};
use crate::store::Error;
use crate::telemetry::Metrics;

/// A message that waits longer than this is judged again before it is sent.
pub(super) const STALE: Duration = Duration::from_secs(10);
const SWEEP: Duration = Duration::from_secs(1);
/// Between two looks at a limit that lets nothing through.
const LEAST_WAIT: Duration = Duration::from_micros(100);

/// What the desk is told.
#[derive(Debug)]
pub(super) enum Note {
    /// Messages of one campaign and lane, in order.
    Ready(Vec<Prepared>),
    /// A worker of the account with this position is ready.
    Pull { account: usize, appetite: Appetite, reply: oneshot::Sender<Vec<Prepared>> },
    /// All campaigns that must not send, until the next such note.
    Stop(Vec<CampaignNo>),
    /// Changed rates: the channel's, and the accounts' by name.
    Limits { channel: Limit, accounts: HashMap<String, Limit> },
}

/// How many messages a worker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Appetite {
    /// So few are sent so quickly that they are not worth another session's trouble.
    pub(super) least: u32,
    pub(super) most: u32,
}

#[derive(Debug)]
pub(super) struct Desk {
    name: Channel,
    notes: mpsc::Receiver<Note>,
    channel: Limiter,
    accounts: Vec<Counter>,
    /// Campaigns with messages that wait, by lane, next one first.
    turns: BTreeMap<Lane, VecDeque<CampaignNo>>,
    queues: HashMap<(CampaignNo, Lane), VecDeque<Prepared>>,
    campaigns: HashMap<CampaignNo, Limiter>,
    /// Campaigns that must not send, and when that was said last.
    stopped: HashMap<CampaignNo, Instant>,
    supply: Supply,
    ledger: Ledger,
    retry: Schedule,
    metrics: Arc<Metrics>,
    clock: Clock,
    shutdown: Shutdown,
}

/// Whose messages go next, and how many.
struct Turn {
    lane: Lane,
    /// Position among the lane's campaigns.
    place: usize,
    campaign: CampaignNo,
    messages: usize,
    cells: u32,
}

/// What one scope lets through at this moment.
#[derive(Clone, Copy)]
struct Room<'l> {
    limiter: &'l Limiter,
    available: u32,
    /// Cells that may go to one session at a time.
    chunk: u32,
}

impl<'l> Room<'l> {
    fn of(limiter: &'l Limiter) -> Self {
        Room { limiter, available: limiter.available(), chunk: limiter.chunk() }
    }

    /// Whether a message of `cells` may go behind those that are `taken`.
    fn admits(&self, taken: u32, cells: u32) -> bool {
        match taken {
            0 => self.available >= self.limiter.needed(cells),
            _ => taken.saturating_add(cells) <= self.available.min(self.chunk),
        }
    }
}

/// One account's place at the desk.
#[derive(Debug)]
struct Counter {
    name: Arc<str>,
    /// The only app whose addresses it reaches.
    app: Option<Arc<str>>,
    limiter: Limiter,
    /// 0 for an account that carries only what names it.
    weight: i64,
    /// Smooth weighted round robin: grows by the weight, shrinks by the total when chosen.
    credit: i64,
    chunk: usize,
    /// The worker that asked last is served first, so that idle connections can close.
    workers: Vec<(Appetite, oneshot::Sender<Vec<Prepared>>)>,
    /// When one asked last.
    asked: Option<Instant>,
    /// How many workers the account has in all.
    crew: usize,
    hungry: Arc<Notify>,
}

impl Counter {
    /// Whether the message may go through this account: it names it or no other, and its address is of its app.
    fn carries(&self, message: &Prepared) -> bool {
        let chosen = message.provider().map_or(self.weight > 0, |named| named == &*self.name);
        chosen && self.app.as_deref().is_none_or(|app| app == message.app)
    }

    /// Of the worker that is served next.
    fn appetite(&self) -> (usize, usize) {
        self.workers
            .last()
            .map_or((1, usize::MAX), |(worker, _)| (worker.least as usize, worker.most as usize))
    }
}

impl Desk {
    /// `hungry` wakes one more worker of the account with the same position.
    pub(super) fn new(
        config: &LaneConfig,
        hungry: &[Arc<Notify>],
        notes: mpsc::Receiver<Note>,
        lane: &super::Lane,
    ) -> Self {
        let supply = Supply::new(lane.store.clone());
        let accounts = config.accounts.iter().zip(hungry).map(|(account, hungry)| Counter {
            name: account.name.clone(),
            app: account.app.clone(),
            limiter: supply.limiter(&account.limit, &format!("provider:{}", account.name)),
            weight: account.weight.map_or(0, |weight| i64::from(weight.get())),
            credit: 0,
            chunk: account.provider.chunk_size(),
            workers: Vec::new(),
            asked: None,
            crew: config.concurrency.div_ceil(config.accounts.len().max(1)),
            hungry: hungry.clone(),
        });
        show_limit(&lane.metrics, "channel", config.channel.as_str(), &config.limit);
        for account in &config.accounts {
            show_limit(&lane.metrics, "provider", &account.name, &account.limit);
        }
        Desk {
            name: config.channel,
            notes,
            channel: supply.limiter(&config.limit, &format!("channel:{}", config.channel)),
            accounts: accounts.collect(),
            turns: BTreeMap::new(),
            queues: HashMap::new(),
            campaigns: HashMap::new(),
            stopped: HashMap::new(),
            supply,
            ledger: lane.ledger.clone(),
            retry: config.retry.clone(),
            metrics: lane.metrics.clone(),
            clock: lane.clock.clone(),
            shutdown: lane.shutdown.clone(),
        }
    }

    /// Deals until the lane stops; then hands back what still waits.
    ///
    /// # Errors
    /// When the store refuses.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        let mut swept = Instant::now();
        loop {
            let wait = self.deal().min(self.ask());
            let wake = Instant::now() + wait.min(SWEEP);
            tokio::select! {
                () = self.shutdown.asked() => break,
                note = self.notes.recv() => match note {
                    Some(note) => self.take(note).await,
                    None => break,
                },
                answered = self.supply.answered() => answered?,
                () = sleep_until(wake) => {}
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep().await;
            }
        }
        self.notes.close();
        while let Some(note) = self.notes.recv().await {
            if let Note::Ready(ready) = note {
                self.ledger.hand_back(&self.retry, self.clock.now(), ready).await;
            }
        }
        let waiting: Vec<Prepared> = self.queues.drain().flat_map(|(_, queue)| queue).collect();
        self.ledger.hand_back(&self.retry, self.clock.now(), waiting).await;
        Ok(())
    }

    async fn take(&mut self, note: Note) {
        match note {
            Note::Ready(ready) if self.is_stopped(&ready) => {
                self.ledger.hand_back(&self.retry, self.clock.now(), ready).await;
            }
            Note::Ready(ready) => self.enqueue(ready),
            Note::Pull { account, appetite, reply } => {
                if let Some(counter) = self.accounts.get_mut(account) {
                    counter.workers.push((appetite, reply));
                    counter.asked = Some(Instant::now());
                }
            }
            Note::Stop(campaigns) => {
                let stopped: Vec<_> =
                    self.queues.keys().copied().filter(|(no, _)| campaigns.contains(no)).collect();
                for key in stopped {
                    let waiting = self.queues.remove(&key).into_iter().flatten().collect();
                    self.ledger.hand_back(&self.retry, self.clock.now(), waiting).await;
                }
                let now = Instant::now();
                self.stopped = campaigns.into_iter().map(|campaign| (campaign, now)).collect();
            }
            Note::Limits { channel, accounts } => self.change(&channel, &accounts),
        }
    }

    /// Limits that stay as they are go on: a new one starts drained.
    fn change(&mut self, channel: &Limit, accounts: &HashMap<String, Limit>) {
        if self.channel.limit() != channel {
            self.channel = self.supply.limiter(channel, &format!("channel:{}", self.name));
        }
        for counter in &mut self.accounts {
            let Some(limit) = accounts.get(&*counter.name) else { continue };
            if counter.limiter.limit() != limit {
                counter.limiter = self.supply.limiter(limit, &format!("provider:{}", counter.name));
            }
            show_limit(&self.metrics, "provider", &counter.name, limit);
        }
        show_limit(&self.metrics, "channel", self.name.as_str(), channel);
    }

    /// Whether the intent was asked for before the stop, and its grant heard of after it.
    fn is_stopped(&self, ready: &[Prepared]) -> bool {
        ready.first().is_some_and(|first| {
            self.stopped.get(&first.key.campaign).is_some_and(|since| first.asked <= *since)
        })
    }

    fn enqueue(&mut self, ready: Vec<Prepared>) {
        let Some(first) = ready.first() else { return };
        let key = (first.key.campaign, first.held.lease.lane);
        let sending = &first.campaign.sending;
        self.campaigns.entry(key.0).or_insert_with(|| {
            let burst = sending.burst.and_then(std::num::NonZeroU32::new);
            let limit = Limit { rates: sending.rate.clone(), burst };
            self.supply.limiter(&limit, &format!("campaign:{}", key.0))
        });
        let queue = self.queues.entry(key).or_default();
        if queue.is_empty() {
            let turns = self.turns.entry(key.1).or_default();
            if !turns.contains(&key.0) {
                turns.push_back(key.0);
            }
        }
        queue.extend(ready);
    }

    /// Deals all that may go now. Returns how long until more may go for a limit's sake.
    fn deal(&mut self) -> Duration {
        let mut wait = SWEEP;
        loop {
            for counter in &mut self.accounts {
                counter.workers.retain(|(_, worker)| !worker.is_closed());
            }
            match self.next(&mut wait) {
                Some((account, messages)) => self.hand_over(account, messages),
                None => return wait,
            }
        }
    }

    fn hand_over(&mut self, account: usize, mut messages: Vec<Prepared>) {
        let now = Instant::now();
        let scopes = self.scopes(account, &messages);
        for message in &mut messages {
            message.room = None;
            message.permit = Permit::new(scopes.clone(), message.cells);
            let waited = now.duration_since(message.ready_at).as_secs_f64();
            self.metrics.limiter_wait.with_label_values(&["channel"]).observe(waited);
        }
        let Some((_, worker)) = self.accounts.get_mut(account).and_then(|counter| counter.workers.pop())
        else {
            return;
        };
        if let Err(messages) = worker.send(messages) {
            // The worker went away between the look and the deal: the permits are lost, the messages are not.
            let lane = messages.first().map(|message| (message.key.campaign, message.held.lease.lane));
            if let Some(key) = lane {
                let queue = self.queues.entry(key).or_default();
                for message in messages.into_iter().rev() {
                    queue.push_front(message);
                }
                let turns = self.turns.entry(key.1).or_default();
                if !turns.contains(&key.0) {
                    turns.push_front(key.0);
                }
            }
        }
    }

    /// The limited scopes that these messages of one campaign belong to.
    fn scopes(&self, account: usize, messages: &[Prepared]) -> Vec<Arc<dyn Departures>> {
        let campaign = messages.first().and_then(|message| self.campaigns.get(&message.key.campaign));
        let account = self.accounts.get(account).map(|counter| &counter.limiter);
        let limiters = [Some(&self.channel), account, campaign];
        limiters.into_iter().flatten().filter_map(Limiter::departures).collect()
    }

    /// The next messages to go, with their permits taken, and the account they go to.
    fn next(&mut self, wait: &mut Duration) -> Option<(usize, Vec<Prepared>)> {
        if self.channel.available() == 0 {
            *wait = (*wait).min(self.channel.wait(1));
            return None;
        }
        self.forget_empty_turns();
        for account in self.accounts_in_turn() {
            let limiter = &self.accounts[account].limiter;
            if limiter.available() == 0 {
                *wait = (*wait).min(limiter.wait(1));
                continue;
            }
            let Some(turn) = self.choose(account, wait) else { continue };
            if self.accounts[account].workers.is_empty() {
                self.accounts[account].hungry.notify_one();
                continue;
            }
            self.channel.reserve(turn.cells);
            self.accounts[account].limiter.reserve(turn.cells);
            if let Some(limiter) = self.campaigns.get(&turn.campaign) {
                limiter.reserve(turn.cells);
            }
            self.charge_share(account);
            return Some((account, self.pop(&turn)));
        }
        None
    }

    /// Accounts, the one that is furthest behind its share first.
    fn accounts_in_turn(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.accounts.len()).collect();
        order.sort_by_key(|account| {
            let counter = &self.accounts[*account];
            std::cmp::Reverse(counter.credit + counter.weight)
        });
        order
    }

    /// Smooth weighted round robin. Credit is bounded, so that an account which was away does not take all when it is back.
    fn charge_share(&mut self, chosen: usize) {
        let total: i64 = self.accounts.iter().map(|counter| counter.weight).sum();
        for (account, counter) in self.accounts.iter_mut().enumerate() {
            let charge = if account == chosen { total } else { 0 };
            counter.credit = (counter.credit + counter.weight - charge).clamp(-4 * total, 4 * total);
        }
    }

    fn forget_empty_turns(&mut self) {
        for (lane, turns) in &mut self.turns {
            turns.retain(|campaign| {
                self.queues.get(&(*campaign, *lane)).is_some_and(|queue| !queue.is_empty())
            });
        }
    }

    /// The campaign whose turn it is among those that the account may carry, and how many of its messages may go.
    /// Messages that wait are spread over all of the account's workers, but none gets too few to be worth its while.
    fn choose(&self, account: usize, wait: &mut Duration) -> Option<Turn> {
        let counter = &self.accounts[account];
        let (least, most) = counter.appetite();
        let (channel, own) = (Room::of(&self.channel), Room::of(&counter.limiter));
        for (lane, turns) in &self.turns {
            for (place, campaign) in turns.iter().enumerate() {
                let Some(queue) = self.queues.get(&(*campaign, *lane)) else { continue };
                let Some(limiter) = self.campaigns.get(campaign) else { continue };
                let rooms = [channel, own, Room::of(limiter)];
                let share = queue.len().div_ceil(counter.crew).max(least).min(counter.chunk).min(most);
                let (mut messages, mut cells) = (0, 0);
                for message in queue.iter().take(share).take_while(|message| counter.carries(message)) {
                    if !rooms.iter().all(|room| room.admits(cells, message.cells)) {
                        let waits = rooms.iter().map(|room| room.limiter.wait(message.cells));
                        *wait = (*wait).min(waits.max().unwrap_or_default().max(LEAST_WAIT));
                        break;
                    }
                    messages += 1;
                    cells += message.cells;
                }
                if messages > 0 {
                    return Some(Turn { lane: *lane, place, campaign: *campaign, messages, cells });
                }
            }
        }
        None
    }

    /// Takes the messages of a turn; the campaign goes to the end of its lane.
    fn pop(&mut self, turn: &Turn) -> Vec<Prepared> {
        if let Some(turns) = self.turns.get_mut(&turn.lane) {
            turns.rotate_left(turn.place + 1);
        }
        self.queues
            .get_mut(&(turn.campaign, turn.lane))
            .map(|queue| queue.drain(..turn.messages.min(queue.len())).collect())
            .unwrap_or_default()
    }

    /// Hands back what waited too long, and forgets campaigns that nobody waits for.
    async fn sweep(&mut self) {
        let mut stale = Vec::new();
        for queue in self.queues.values_mut() {
            while queue.front().is_some_and(|message| message.ready_at.elapsed() > STALE) {
                stale.extend(queue.pop_front());
            }
        }
        self.ledger.hand_back(&self.retry, self.clock.now(), stale).await;
        self.queues.retain(|_, queue| !queue.is_empty());
        let queues = &self.queues;
        self.campaigns.retain(|campaign, limiter| {
            !limiter.is_rested() || Lane::ALL.iter().any(|lane| queues.contains_key(&(*campaign, *lane)))
        });
    }
}

/// 0 stands for no limit.
fn show_limit(metrics: &Metrics, scope: &str, name: &str, limit: &Limit) {
    let rate = limit.rates.narrowest().map_or(0.0, crate::model::Rate::per_second);
    metrics.limiter_limit.with_label_values(&[scope, name]).set(rate);
}
