//! One circuit an account. Closed: its provider works. Open: it is left alone, and nothing is intended for it. Then one
//! worker probes it with one message, and what comes of that closes it or opens it again for longer.
//!
//! It opens where the provider cannot be reached, where calls fail in a row, where it refuses the account, and where it
//! asks to slow down. An answer about one recipient is none about the provider.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::Account;
use crate::backoff::Redial;
use crate::model::{Outcome, Reason};
use crate::telemetry::Metrics;

/// Calls that fail in a row, over all sessions, until the circuit opens.
const FAILURES: u32 = 5;
/// How long it stays open then; doubled each time that the probe fails.
const FAILING: Duration = Duration::from_secs(5);
const LONGEST_FAILING: Duration = Duration::from_secs(300);
/// How long an account that the provider refuses is left alone.
const ACCOUNT_REFUSED: Duration = Duration::from_secs(30);
/// After a throttle answer that names no time.
const THROTTLED: Duration = Duration::from_secs(1);
/// An account is tried again after this, whatever its provider asked for.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Why an account is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Unreachable,
    Failing,
    AccountRefused,
    Throttled,
}

impl Cause {
    const ALL: [Cause; 4] = [Cause::Unreachable, Cause::Failing, Cause::AccountRefused, Cause::Throttled];

    /// The metric label.
    fn as_str(self) -> &'static str {
        match self {
            Cause::Unreachable => "unreachable",
            Cause::Failing => "failing",
            Cause::AccountRefused => "account_refused",
            Cause::Throttled => "throttled",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Closed,
    Open {
        cause: Cause,
        until: Instant,
    },
    /// One worker finds out.
    Probing {
        cause: Cause,
    },
}

/// What a worker may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Free,
    /// With one message.
    Probe,
}

#[derive(Debug)]
struct State {
    gate: Gate,
    sessions: usize,
    redial: Redial,
    /// Calls in a row that failed.
    failures: u32,
    /// How often it opened since anything good was heard, for what only a message can tell.
    opened: u32,
}

/// The circuit of one account, shared by its workers and by whoever would intend messages for it.
#[derive(Debug)]
pub(super) struct Circuit {
    account: Arc<str>,
    /// Whether a temporary failure speaks of the recipient.
    defers_recipients: bool,
    state: Mutex<State>,
    changed: Arc<watch::Sender<()>>,
    metrics: Arc<Metrics>,
}

/// All circuits of a lane.
#[derive(Debug, Clone)]
pub(super) struct Circuits {
    all: Vec<Arc<Circuit>>,
    changed: Arc<watch::Sender<()>>,
}

impl Circuits {
    pub(super) fn new(accounts: &[Account], metrics: &Arc<Metrics>) -> Self {
        let changed = Arc::new(watch::Sender::new(()));
        let circuit = |account: &Account| {
            Arc::new(Circuit {
                account: account.name.clone(),
                defers_recipients: account.provider.defers_recipients(),
                state: Mutex::new(State {
                    gate: Gate::Closed,
                    sessions: 0,
                    redial: Redial::default(),
                    failures: 0,
                    opened: 0,
                }),
                changed: changed.clone(),
                metrics: metrics.clone(),
            })
        };
        Circuits { all: accounts.iter().map(circuit).collect(), changed: changed.clone() }
    }

    /// In the order of the accounts.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Circuit>> {
        self.all.iter()
    }

    /// Whether messages may be intended for any account.
    pub(super) fn any_passes(&self) -> bool {
        self.all.iter().any(|circuit| circuit.passes().is_ok())
    }

    /// How long an account is left alone for certain; nothing while it works or is tried.
    pub(super) fn rest(&self, name: &str) -> Duration {
        let until =
            self.all.iter().find(|circuit| *circuit.account == *name).and_then(|one| one.rests_until());
        until.map_or(Duration::ZERO, |until| until.duration_since(Instant::now()))
    }

    /// Waits until messages may be intended for an account that is one of `names`; for ever where none is.
    pub(super) async fn pass(&self, names: &[&str]) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let circuits = self.all.iter().filter(|circuit| names.contains(&&*circuit.account));
            let mut soonest = None;
            for circuit in circuits {
                match circuit.passes() {
                    Ok(()) => return,
                    Err(until) => soonest = soonest.into_iter().chain(until).min(),
                }
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = elapsed(soonest) => {}
            }
        }
    }
}

