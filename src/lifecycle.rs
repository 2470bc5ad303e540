//! How the process ends: who asks whom to stop, what a stop still waits for, and what a dead task means.
//!
//! A [`Shutdown`] belongs to one part of the program (intake, lanes, listeners, recorder); the application drains
//! the parts in their order under one deadline. While it waits it says by name what it waits for. A [`Supervisor`]
//! runs the long-lived tasks: one that fails, panics or ends unasked stops the process, since a daemon that lost a
//! part only looks alive. [`Signals`] brings the operating system's wishes as values.
//!
//! Never exits the process itself, and aborts no task: what a crash would leave behind is the ledger's to name.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// How often a drain says what it still waits for.
const PROGRESS: Duration = Duration::from_secs(5);

type Name = Cow<'static, str>;
type Alive = BTreeMap<Name, usize>;

/// The stop of one part of the program; clones are the same stop.
#[derive(Debug, Clone)]
pub struct Shutdown {
    part: &'static str,
    asked: CancellationToken,
    alive: Arc<watch::Sender<Alive>>,
}

/// Something that a drain waits for, until this is dropped.
#[derive(Debug)]
#[must_use = "the drain waits only while this lives"]
pub struct Activity {
    name: Name,
    alive: Arc<watch::Sender<Alive>>,
}

/// Why a drain ended before everything was done, with what was left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    #[error("the deadline passed while {part} waited for: {waiting_for}")]
    Deadline { part: &'static str, waiting_for: String },
    #[error("a second signal came while {part} waited for: {waiting_for}")]
    Interrupted { part: &'static str, waiting_for: String },
}

impl Shutdown {
    pub fn new(part: &'static str) -> Self {
        Self { part, asked: CancellationToken::new(), alive: Arc::new(watch::Sender::default()) }
    }

    /// Asks the part to stop: to take nothing new, and to finish what it holds.
    pub fn ask(&self) {
        self.asked.cancel();
    }

    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Resolves once the part was asked to stop.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// A guard for something that must be finished first; several may share a name.
    pub fn activity(&self, name: impl Into<Name>) -> Activity {
        let name = name.into();
        self.alive.send_modify(|alive| *alive.entry(name.clone()).or_default() += 1);
        Activity { name, alive: self.alive.clone() }
    }

    /// Asks the part to stop and waits until no [`Activity`] is left, `deadline` has passed or `interrupt` resolves.
    ///
    /// # Errors
    /// [`Unfinished`], naming what was still going on.
    pub async fn drain(
        &self,
        deadline: Instant,
        interrupt: impl Future<Output = ()>,
    ) -> Result<(), Unfinished> {
        self.ask();
        let mut alive = self.alive.subscribe();
        let mut idle = pin!(alive.wait_for(BTreeMap::is_empty));
        let mut interrupt = pin!(interrupt);
        let mut progress = interval_at(Instant::now() + PROGRESS, PROGRESS);
        let part = self.part;
        loop {
            tokio::select! {
                biased;
                _ = &mut idle => return Ok(()),
                () = &mut interrupt => {
                    return Err(Unfinished::Interrupted { part, waiting_for: self.waiting_for() });
                }
                () = sleep_until(deadline) => {
                    return Err(Unfinished::Deadline { part, waiting_for: self.waiting_for() });
                }
                _ = progress.tick() => info!(part, "still waiting for: {}", self.waiting_for()),
            }
        }
    }

    /// The names of what is going on, with their numbers: `recorder, smtp relay (12)`.
    pub fn waiting_for(&self) -> String {
        let names: Vec<String> = self
            .alive
            .borrow()
            .iter()
            .map(|(name, count)| if *count == 1 { name.to_string() } else { format!("{name} ({count})") })
            .collect();
        names.join(", ")
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.alive.send_modify(|alive| match alive.get_mut(&self.name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(alive.remove(&self.name)),
        });
    }
}

/// Starts the long-lived tasks and learns of the first that dies.
#[derive(Debug)]
pub struct Supervisor {
    report: mpsc::Sender<Failure>,
    failures: mpsc::Receiver<Failure>,
}

/// A long-lived task that is no more.
#[derive(Debug, thiserror::Error)]
#[error("{task} {cause}")]
pub struct Failure {
    pub task: &'static str,
    pub cause: Cause,
}

#[derive(Debug)]
pub enum Cause {
    /// It returned an error.
    Failed(Box<dyn Error + Send + Sync>),
    /// It panicked, with this message.
    Panicked(String),
    /// It returned although nobody had asked its part to stop.
    Ended,
}

impl Supervisor {
    pub fn new() -> Self {
        let (report, failures) = mpsc::channel(1);
        Self { report, failures }
    }

    /// Runs `task` until it ends. It counts as an [`Activity`] of `part` under its name.
    pub fn spawn<F, E>(&self, name: &'static str, part: &Shutdown, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let activity = part.activity(name);
        let part = part.clone();
        let report = self.report.clone();
        tokio::spawn(async move {
            let cause = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) if part.is_asked() => None,
                Ok(Ok(())) => Some(Cause::Ended),
                Ok(Err(error)) => Some(Cause::Failed(error.into())),
                Err(panic) => Some(Cause::Panicked(message(panic.as_ref()))),
            };
            if let Some(cause) = cause {
                let failure = Failure { task: name, cause };
                error!("{failure}");
                // The first failure stops the process; those that follow from it are only logged.
                drop(report.try_send(failure));
            }
            drop(activity);
        });
    }

    /// Resolves when a task has died. Pending for as long as all are well.
    pub async fn failure(&mut self) -> Failure {
        match self.failures.recv().await {
            Some(failure) => failure,
            // Unreachable while `report` lives beside it.
            None => std::future::pending().await,
        }
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Failed(error) => {
                write!(f, "failed: {error}")?;
                let mut source = error.source();
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
            Cause::Panicked(message) => write!(f, "panicked: {message}"),
            Cause::Ended => f.write_str("ended although nothing had asked it to"),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "without a message".to_owned(),
    }
}

