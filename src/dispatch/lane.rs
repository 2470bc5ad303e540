//! A lane: one channel's poller, desk and workers. Runs a stream for every campaign that is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;

use super::brake::brake;
use super::campaigns::Campaigns;
use super::circuit::Circuits;
use super::desk::{Desk, Note};
use super::heart::Heart;
use super::hours::Gate;
use super::ledger::{Ledger, persist};
use super::listener::listen;
use super::stream::{Shared, Stream, Window};
use super::worker::Crew;
use super::{LaneConfig, Limit};
use crate::clock::Clock;
use crate::lifecycle::{Shutdown, Supervisor};
use crate::model::sms_rules::Hours;
use crate::model::{CampaignNo, Channel, Lane as Rank, Purpose, Rate};
use crate::store::dispatching::{Hold, Lease};
use crate::store::jobs::Incarnation;
use crate::store::{Error, Store};
use crate::telemetry::{Heartbeat, Metrics, Outage};
use crate::token::Keyring;

/// How often a lane looks for campaigns that are due, and for those that were stopped.
const POLL: Duration = Duration::from_millis(200);
/// Streams at once; campaigns beyond that wait for one to end.
const STREAMS: usize = 256;
/// Streams at once that send what was leased when it was accepted; what comes beyond waits in the store.
const GIVEN_STREAMS: usize = 256;
const DESK_QUEUE: usize = 256;

/// What all lanes share.
#[derive(Debug, Clone)]
pub struct Lane {
    pub store: Arc<dyn Store>,
    pub me: Incarnation,
    pub campaigns: Arc<Campaigns>,
    pub keyring: Arc<Keyring>,
    pub public_url: Arc<str>,
    pub ledger: Ledger,
    pub heart: Heart,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub shutdown: Shutdown,
    /// Whether a campaign's pause is told to the broker.
    pub publish: bool,
}

/// The rest of the program's way to a running lane.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    pub channel: Channel,
    accepted: Arc<Notify>,
    desk: mpsc::Sender<Note>,
    hours: watch::Sender<Option<Hours>>,
}

impl LaneHandle {
    /// Puts changed hours for marketing into force.
    pub fn change_hours(&self, hours: Option<Hours>) {
        self.hours.send_replace(hours);
    }

    /// Messages were accepted for this channel: they are leased to us already.
    pub fn accepted(&self) {
        self.accepted.notify_one();
    }

    /// Puts changed rates into force.
    pub async fn change_limits(&self, channel: Limit, accounts: HashMap<String, Limit>) {
        // A closed desk belongs to a lane that stops.
        self.desk.send(Note::Limits { channel, accounts }).await.ok();
    }
}

impl Lane {
    /// Starts the lane's tasks under `supervisor`.
    pub fn start(self, config: LaneConfig, supervisor: &Supervisor) -> LaneHandle {
        let (desk, notes) = mpsc::channel(DESK_QUEUE);
        let circuits = Circuits::new(&config.accounts, &self.metrics);
        let hungry: Vec<Arc<Notify>> = config.accounts.iter().map(|_| Arc::default()).collect();
        let table = Desk::new(&config, &hungry, notes, &self);
        supervisor.spawn("desk", &self.shutdown, table.run());
        self.start_workers(&config, &hungry, &desk, &circuits, supervisor);
        let accepted = Arc::new(Notify::new());
        let (hours, gate) = Gate::new(config.rules.hours.clone(), self.clock.clone());
        let handle =
            LaneHandle { channel: config.channel, accepted: accepted.clone(), desk: desk.clone(), hours };
        let poller = Poller {
            channel: config.channel,
            beat: Heartbeat::new(&self.metrics, config.channel.as_str()),
            shared: Arc::new(self.share(&config, desk, circuits, gate)),
            accepted,
            running: HashMap::new(),
            streams: JoinSet::new(),
            stops: false,
        };
        supervisor.spawn("lane", &self.shutdown, poller.run());
        handle
    }