async fn elapsed(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl Circuit {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether messages may be intended; else when that may change by itself.
    fn passes(&self) -> Result<(), Option<Instant>> {
        match self.state().gate {
            // Only a dial can tell.
            Gate::Open { cause: Cause::Unreachable, .. } | Gate::Probing { cause: Cause::Unreachable } => {
                Err(None)
            }
            Gate::Open { until, .. } if until > Instant::now() => Err(Some(until)),
            Gate::Closed | Gate::Open { .. } | Gate::Probing { .. } => Ok(()),
        }
    }

    fn rests_until(&self) -> Option<Instant> {
        match self.state().gate {
            Gate::Open { until, .. } => Some(until),
            Gate::Closed | Gate::Probing { .. } => None,
        }
    }

    /// Waits until a worker may dial. Whoever gets [`Admission::Probe`] must come back with [`Circuit::left`].
    pub(super) async fn admit(&self) -> Admission {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let until = {
                let mut state = self.state();
                match state.gate {
                    Gate::Closed => return Admission::Free,
                    Gate::Open { cause, until } if until <= Instant::now() => {
                        state.gate = Gate::Probing { cause };
                        return Admission::Probe;
                    }
                    Gate::Open { until, .. } => Some(until),
                    Gate::Probing { .. } => None,
                }
            };
            tokio::select! {
                _ = changed.changed() => {}
                () = elapsed(until) => {}
            }
        }
    }

    /// Whether a worker that was let in so may go on.
    pub(super) fn lets(&self, admission: Admission) -> bool {
        match self.state().gate {
            Gate::Closed => true,
            Gate::Probing { .. } => admission == Admission::Probe,
            Gate::Open { .. } => false,
        }
    }

    /// A session is ready. Returns what its worker may do now.
    pub(super) fn reached(&self, admission: Admission) -> Admission {
        let mut state = self.state();
        state.sessions += 1;
        state.redial.reset();
        match state.gate {
            Gate::Probing { cause: Cause::Unreachable } if admission == Admission::Probe => {
                if state.opened == 0 {
                    self.close(&mut state);
                    return Admission::Free;
                }
                // It answers; whether it works, a message will tell.
                self.turn(&mut state, Gate::Probing { cause: Cause::Failing });
                Admission::Probe
            }
            _ => admission,
        }
    }

    /// No session could be had. Returns how long its worker leaves it, where the circuit stays closed: other sessions
    /// are open.
    pub(super) fn unreached(&self, outcome: &Outcome, random: f64) -> Option<Duration> {
        let mut state = self.state();
        let wait = state.redial.delay(random);
        match outcome {
            Outcome::AccountRefused { .. } => {
                self.open(&mut state, Cause::AccountRefused, ACCOUNT_REFUSED, outcome);
            }
            _ if state.sessions > 0 && state.gate == Gate::Closed => return Some(wait),
            Outcome::Throttled { after, .. } => {
                self.open(&mut state, Cause::Throttled, after.unwrap_or(THROTTLED).max(wait), outcome);
            }
            _ => self.open(&mut state, Cause::Unreachable, wait, outcome),
        }
        None
    }

    /// What came of one call.
    pub(super) fn heard(&self, outcomes: &[Outcome], random: f64) {
        let mut state = self.state();
        let probing = matches!(state.gate, Gate::Probing { .. });
        let find = |what: fn(&Outcome) -> bool| outcomes.iter().find(|outcome| what(outcome));
        if let Some(outcome) = find(|outcome| matches!(outcome, Outcome::AccountRefused { .. })) {
            return self.open(&mut state, Cause::AccountRefused, ACCOUNT_REFUSED, outcome);
        }
        if let Some(outcome @ Outcome::Throttled { after, .. }) =
            find(|outcome| matches!(outcome, Outcome::Throttled { .. }))
        {
            return self.open(&mut state, Cause::Throttled, after.unwrap_or(THROTTLED), outcome);
        }
        if outcomes.iter().any(|outcome| self.is_good(outcome)) {
            (state.failures, state.opened) = (0, 0);
            if probing {
                self.close(&mut state);
            }
        } else if let Some(outcome) = outcomes.iter().find(|outcome| self.is_bad(outcome)) {
            state.failures += 1;
            if probing || state.failures >= FAILURES {
                let wait = FAILING.saturating_mul(1 << state.opened.min(8)).min(LONGEST_FAILING);
                state.opened += 1;
                self.open(&mut state, Cause::Failing, wait.mul_f64(0.8 + 0.4 * random), outcome);
            }
        }
    }

    /// Whether the provider took the call and judged what was in it.
    fn is_good(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Accepted { .. }
            | Outcome::Rejected { .. }
            | Outcome::Deferred { .. }
            | Outcome::CampaignRefused { .. }
            | Outcome::Retry { reason: Reason::MailboxFull, .. } => true,
            Outcome::Retry { reason: Reason::TemporaryFailure, .. } => self.defers_recipients,
            _ => false,
        }
    }

    fn is_bad(&self, outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Retry { .. } | Outcome::Unknown { .. }) && !self.is_good(outcome)
    }

    /// A worker's session ended. A probe that told nothing leaves the next one to another worker.
    pub(super) fn left(&self, admission: Admission, had_session: bool) {
        let mut state = self.state();
        if had_session {
            state.sessions = state.sessions.saturating_sub(1);
        }
        if let (Gate::Probing { cause }, Admission::Probe) = (state.gate, admission) {
            self.turn(&mut state, Gate::Open { cause, until: Instant::now() });
        }
    }

    fn open(&self, state: &mut State, cause: Cause, wait: Duration, outcome: &Outcome) {
        let mut until = Instant::now() + wait.min(LONGEST);
        match state.gate {
            Gate::Open { until: longer, .. } => until = until.max(longer),
            Gate::Closed => warn!(
                provider = &*self.account,
                cause = cause.as_str(),
                ?outcome,
                "the provider is left alone; nothing is sent through it until it works again"
            ),
            Gate::Probing { .. } => {}
        }
        self.turn(state, Gate::Open { cause, until });
    }

    fn close(&self, state: &mut State) {
        info!(provider = &*self.account, "the provider works again");
        self.turn(state, Gate::Closed);
    }

    fn turn(&self, state: &mut State, gate: Gate) {
        state.gate = gate;
        let why = match gate {
            Gate::Closed => None,
            Gate::Open { cause, .. } | Gate::Probing { cause } => Some(cause),
        };
        for cause in Cause::ALL {
            let gauge = self.metrics.provider_paused.with_label_values(&[&*self.account, cause.as_str()]);
            gauge.set(i64::from(why == Some(cause)));
        }
        self.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests;