/// What the operating system asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: drain and end; a second one ends at once.
    Stop,
    /// SIGHUP: read rates and templates again.
    Reload,
}

/// The signals of the process, from the moment that this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
}

impl Signals {
    /// Takes the signals over from their default action.
    ///
    /// # Errors
    /// Where the operating system refuses the handler.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hang_up: unix::signal(SignalKind::hangup())?,
        })
    }

    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }

    /// Resolves at the next request to stop, passing over the others: the interrupt of a drain.
    pub async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_every_activity() {
        let shutdown = Shutdown::new("lanes");
        let (first, second) = (shutdown.activity("send"), shutdown.activity("send"));
        let recorder = shutdown.activity("recorder");
        assert_eq!(shutdown.waiting_for(), "recorder, send (2)");
        let draining = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.drain(in_a_minute(), pending()).await }
        });
        shutdown.asked().await;
        drop((first, recorder));
        assert_eq!(shutdown.waiting_for(), "send");
        assert!(!draining.is_finished());
        drop(second);
        assert_eq!(draining.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_to_wait_for_is_no_wait() {
        let passed = Instant::now();
        assert_eq!(Shutdown::new("intake").drain(passed, pending()).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_and_a_second_signal_name_what_was_left() {
        let shutdown = Shutdown::new("lanes");
        let _send = shutdown.activity(format!("send by {}", "relay"));
        let waiting_for = "send by relay".to_owned();
        assert_eq!(
            shutdown.drain(in_a_minute(), pending()).await,
            Err(Unfinished::Deadline { part: "lanes", waiting_for: waiting_for.clone() })
        );
        assert_eq!(
            shutdown.drain(in_a_minute(), async {}).await,
            Err(Unfinished::Interrupted { part: "lanes", waiting_for })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_fails_panics_or_ends_is_reported() {
        async fn report<E: Into<Box<dyn Error + Send + Sync>>>(
            task: impl Future<Output = Result<(), E>> + Send + 'static,
        ) -> String {
            let mut supervisor = Supervisor::new();
            supervisor.spawn("planner", &Shutdown::new("lanes"), task);
            supervisor.failure().await.to_string()
        }
        assert_eq!(report(async { Err("no store") }).await, "planner failed: no store");
        assert_eq!(
            report::<String>(async { panic!("at the disco") }).await,
            "planner panicked: at the disco"
        );
        assert_eq!(
            report::<String>(async { Ok(()) }).await,
            "planner ended although nothing had asked it to"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_stops_when_asked_is_well() {
        let mut supervisor = Supervisor::new();
        let shutdown = Shutdown::new("lanes");
        let asked = shutdown.clone();
        supervisor.spawn("planner", &shutdown, async move {
            asked.asked().await;
            Ok::<(), String>(())
        });
        assert_eq!(shutdown.drain(in_a_minute(), pending()).await, Ok(()));
        assert!(supervisor.failure().now_or_never().is_none());
    }

    #[tokio::test]
    async fn signals_arrive_as_values() {
        fn send(signal: &str) {
            let pid = std::process::id().to_string();
            assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        }
        let mut signals = Signals::install().unwrap();
        send("-HUP");
        assert_eq!(signals.next().await, Signal::Reload);
        send("-TERM");
        assert_eq!(signals.next().await, Signal::Stop);
        send("-HUP");
        send("-INT");
        signals.stop().await;
    }
}
