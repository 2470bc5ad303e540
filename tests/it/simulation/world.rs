//! One run: users and operators do at random what they do, daemons crash and drain, services go away and come back;
//! then the weather clears up, and everything must come to rest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use campaignd::model::job::Job;
use campaignd::model::receipt::{About, News};
use campaignd::model::{Control, Lane, Rates, Receipt};
use campaignd::render::TemplateSource;
use campaignd::store::jobs::{Acceptance, PinnedTemplate, Submission};
use campaignd::store::{Campaigns, Dispatching, Jobs, Receipts};
use fastrand::Rng;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::carrier::ACCOUNT;
use super::meter::Meter;
use super::process::{Process, Setup};
use super::seam::at_once;
use super::stage::Stage;

/// Contacts `P1`, `P2`, ... that every run begins with.
pub(super) const PEOPLE: usize = 14;
/// The channel's scope at the law's meters.
pub(super) const CHANNEL: &str = "channel";
const CAMPAIGNS: usize = 4;
const MESSAGES: usize = 12;
/// After the weather has cleared up, everything is settled within this.
const REST: Duration = Duration::from_secs(300);

/// What a run did, for those who want to know how much it tried.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) deliveries: usize,
    pub(super) taken: usize,
    pub(super) processes: usize,
    pub(super) virtual_time: Duration,
}

struct World {
    stage: Arc<Stage>,
    setup: Setup,
    dice: Rng,
    /// Every process that there ever was; those of `alive` are not known to be dead.
    processes: Vec<Process>,
    alive: Vec<usize>,
    campaigns: Vec<String>,
    messages: usize,
}

/// Plays the run of `seed` on the store in `file`.
///
/// # Errors
/// How the law was broken, and the story so far where it was `told`.
pub(super) async fn play(seed: u64, file: &Path, told: bool) -> Result<Tally, String> {
    // Jitter of the daemons' own.
    fastrand::seed(seed);
    let mut dice = Rng::with_seed(!seed);
    let setup = setup(&mut dice);
    let stage = Stage::new(file, seed, setup.window, told);
    stage.note(|| format!("{:?} {setup:?}", stage.weather.climate));
    let began = Instant::now();
    let mut world = World {
        stage: stage.clone(),
        setup,
        dice,
        processes: Vec::new(),
        alive: Vec::new(),
        campaigns: Vec::new(),
        messages: 0,
    };
    world.limit();
    let verdict = world.play().await;
    let tally = Tally {
        deliveries: stage.law.deliveries().len(),
        taken: stage.law.taken(),
        processes: world.processes.len(),
        virtual_time: began.elapsed(),
    };
    verdict.map(|()| tally).map_err(|what| format!("{}{what}", stage.story()))
}

fn setup(dice: &mut Rng) -> Setup {
    let mut rate = |rates: &[&str]| {
        let rate = rates[dice.usize(0..rates.len())];
        Rates(rate.split_terminator(',').map(|rate| rate.parse().unwrap()).collect())
    };
    let (rate, account_rate) = (rate(&["", "", "40/s", "6/s", "10/s,300/m"]), rate(&["", "", "25/s"]));
    Setup {
        rate,
        burst: [None, Some(8)][dice.usize(0..2)],
        account_rate,
        concurrency: dice.usize(1..6),
        window: [2, 10, 40][dice.usize(0..3)],
        chunk: [1, 4, 16][dice.usize(0..3)],
    }
}

impl World {
    /// Rates are measured where one daemon sends.
    fn limit(&self) {
        if self.stage.weather.climate.daemons > 1 {
            return;
        }
        self.measure(CHANNEL, &self.setup.rate, self.setup.burst);
        self.measure(ACCOUNT, &self.setup.account_rate, None);
    }

    fn measure(&self, scope: &str, rates: &Rates, burst: Option<u32>) {
        let meters = rates.0.iter().map(|rate| {
            let burst = burst.unwrap_or_else(|| rate.default_burst());
            Meter::new(rate.per_second(), burst)
        });
        self.stage.law.limit(scope, meters.collect());
    }

    async fn play(&mut self) -> Result<(), String> {
        for _ in 0..self.stage.weather.climate.daemons {
            self.start().await;
        }
        self.submit();
        for _ in 0..self.dice.usize(10..40) {
            // Now and then long enough for a daemon to be taken for dead.
            let longest = if self.dice.u8(0..12) == 0 { 20_000 } else { 700 };
            let pause = Duration::from_millis(self.dice.u64(1..longest));
            sleep(pause).await;
            self.act().await;
            self.bury().await?;
        }
        self.come_to_rest().await
    }

