//! The real planner, lanes, ledger, heart and receipt writer on virtual time, over the real SQLite store, with faults by
//! seed; the law of the ledger is checked after every commit.
//!
//! A seed decides the weather, what users and operators do, when daemons crash, freeze and drain. What it does not decide
//! is the order in which hash maps are walked and in which `select!` looks at its branches, so a breach may take a few
//! tries of its seed to come back.
//!
//! `CAMPAIGND_SIMULATION_SEEDS=N` plays N seeds instead of the usual number; `CAMPAIGND_SIMULATION_SEED=S` plays one and
//! tells its story where it ends badly.

mod books;
mod carrier;
mod jobs;
mod law;
mod ledger;
mod meter;
mod process;
mod seam;
mod setting;
mod stage;
mod weather;
mod world;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use campaignd::clock::Clock;
use campaignd::model::Channel;
use campaignd::model::contact::Contact;
use campaignd::store::contacts::Upsert;
use campaignd::store::sqlite::SqliteStore;
use campaignd::store::{Admin, Contacts};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::store::bed::email;
use jobs::{PEOPLE, address};
use world::{Tally, play};

/// About a minute's worth on two cores.
const SEEDS: u64 = 300;

#[test]
fn the_law_holds_in_any_weather() {
    let folder = scratch();
    let original = original(&folder);
    if let Some(seed) = number("CAMPAIGND_SIMULATION_SEED") {
        return run(seed, &original, true).map(drop).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    let seeds = number("CAMPAIGND_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let (next, broken) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let total = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    match run(seed, &original, false) {
                        Ok(tally) => total.lock().unwrap().add(tally),
                        Err(what) => broken.lock().unwrap().push((seed, what)),
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    println!("{seeds} seeds: {:?}", total.into_inner().unwrap());
    let report = broken.iter().map(|(seed, what)| {
        format!(
            "seed {seed}: {what}\n  again: CAMPAIGND_SIMULATION_SEED={seed} cargo test --test it simulation"
        )
    });
    assert!(
        broken.is_empty(),
        "{} of {seeds} seeds\n{}",
        broken.len(),
        report.collect::<Vec<_>>().join("\n")
    );
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.deliveries += other.deliveries;
        self.taken += other.taken;
        self.taken_again += other.taken_again;
        self.processes += other.processes;
        self.virtual_time += other.virtual_time;
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// One run, on a copy of the original store and a runtime of its own.
fn run(seed: u64, original: &Path, told: bool) -> Result<Tally, String> {
    let folder = scratch();
    let file = folder.path().join("campaignd.db");
    std::fs::copy(original, &file).unwrap();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(play(seed, &file, told))));
    played.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        Err(words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

/// In memory where there is such a place: a run syncs thousands of commits.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new();
    if memory.is_dir() { builder.tempdir_in(memory).unwrap() } else { builder.tempdir().unwrap() }
}

/// A migrated store with its people, in one file.
fn original(folder: &TempDir) -> PathBuf {
    let (made, original) = (folder.path().join("made.db"), folder.path().join("original.db"));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let store = SqliteStore::open(&made, Clock::system()).unwrap();
    runtime.block_on(async {
        store.migrate().await.unwrap();
        store.secrets().await.unwrap();
        let phone = |i| json!({"channel": "sms", "address": address(Channel::Sms, i), "consent": true});
        let person =
            |i| json!({"external_id": format!("P{i}"), "addresses": [email(&format!("P{i}")), phone(i)]});
        let people: Vec<Value> = (1..=PEOPLE).map(person).collect();
        let mut people: Vec<Contact> = serde_json::from_value(Value::Array(people)).unwrap();
        people.push(serde_json::from_value(json!({"external_id": "P0"})).unwrap());
        people.iter_mut().for_each(|person| person.canonicalize().unwrap());
        store.upsert_contacts(&people, Upsert::Merge, "test").await.unwrap();
    });
    let into = format!("VACUUM INTO '{}'", original.display());
    Connection::open(&made).unwrap().execute_batch(&into).unwrap();
    original
}
