//! Heartbeats: ours, so that our leases stay ours; the others', so that a dead daemon's batches are rescued.
//!
//! Expiry is observed on our own monotonic clock; clocks of two machines are never compared.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

use crate::lifecycle::Shutdown;
use crate::store::dispatching::HEARTBEAT_TIMEOUT;
use crate::store::jobs::Incarnation;
use crate::store::{Error, Store};
use crate::telemetry::{Metrics, Outage};

const BEAT: Duration = Duration::from_secs(2);

/// Whether our last confirmed beat is young enough to hand anything to a provider.
#[derive(Debug, Clone)]
pub struct Heart {
    confirmed: watch::Receiver<Instant>,
}

impl Heart {
    pub(super) fn is_fresh(&self) -> bool {
        self.confirmed.borrow().elapsed() < HEARTBEAT_TIMEOUT / 2
    }

    /// A heart, the task that beats it and watches the others', and the one that takes over from the dead: apart, since a
    /// rescue may take long and a beat may not wait. Both end when `shutdown` is asked.
    pub fn new(
        store: Arc<dyn Store>,
        me: Incarnation,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> (Self, impl Future<Output = Result<(), Error>> + Send, impl Future<Output = Result<(), Error>> + Send)
    {
        let (confirm, confirmed) = watch::channel(Instant::now());
        let (found, dead) = watch::channel(Vec::new());
        let beating = beat(store.clone(), me, shutdown.clone(), confirm, found);
        (Heart { confirmed }, beating, rescue_all(store, metrics, shutdown, dead))
    }
}

async fn beat(
    store: Arc<dyn Store>,
    me: Incarnation,
    shutdown: Shutdown,
    confirm: watch::Sender<Instant>,
    found: watch::Sender<Vec<Incarnation>>,
) -> Result<(), Error> {
    let (mut others, outage) = (Others::default(), Outage::new("heartbeat"));
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.asked() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let asked = Instant::now();
        match store.beat(me).await {
            Ok(beats) => {
                outage.ends();
                confirm.send_replace(asked);
                let dead = others.dead(me, &beats, asked);
                if !dead.is_empty() {
                    found.send_replace(dead);
                }
            }
            Err(error) if error.is_transient() => {
                // While the store is silent, an unchanged beat says nothing.
                others = Others::default();
                outage.goes_on(&error);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Rescues whoever the last beat found dead. A rescue is many small transactions: one that is cut off in the middle is
/// gone on with by whoever finds the same dead again.
async fn rescue_all(
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    mut dead: watch::Receiver<Vec<Incarnation>>,
) -> Result<(), Error> {
    let rescue = async {
        while dead.changed().await.is_ok() {
            let found = dead.borrow_and_update().clone();
            for dead in found {
                rescue(&*store, dead, &metrics).await?;
            }
        }
        Ok(())
    };
    tokio::select! {
        // The beat has ended, and its part was asked to.
        () = shutdown.asked() => Ok(()),
        rescued = rescue => rescued,
    }
}

async fn rescue(store: &dyn Store, dead: Incarnation, metrics: &Metrics) -> Result<(), Error> {
    match store.rescue(dead).await {
        Ok(rescued) => {
            metrics.leases_expired.inc_by(rescued.batches);
            if rescued.batches > 0 {
                info!(
                    rescued.batches,
                    rescued.unknown,
                    rescued.resent,
                    rescued.waiting,
                    "took over from a daemon that stopped beating"
                );
            }
            Ok(())
        }
        Err(error) if error.is_transient() => Ok(()),
        Err(error) => Err(error),
    }
}

/// When each other incarnation's beat was last seen to change.
#[derive(Debug, Default)]
struct Others(HashMap<Incarnation, (i64, Instant)>);

impl Others {
    fn dead(&mut self, me: Incarnation, beats: &[(Incarnation, i64)], now: Instant) -> Vec<Incarnation> {
        self.0.retain(|known, _| beats.iter().any(|(other, _)| other == known));
        let mut dead = Vec::new();
        for (other, beat) in beats.iter().filter(|(other, _)| *other != me) {
            let seen = self.0.entry(*other).or_insert((*beat, now));
            if seen.0 != *beat {
                *seen = (*beat, now);
            } else if now.duration_since(seen.1) >= HEARTBEAT_TIMEOUT {
                dead.push(*other);
            }
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_beat_that_does_not_change_for_long_is_dead() {
        let (me, other) = (Incarnation(1), Incarnation(2));
        let start = Instant::now();
        let mut others = Others::default();
        assert!(others.dead(me, &[(me, 1), (other, 7)], start).is_empty());
        assert!(others.dead(me, &[(me, 1), (other, 8)], start + HEARTBEAT_TIMEOUT).is_empty());
        let later = start + HEARTBEAT_TIMEOUT * 2;
        assert_eq!(others.dead(me, &[(me, 1), (other, 8)], later), [other]);
        assert!(others.dead(me, &[(me, 1)], later).is_empty());
    }
}