    async fn act(&mut self) {
        match self.dice.u8(0..22) {
            0..=2 => self.submit(),
            3..=6 => self.say(),
            7 | 8 => self.control(&[Control::Pause, Control::Pause, Control::Cancel]),
            9..=11 => self.control(&[Control::Resume]),
            12 | 13 => self.opt_out(),
            14 | 15 => self.crash().await,
            16 | 17 => self.freeze(),
            18 => self.terminate().await,
            19 => self.store_goes_away(),
            20 => self.provider_goes_away(),
            _ => {}
        }
    }

    async fn start(&mut self) {
        let process = Process::start(&self.stage, &self.setup).await;
        self.alive.push(self.processes.len());
        self.processes.push(process);
    }

    fn submit(&mut self) {
        if self.campaigns.len() >= CAMPAIGNS {
            return;
        }
        let id = format!("c{}", self.campaigns.len());
        let dice = &mut self.dice;
        let (audience, entries) = match dice.u8(0..3) {
            0 => (json!({"all": true}), None),
            1 => {
                let n = dice.usize(1..12);
                let ids = (0..n).map(|_| format!("P{}", dice.usize(1..PEOPLE + 3)));
                (json!({"contacts": ids.collect::<Vec<_>>()}), Some(n))
            }
            _ => {
                let n = dice.usize(1..12);
                let people = (0..n).map(|_| json!({"address": format!("p{}@example.com", dice.u8(1..30))}));
                (json!({"recipients": people.collect::<Vec<_>>(), "consent": true}), Some(n))
            }
        };
        let mut job = json!({"type": "campaign", "id": id, "channel": "email", "purpose": "marketing",
            "template": "t", "audience": audience});
        let later = |seconds| (self.stage.clock.now() + SignedDuration::from_secs(seconds)).to_string();
        if dice.u8(0..4) == 0 {
            job["send_at"] = json!(later(dice.i64(1..9)));
        }
        if dice.u8(0..4) == 0 {
            job["expires_at"] = json!(later(dice.i64(9..60)));
        }
        let rate = ["", "", "3/s", "20/s", "200/s"][dice.usize(0..5)];
        let burst = [None, Some(1), Some(6)][dice.usize(0..3)];
        if !rate.is_empty() {
            job["rate"] = json!(rate);
            if let Some(burst) = burst {
                job["burst"] = json!(burst);
            }
            if self.stage.weather.climate.daemons == 1 {
                self.measure(&id, &Rates(vec![rate.parse().unwrap()]), burst);
            }
        }
        if let Some(entries) = entries {
            self.stage.law.target(&id, entries);
        }
        self.accept(job);
        self.campaigns.push(id);
    }

    fn say(&mut self) {
        if self.messages >= MESSAGES {
            return;
        }
        self.messages += 1;
        let to = json!({"external_id": format!("P{}", self.dice.usize(1..=PEOPLE))});
        let lane = [Lane::Transactional, Lane::Bulk][self.dice.usize(0..2)];
        self.accept(json!({"type": "message", "id": format!("m{}", self.messages), "campaign": "standing",
            "channel": "email", "purpose": "service", "template": "t", "to": to, "lane": lane.as_str()}));
        if !self.campaigns.iter().any(|id| id == "standing") && self.messages == 1 {
            self.stage.note(|| "the standing campaign opens".to_owned());
        }
    }

    /// By any of the daemons, which then owns what must go at once.
    fn accept(&mut self, job: Value) {
        let at = self.alive.get(self.dice.usize(0..=self.alive.len())).copied();
        let daemon = at.map(|at| &self.processes[at]);
        self.stage.note(|| format!("accepts {job}"));
        let submissions = [submission(&job)];
        let accepted = self.stage.store.accept(&submissions, daemon.map(Process::me));
        assert_eq!(at_once(accepted).unwrap(), [Acceptance::New { warnings: Vec::new() }]);
        self.stage.law.check(&self.stage, "accept");
        if let Some(lane) = daemon.and_then(|daemon| daemon.lane.as_ref()) {
            lane.accepted();
        }
    }

    fn control(&mut self, controls: &[Control]) {
        let control = controls[self.dice.usize(0..controls.len())];
        if let Some(id) = self.dice.choice(&self.campaigns) {
            self.control_one(id, control);
        }
    }

    fn control_one(&self, id: &str, control: Control) {
        self.stage.note(|| format!("{control:?} {id}"));
        at_once(self.stage.store.control(id, control)).unwrap();
        self.stage.law.check(&self.stage, "control");
    }

    /// Somebody who is in the ledger has enough.
    fn opt_out(&mut self) {
        let Some((key, _)) = self.dice.choice(self.stage.law.deliveries()) else { return };
        self.stage.note(|| format!("contact {} unsubscribes", key.contact));
        let id = Receipt::id("reply", &key.to_string(), "unsubscribed");
        let (about, at) = (About::Delivery(key), self.stage.clock.now());
        let receipt = Receipt { id, about, at, news: News::Unsubscribed, detail: None };
        at_once(self.stage.store.record_receipts(&[receipt], false)).unwrap();
        self.stage.law.unsubscribes(key.contact);
        self.stage.law.check(&self.stage, "unsubscribe");
    }

