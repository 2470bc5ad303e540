//! One daemon: the real planner, housekeeper, lanes, ledger, heart and receipt writer, put together as `app` does.
//!
//! A process that is killed never gets an answer again and touches nothing: neither the store nor the provider. One that
//! is frozen goes on where it was.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use campaignd::app::{ReceiptBook, file_parked, write_receipts};
use campaignd::backoff::Schedule;
use campaignd::dispatch::{Account, Campaigns, Format, Heart, Lane, LaneConfig, LaneHandle, ledger};
use campaignd::lifecycle::{Shutdown, Supervisor};
use campaignd::model::{Channel, SmsRules};
use campaignd::plan::{Housekeeper, Planner};
use campaignd::provider::Receipts;
use campaignd::store::jobs::Incarnation;
use campaignd::store::{Dispatching, Error, Store};
use campaignd::telemetry::Metrics;
use campaignd::token::{Key, Keyring};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::carrier::Carrier;
use super::meter::Meter;
use super::seam::Seam;
use super::setting::{ChannelSetting, RETRIES};
use super::stage::Stage;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breath {
    Runs,
    Frozen,
    Dead,
}

/// Whether a process runs, as its ways to the outside know it.
#[derive(Debug, Clone)]
pub(super) struct Life {
    breath: watch::Sender<Breath>,
    incarnation: Arc<OnceLock<Incarnation>>,
}

impl Life {
    fn begin() -> Self {
        Life { breath: watch::Sender::new(Breath::Runs), incarnation: Arc::default() }
    }

    /// Waits while the process is frozen, and for ever once it is dead.
    pub(super) async fn goes_on(&self) {
        let mut breath = self.breath.subscribe();
        if breath.wait_for(|breath| *breath == Breath::Runs).await.is_err() {
            pending().await
        }
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation.get().copied().unwrap_or(Incarnation(0))
    }

    /// A scope of its own at the law's meters.
    pub(super) fn scope(&self, name: &str) -> String {
        format!("{name} of daemon {}", self.incarnation().0)
    }

    pub(super) fn end(&self) {
        self.breath.send_replace(Breath::Dead);
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.breath.borrow() == Breath::Dead
    }

    /// Stands still for `time`.
    pub(super) fn freeze(&self, time: Duration) {
        if self.has_ended() {
            return;
        }
        self.breath.send_replace(Breath::Frozen);
        let life = self.clone();
        tokio::spawn(async move {
            sleep(time).await;
            if !life.has_ended() {
                life.breath.send_replace(Breath::Runs);
            }
        });
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "daemon {}", self.incarnation().0)
    }
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) life: Life,
    parts: Parts,
    lanes: Vec<LaneHandle>,
    failed: watch::Receiver<Option<String>>,
}

/// In the order in which they drain.
#[derive(Debug)]
struct Parts {
    planning: Shutdown,
    lanes: Shutdown,
    tracking: Shutdown,
    recorder: Shutdown,
    heart: Shutdown,
}

/// As the configuration's default.
const DRAIN: Duration = Duration::from_secs(30);
const RECEIPT_QUEUE: usize = 64;

impl Process {
    pub(super) async fn start(stage: &Arc<Stage>) -> Process {
        let life = Life::begin();
        let seam = Arc::new(Seam { stage: stage.clone(), life: life.clone() });
        let me = loop {
            match seam.join("simulated").await {
                Ok(me) => break me,
                Err(_) => sleep(Duration::from_millis(500)).await,
            }
        };
        life.incarnation.set(me).unwrap();
        stage.note(|| format!("{life} starts"));
        stage.law.starts();
        let supervisor = Supervisor::new();
        let parts = Parts::new();
        let metrics = Arc::new(Metrics::new().unwrap());
        let (receipts, waiting) = Receipts::new(RECEIPT_QUEUE);
        stage.receives(me, receipts);
        let lanes = parts.start_lanes(&seam, &metrics, &supervisor);
        parts.start_receipts(&seam, &metrics, waiting, &supervisor);
        parts.start_planning(&seam, &metrics, &supervisor);
        let failed = watch_over(supervisor);
        Process { life, parts, lanes, failed }
    }

    pub(super) fn me(&self) -> Incarnation {
        self.life.incarnation()
    }

    /// Messages of a channel were accepted here.
    pub(super) fn accepted(&self, channel: Channel) {
        for lane in self.lanes.iter().filter(|lane| lane.channel == channel) {
            lane.accepted();
        }
    }

    pub(super) fn kill(&mut self) {
        self.life.end();
        self.lanes.clear();
        // Its tasks reach nothing any more; those that only turn in circles end.
        for part in self.parts.in_order() {
            part.ask();
        }
    }

    /// Why a task of it died, which ends a daemon.
    pub(super) fn failed(&self) -> Option<String> {
        self.failed.borrow().clone()
    }

    /// As SIGTERM has it. Returns whether all was done in time.
    pub(super) async fn terminate(&mut self, stage: &Stage) -> bool {
        stage.note(|| format!("{} drains", self.life));
        self.lanes.clear();
        stage.receives_no_more(self.me());
        let deadline = Instant::now() + DRAIN;
        self.parts.recorder.ask();
        let mut all = true;
        for part in self.parts.in_order() {
            all &= part.drain(deadline, pending()).await.is_ok();
        }
        self.life.end();
        stage.note(|| format!("{} has drained: {all}", self.life));
        all
    }
}

