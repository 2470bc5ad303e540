//! What all processes of one run share: the store, the time, the weather, the law, and the record of what happened.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campaignd::clock::Clock;
use campaignd::model::{DeliveryKey, Receipt};
use campaignd::provider::Receipts;
use campaignd::store::jobs::Incarnation;
use campaignd::store::sqlite::SqliteStore;
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::law::Law;
use super::setting::Setting;
use super::weather::Weather;

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) store: Arc<SqliteStore>,
    pub(super) clock: Clock,
    pub(super) weather: Weather,
    pub(super) law: Law,
    pub(super) setting: Arc<Setting>,
    /// When an account that drops repeats first took a message.
    pub(super) keys: Mutex<HashMap<(&'static str, DeliveryKey), Instant>>,
    began: Instant,
    /// Who takes receipts now.
    post: Mutex<Option<(Incarnation, Receipts)>>,
    /// What happened last; kept only where somebody will read it.
    story: Option<Mutex<VecDeque<String>>>,
}

/// Lines of the story that are kept.
const LINES: usize = 20_000;

impl Stage {
    /// `file` holds a migrated store. `told`: whether the story is kept.
    pub(super) fn new(file: &Path, seed: u64, setting: Setting, told: bool) -> Arc<Stage> {
        let (clock, setting) = (virtual_clock(), Arc::new(setting));
        Arc::new(Stage {
            store: Arc::new(SqliteStore::open(file, clock.clone()).unwrap()),
            clock,
            weather: Weather::new(seed),
            law: Law::new(file, setting.clone()),
            setting,
            keys: Mutex::default(),
            began: Instant::now(),
            post: Mutex::default(),
            story: told.then(Mutex::default),
        })
    }

    /// Virtual time since the beginning.
    pub(super) fn time(&self) -> String {
        format!("{:.3} s", self.began.elapsed().as_secs_f64())
    }

    /// Receipts go to `who` from now on.
    pub(super) fn receives(&self, who: Incarnation, post: Receipts) {
        self.post.lock().unwrap().replace((who, post));
    }

    pub(super) fn receives_no_more(&self, who: Incarnation) {
        self.post.lock().unwrap().take_if(|(receiver, _)| *receiver == who);
    }

    /// Brings a receipt after `wait` to whoever takes receipts by then.
    pub(super) fn bring(self: &Arc<Self>, receipt: Receipt, wait: Duration) {
        let stage = self.clone();
        tokio::spawn(async move {
            sleep(wait).await;
            let post = stage.post.lock().unwrap().clone();
            if let Some((_, post)) = post {
                post.bring(receipt).await;
            }
        });
    }

    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        let Some(story) = &self.story else { return };
        let mut story = story.lock().unwrap();
        if story.len() >= LINES {
            story.pop_front();
        }
        story.push_back(format!("{:>12}  {}", self.time(), line()));
    }

    pub(super) fn story(&self) -> String {
        let Some(story) = &self.story else { return String::new() };
        story.lock().unwrap().iter().fold(String::new(), |story, line| story + line + "\n")
    }
}

/// A wall clock that follows the runtime's time, which may be paused. The store asks it from threads of its own.
fn virtual_clock() -> Clock {
    let (runtime, began) = (Handle::current(), Instant::now());
    // A little before a month ends, so that standing campaigns sometimes see a new one.
    let start: Timestamp = "2026-03-31T23:59:30Z".parse().unwrap();
    Clock::new(move || {
        let _inside = runtime.enter();
        start + SignedDuration::try_from(began.elapsed()).unwrap()
    })
}