    async fn crash(&mut self) {
        if self.alive.is_empty() {
            return;
        }
        let at = self.alive.swap_remove(self.dice.usize(0..self.alive.len()));
        self.stage.note(|| format!("{} is killed", self.processes[at].life));
        self.processes[at].kill();
        if self.dice.bool() {
            let pause = self.stage.weather.up_to(Duration::from_secs(3));
            sleep(pause).await;
        }
        self.start().await;
    }

    fn freeze(&mut self) {
        let Some(at) = self.dice.choice(&self.alive).copied() else { return };
        let process = &self.processes[at];
        let time = self.stage.weather.up_to(Duration::from_secs(30));
        self.stage.note(|| format!("{} is frozen for {time:?}", process.life));
        process.life.freeze(time);
    }

    async fn terminate(&mut self) {
        if self.alive.is_empty() {
            return;
        }
        let at = self.alive.swap_remove(self.dice.usize(0..self.alive.len()));
        self.drain(at).await;
        self.start().await;
    }

    async fn drain(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if process.terminate(&self.stage).await {
            at_once(self.stage.store.rescue(process.me())).unwrap();
            self.stage.law.check(&self.stage, "a drain");
            self.stage.law.holds_nothing(&self.stage, process.me());
        } else {
            process.kill();
        }
    }

    fn store_goes_away(&self) {
        self.away(Duration::from_secs(20), |stage| &stage.weather.store_away);
    }

    fn provider_goes_away(&self) {
        self.away(Duration::from_secs(8), |stage| &stage.weather.provider_away);
    }

    fn away(&self, longest: Duration, what: fn(&Stage) -> &std::sync::atomic::AtomicBool) {
        let (stage, time) = (self.stage.clone(), self.stage.weather.up_to(longest));
        stage.note(|| format!("the store or the provider is away for {time:?}"));
        what(&stage).store(true, Ordering::Relaxed);
        tokio::spawn(async move {
            sleep(time).await;
            what(&stage).store(false, Ordering::Relaxed);
        });
    }

    /// A daemon of which a task died ends, and its service manager starts another. That is well where the other daemon
    /// took it for dead, and a fault otherwise.
    async fn bury(&mut self) -> Result<(), String> {
        while let Some(place) = self.alive.iter().position(|at| self.processes[*at].life.has_ended()) {
            let at = self.alive.swap_remove(place);
            self.processes[at].kill();
            self.start().await;
        }
        while let Some((place, words)) = self.failed() {
            let at = self.alive.swap_remove(place);
            self.stage.note(|| format!("{} ends: {words}", self.processes[at].life));
            if !words.contains("took this one for dead") || self.stage.weather.climate.daemons < 2 {
                return Err(format!("at {}: {words}", self.stage.time()));
            }
            self.drain(at).await;
            self.start().await;
        }
        self.stage.law.broken().map_or(Ok(()), Err)
    }

    fn failed(&self) -> Option<(usize, String)> {
        let alive = self.alive.iter().enumerate();
        alive.into_iter().find_map(|(place, at)| Some((place, self.processes[*at].failed()?)))
    }

    /// Nothing goes wrong any more: everything that was taken on must end.
    async fn come_to_rest(&mut self) -> Result<(), String> {
        self.stage.note(|| "the weather clears up".to_owned());
        self.stage.weather.clear_up();
        let deadline = Instant::now() + REST;
        loop {
            // Also again and again: the daemons pause what their provider refused often before.
            for id in &self.campaigns {
                if self.stage.law.is_paused(id) {
                    self.control_one(id, Control::Resume);
                }
            }
            sleep(Duration::from_millis(250)).await;
            self.bury().await?;
            let open = self.stage.law.open();
            if open.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("not settled after {REST:?} of fair weather: {}", open.join(", ")));
            }
        }
        for at in std::mem::take(&mut self.alive) {
            self.drain(at).await;
        }
        self.stage.law.broken().map_or(Ok(()), Err)
    }
}

/// What each run's template is.
fn template() -> PinnedTemplate {
    let manifest = "[email]\nsubject = \"Hello\"\ntext = \"hello.txt.hbs\"\n";
    let files = [("template.toml", manifest), ("hello.txt.hbs", "Hello {{external_id}}")];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    let source = TemplateSource { name: "t".to_owned(), files };
    PinnedTemplate {
        hash: source.hash(),
        name: source.name.clone(),
        source: serde_json::to_value(&source).unwrap(),
        links: Vec::new(),
    }
}

fn submission(job: &Value) -> Submission {
    let read = Job::read(&serde_json::to_vec(job).unwrap()).unwrap();
    Submission {
        job: read.job,
        content_hash: read.content_hash,
        template: Some(template()),
        purpose_forbidden: false,
        apps: None,
    }
}