impl Parts {
    fn new() -> Self {
        Parts {
            planning: Shutdown::new("planning"),
            lanes: Shutdown::new("lanes"),
            tracking: Shutdown::new("tracking"),
            recorder: Shutdown::new("recorder"),
            heart: Shutdown::new("heartbeat"),
        }
    }

    fn in_order(&self) -> [&Shutdown; 5] {
        let Parts { planning, lanes, tracking, recorder, heart } = self;
        [planning, lanes, tracking, recorder, heart]
    }

    fn start_lanes(
        &self,
        seam: &Arc<Seam>,
        metrics: &Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Vec<LaneHandle> {
        let (stage, store): (_, Arc<dyn Store>) = (&seam.stage, seam.clone());
        let me = seam.life.incarnation();
        let (ledger, recorder) = ledger(store.clone(), me, metrics.clone());
        supervisor.spawn("recorder", &self.recorder, recorder.run());
        let (heart, beat, rescue) = Heart::new(store.clone(), me, metrics.clone(), self.heart.clone());
        stage.law.beats(me, Instant::now());
        supervisor.spawn("heartbeat", &self.heart, beat);
        supervisor.spawn("rescuer", &self.heart, rescue);
        let leases = ledger.holdings().clone().reconcile(store.clone(), me, self.lanes.clone());
        supervisor.spawn("leases", &self.lanes, leases);
        let lane = Lane {
            campaigns: Arc::new(Campaigns::new(store.clone())),
            store,
            me,
            keyring: Arc::new(Keyring::new(Key::new(0, &[7; 32]), Vec::new())),
            public_url: "https://example.com".into(),
            ledger,
            heart,
            metrics: metrics.clone(),
            clock: stage.clock.clone(),
            shutdown: self.lanes.clone(),
            publish: false,
        };
        let start = |channel| lane.clone().start(lane_config(seam, channel), supervisor);
        stage.setting.channels.iter().map(start).collect()
    }

    fn start_receipts(
        &self,
        seam: &Arc<Seam>,
        metrics: &Arc<Metrics>,
        waiting: tokio::sync::mpsc::Receiver<campaignd::model::Receipt>,
        supervisor: &Supervisor,
    ) {
        let book = ReceiptBook { store: seam.clone(), metrics: metrics.clone(), publish: false };
        let (writer, filer) = (
            write_receipts(waiting, book.clone(), self.tracking.clone()),
            file_parked(book, self.tracking.clone()),
        );
        supervisor.spawn("receipt writer", &self.tracking, async {
            writer.await;
            Ok::<(), Error>(())
        });
        supervisor.spawn("parked receipts", &self.tracking, async {
            filer.await;
            Ok::<(), Error>(())
        });
    }

    fn start_planning(&self, seam: &Arc<Seam>, metrics: &Arc<Metrics>, supervisor: &Supervisor) {
        let planner = Planner::new(seam.clone(), metrics.clone(), self.planning.clone());
        supervisor.spawn("planner", &self.planning, planner.run());
        let housekeeper = Housekeeper {
            store: seam.clone(),
            metrics: metrics.clone(),
            shutdown: self.planning.clone(),
            publish: false,
            auto_pause: BTreeMap::new(),
        };
        supervisor.spawn("housekeeper", &self.planning, housekeeper.run());
    }
}

/// The channel as this daemon has it. Its limits begin drained, and the law holds them to that.
fn lane_config(seam: &Seam, setting: &ChannelSetting) -> LaneConfig {
    let (stage, life) = (&seam.stage, &seam.life);
    stage.law.limit(&life.scope(setting.channel.as_str()), Meter::drained(&setting.limit));
    let accounts = setting.accounts.iter().map(|account| {
        stage.law.limit(&life.scope(account.name), Meter::drained(&account.limit));
        Account {
            name: account.name.into(),
            provider: Arc::new(Carrier {
                stage: stage.clone(),
                life: life.clone(),
                account: account.clone(),
                channel: setting.channel,
                chunk: stage.setting.chunk,
            }),
            format: Format::Content,
            app: None,
            weight: account.weight,
            limit: account.limit.clone(),
            on_doubt: account.on_doubt,
        }
    });
    LaneConfig {
        channel: setting.channel,
        accounts: accounts.collect(),
        limit: setting.limit.clone(),
        concurrency: stage.setting.concurrency,
        unknown_window: stage.setting.window,
        retry: Schedule::new(RETRIES.map(Duration::from_secs).to_vec()),
        rules: SmsRules::default(),
    }
}

/// Tells of the first task that dies.
fn watch_over(mut supervisor: Supervisor) -> watch::Receiver<Option<String>> {
    let (fails, failed) = watch::channel(None);
    tokio::spawn(async move {
        let failure = supervisor.failure().await;
        let mut words = failure.to_string();
        if let campaignd::lifecycle::Cause::Failed(error) = &failure.cause {
            words = format!("{words}: {error:?}");
        }
        fails.send_replace(Some(words));
    });
    failed
}
