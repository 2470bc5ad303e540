//! One run: users and operators do at random what they do, daemons crash and drain, services go away and come back;
//! then the weather clears up, and everything must come to rest.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use campaignd::dispatch::Limit;
use campaignd::model::receipt::{About, Bounce, News};
use campaignd::model::{Channel, Control, DeliveryKey, Reason, Receipt};
use campaignd::store::jobs::Acceptance;
use campaignd::store::{Campaigns, Dispatching, Jobs, Receipts};
use fastrand::Rng;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::jobs::{campaign, message, submission};
use super::meter::Meter;
use super::process::Process;
use super::seam::at_once;
use super::setting::Setting;
use super::stage::Stage;
use super::weather::STORE;

const CAMPAIGNS: usize = 4;
const MESSAGES: usize = 12;
/// After the weather has cleared up, everything is settled within this.
const REST: Duration = Duration::from_secs(300);

/// What a run did, for those who want to know how much it tried.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) deliveries: usize,
    pub(super) taken: usize,
    pub(super) taken_again: usize,
    pub(super) processes: usize,
    pub(super) virtual_time: Duration,
}

struct World {
    stage: Arc<Stage>,
    dice: Rng,
    /// Every process that there ever was; those of `alive` are not known to be dead.
    processes: Vec<Process>,
    alive: Vec<usize>,
    campaigns: Vec<String>,
    standing: BTreeSet<String>,
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
    let setting = Setting::throw(&mut dice);
    let stage = Stage::new(file, seed, setting, told);
    stage.note(|| format!("{:?} {:?}", stage.weather.climate, stage.setting));
    let began = Instant::now();
    let mut world = World {
        stage: stage.clone(),
        dice,
        processes: Vec::new(),
        alive: Vec::new(),
        campaigns: Vec::new(),
        standing: BTreeSet::new(),
        messages: 0,
    };
    world.limit();
    let verdict = world.play().await;
    let (taken, taken_again) = stage.law.taken();
    let tally = Tally {
        deliveries: stage.law.deliveries().len(),
        taken,
        taken_again,
        processes: world.processes.len(),
        virtual_time: began.elapsed(),
    };
    verdict.map(|()| tally).map_err(|what| format!("{}{what}", stage.story()))
}

impl World {
    /// Rates are measured over all daemons that ever were where one at a time sends.
    fn limit(&self) {
        for channel in &self.stage.setting.channels {
            self.measure(channel.channel.as_str(), &channel.limit);
        }
        for account in self.stage.setting.accounts() {
            self.measure(account.name, &account.limit);
        }
    }

    fn measure(&self, scope: &str, limit: &Limit) {
        if self.stage.weather.climate.daemons == 1 {
            self.stage.law.limit(scope, Meter::full(limit));
        }
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
        match self.dice.u8(0..24) {
            0..=2 => self.submit(),
            3..=6 => self.say(),
            7 | 8 => self.control(&[Control::Pause, Control::Pause, Control::Cancel]),
            9..=11 => self.control(&[Control::Resume]),
            12 | 13 => self.opt_out(),
            14 | 15 => self.crash().await,
            16 | 17 => self.freeze(),
            18 => self.terminate().await,
            19 => self.goes_away(STORE, Duration::from_secs(20)),
            20 => self.an_account_goes_away(),
            21 | 22 => self.lie(),
            _ => {}
        }
    }

    async fn start(&mut self) {
        let process = Process::start(&self.stage).await;
        self.alive.push(self.processes.len());
        self.processes.push(process);
    }

    fn submit(&mut self) {
        if self.campaigns.len() >= CAMPAIGNS {
            return;
        }
        let id = format!("c{}", self.campaigns.len());
        let stage = self.stage.clone();
        let Some(channel) = self.dice.choice(&stage.setting.channels) else { return };
        let made = campaign(&mut self.dice, &id, channel, stage.clock.now());
        self.measure(&id, &made.limit);
        if let Some(entries) = made.entries {
            stage.law.target(&id, entries);
        }
        self.accept(channel.channel, &made.job);
        self.campaigns.push(id);
    }

    fn say(&mut self) {
        if self.messages >= MESSAGES {
            return;
        }
        self.messages += 1;
        let stage = self.stage.clone();
        let Some(channel) = self.dice.choice(&stage.setting.channels) else { return };
        let job = message(&mut self.dice, self.messages, channel);
        self.standing.insert(job["campaign"].as_str().unwrap().to_owned());
        self.accept(channel.channel, &job);
    }

    /// By any of the daemons, which then owns what must go at once.
    fn accept(&mut self, channel: Channel, job: &Value) {
        let at = self.alive.get(self.dice.usize(0..=self.alive.len())).copied();
        let daemon = at.map(|at| &self.processes[at]);
        self.stage.note(|| format!("accepts {job}"));
        let submissions = [submission(job)];
        let accepted = self.stage.store.accept(&submissions, daemon.map(Process::me));
        assert_eq!(at_once(accepted).unwrap(), [Acceptance::New { warnings: Vec::new() }]);
        self.stage.law.check(&self.stage, "accept");
        if let Some(daemon) = daemon {
            daemon.accepted(channel);
        }
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.campaigns.iter().chain(&self.standing)
    }

    fn control(&mut self, controls: &[Control]) {
        let control = controls[self.dice.usize(0..controls.len())];
        let all: Vec<String> = self.all().cloned().collect();
        if let Some(id) = self.dice.choice(&all) {
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
        self.tell(key, News::Unsubscribed);
        self.stage.law.unsubscribes(key);
    }

    /// A provider tells of what it never got.
    fn lie(&mut self) {
        let Some(key) = self.dice.choice(self.stage.law.never_left()) else { return };
        let soft = News::Bounced { bounce: Bounce::Soft, reason: Reason::MailboxFull };
        let news = [News::Accepted, News::Delivered, soft][self.dice.usize(0..3)].clone();
        self.stage.note(|| format!("a lie: {key} was {}", news.as_str()));
        self.tell(key, news);
    }

    fn tell(&self, key: DeliveryKey, news: News) {
        let (about, at) = (About::Delivery(key), self.stage.clock.now());
        let id = Receipt::id("told", &format!("{key} {at}"), news.as_str());
        let receipt = Receipt { id, about, at, news, detail: None };
        at_once(self.stage.store.record_receipts(&[receipt], false)).unwrap();
        self.stage.law.check(&self.stage, "a receipt");
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

    fn an_account_goes_away(&mut self) {
        let accounts = self.stage.setting.accounts().map(|account| account.name);
        if let Some(name) = self.dice.choice(accounts.collect::<Vec<_>>()) {
            self.goes_away(name, Duration::from_secs(8));
        }
    }

    fn goes_away(&self, who: &'static str, longest: Duration) {
        let (stage, time) = (self.stage.clone(), self.stage.weather.up_to(longest));
        stage.note(|| format!("{who} is away for {time:?}"));
        stage.weather.goes_away(who);
        tokio::spawn(async move {
            sleep(time).await;
            stage.weather.comes_back(who);
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
            for id in self.all() {
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
        self.stage.law.resolves_doubts(&self.stage);
        self.stage.law.broken().map_or(Ok(()), Err)
    }
}