    fn share(&self, config: &LaneConfig, desk: mpsc::Sender<Note>, circuits: Circuits, gate: Gate) -> Shared {
        Shared {
            channel: config.channel,
            store: self.store.clone(),
            me: self.me,
            campaigns: self.campaigns.clone(),
            keyring: self.keyring.clone(),
            public_url: self.public_url.clone(),
            ledger: self.ledger.clone(),
            desk,
            window: Window::new(config.unknown_window),
            circuits,
            retry: config.retry.clone(),
            accounts: config.accounts.clone(),
            rules: config.rules.text.clone(),
            gate,
            rate: rate_of(config),
            metrics: self.metrics.clone(),
            outage: Outage::new(format!("lane {}", config.channel)),
            clock: self.clock.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    fn start_workers(
        &self,
        config: &LaneConfig,
        hungry: &[Arc<Notify>],
        desk: &mpsc::Sender<Note>,
        circuits: &Circuits,
        supervisor: &Supervisor,
    ) {
        let (brake, brakeman) =
            brake(self.store.clone(), self.metrics.clone(), self.shutdown.clone(), self.publish);
        supervisor.spawn("brake", &self.shutdown, async {
            brakeman.run().await;
            Ok::<(), Error>(())
        });
        let each = config.concurrency.div_ceil(config.accounts.len().max(1));
        let accounts = config.accounts.iter().zip(hungry).zip(circuits.iter());
        for (position, ((account, hungry), circuit)) in accounts.enumerate() {
            let listening = listen(account.provider.clone(), self.shutdown.clone());
            supervisor.spawn("listener", &self.shutdown, async {
                listening.await;
                Ok::<(), Error>(())
            });
            let crew = Arc::new(Crew {
                channel: config.channel,
                account: account.clone(),
                position,
                desk: desk.clone(),
                hungry: hungry.clone(),
                ledger: self.ledger.clone(),
                heart: self.heart.clone(),
                retry: config.retry.clone(),
                metrics: self.metrics.clone(),
                shutdown: self.shutdown.clone(),
                circuit: circuit.clone(),
                brake: brake.clone(),
                keyring: self.keyring.clone(),
                clock: self.clock.clone(),
            });
            for _ in 0..each {
                let crew = crew.clone();
                supervisor.spawn("worker", &self.shutdown, async {
                    crew.work().await;
                    Ok::<(), Error>(())
                });
            }
        }
    }
}

/// The channel's own rate, or the sum of its listed accounts' where each of them has one, whichever is narrower.
fn rate_of(config: &LaneConfig) -> Option<f64> {
    let listed = config.accounts.iter().filter(|account| account.weight.is_some());
    let accounts: Option<f64> =
        listed.map(|account| account.limit.rates.narrowest().map(Rate::per_second)).sum();
    let channel = config.limit.rates.narrowest().map(Rate::per_second);
    accounts.into_iter().chain(channel).filter(|rate| *rate > 0.0).reduce(f64::min)
}

struct Poller {
    channel: Channel,
    shared: Arc<Shared>,
    accepted: Arc<Notify>,
    beat: Heartbeat,
    running: HashMap<Id, Running>,
    streams: JoinSet<Result<(), Error>>,
    /// Whether the desk was told of campaigns that must not send.
    stops: bool,
}

/// A stream, and whether it leases by itself or sends only what it was given.
#[derive(Debug, PartialEq)]
struct Running {
    campaign: CampaignNo,
    rank: Rank,
    leases: bool,
}

impl Poller {
    async fn run(mut self) -> Result<(), Error> {
        let shutdown = self.shared.shutdown.clone();
        while !shutdown.is_asked() {
            self.beat.beat();
            match self.poll().await {
                Err(error) if error.is_transient() => {
                    self.shared.outage.goes_on(&error);
                    sleep(POLL).await;
                }
                result => {
                    result?;
                    self.shared.outage.ends();
                }
            }
            tokio::select! {
                () = shutdown.asked() => break,
                () = self.accepted.notified() => {}
                () = sleep(POLL) => {}
            }
            self.reap()?;
        }
        while let Some(ended) = self.streams.join_next().await {
            ended.map_err(|error| Error::Refused(error.into()))??;
        }
        Ok(())
    }

    async fn poll(&mut self) -> Result<(), Error> {
        let active: Vec<CampaignNo> = self.running.values().map(|running| running.campaign).collect();
        let mut stopped = Vec::new();
        if !active.is_empty() {
            stopped = self.shared.store.stopped(&active).await?;
            stopped.extend(self.out_of_hours(&active).await?);
        }
        if !stopped.is_empty() || self.stops {
            self.stops = !stopped.is_empty();
            // A closed desk hands everything back by itself.
            self.shared.desk.send(Note::Stop(stopped)).await.ok();
        }
        self.run_accepted().await?;
        let due = self.shared.store.campaigns_due(self.channel).await?;
        let campaigns: Vec<CampaignNo> = due.iter().map(|(campaign, _)| *campaign).collect();
        let held = self.out_of_hours(&campaigns).await?;
        for (campaign, rank) in due.into_iter().filter(|(campaign, _)| !held.contains(campaign)) {
            let stream = Running { campaign, rank, leases: true };
            if self.running.values().filter(|running| running.leases).count() >= STREAMS {
                break;
            }
            if self.running.values().all(|running| *running != stream) {
                self.start(stream, Vec::new());
            }
        }
        Ok(())
    }

    /// Those of `campaigns` whose messages may not be sent at this time of the day.
    async fn out_of_hours(&self, campaigns: &[CampaignNo]) -> Result<Vec<CampaignNo>, Error> {
        let mut held = Vec::new();
        if !self.shared.gate.admits(Purpose::Marketing) {
            for campaign in campaigns {
                if self.shared.campaigns.purpose(*campaign).await? == Some(Purpose::Marketing) {
                    held.push(*campaign);
                }
            }
        }
        Ok(held)
    }

    /// Starts with the batches that were leased to us when their messages were accepted.
    async fn run_accepted(&mut self) -> Result<(), Error> {
        let given = self.running.values().filter(|running| !running.leases).count();
        if given >= GIVEN_STREAMS || !self.shared.circuits.any_passes() {
            return Ok(());
        }
        let leases = self.shared.store.leased_at_acceptance(self.shared.me, self.channel).await?;
        let campaigns: Vec<CampaignNo> = leases.iter().map(|lease| lease.campaign).collect();
        // They are ours by now: an error here would leave them so, and unsent.
        let held = persist(&self.shared.outage, || self.out_of_hours(&campaigns)).await?;
        let (held, leases): (Vec<Lease>, Vec<Lease>) =
            leases.into_iter().partition(|lease| held.contains(&lease.campaign));
        if !held.is_empty() {
            let holds: Vec<Hold> = held.iter().map(Lease::hold).collect();
            persist(&self.shared.outage, || self.shared.store.release(self.shared.me, &holds)).await?;
        }
        self.shared.ledger.holdings().add(leases.iter().map(Lease::hold));
        let mut streams: HashMap<(CampaignNo, Rank), Vec<Lease>> = HashMap::new();
        for lease in leases {
            streams.entry((lease.campaign, lease.lane)).or_default().push(lease);
        }
        for ((campaign, rank), leases) in streams {
            self.start(Running { campaign, rank, leases: false }, leases);
        }
        Ok(())
    }

    fn start(&mut self, running: Running, leases: Vec<Lease>) {
        let stream = Stream { shared: self.shared.clone(), campaign: running.campaign, lane: running.rank };
        let task = self.streams.spawn(stream.run(leases));
        self.running.insert(task.id(), running);
    }

    fn reap(&mut self) -> Result<(), Error> {
        while let Some(ended) = self.streams.try_join_next_with_id() {
            let (id, result) = ended.map_err(|error| Error::Refused(error.into()))?;
            self.running.remove(&id);
            result?;
        }
        Ok(())
    }
}
