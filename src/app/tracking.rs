//! What the public routes need, over the keyring, the store and the spool.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use jiff::Timestamp;
use tracing::{debug, error};

use crate::batcher::{Batcher, Flusher, Limits, batcher};
use crate::clock::Clock;
use crate::config;
use crate::lifecycle::{Shutdown, Supervisor};
use crate::model::{CampaignNo, DeliveryKey, Event, LinkNo};
use crate::spool::{Settings, Spool};
use crate::store::{Error, Store};
use crate::telemetry::Metrics;
use crate::token::{Keyring, Kind};
use crate::track::{
    Backing, ClickClaims, Delivered, Directory, EventIntake, Patience, Recorder, Rules, Tokens, Unavailable,
};

/// Events between the requests and whatever makes them durable; more are dropped.
const EVENT_QUEUE: usize = 100_000;
/// Groups that follow one another begin so far apart, unless [`ENOUGH`] events wait: each group costs the store a
/// transaction, and an answer waits for one that reads and one that writes.
const PACE: Duration = Duration::from_millis(4);
const ENOUGH: NonZeroUsize = NonZeroUsize::new(32).expect("is not 0");
const GROUPS: Limits = Limits {
    size: NonZeroUsize::new(1_000).expect("is not 0"),
    pace: PACE,
    enough: ENOUGH,
    queue: NonZeroUsize::new(4_096).expect("is not 0"),
};
/// Links kept in memory, at most; beyond that all are read again.
const LINKS: usize = 65_536;

#[derive(Debug)]
pub(super) struct TrackingTokens(pub(super) Arc<Keyring>);

impl Tokens for TrackingTokens {
    fn open(&self, token: &str) -> Option<DeliveryKey> {
        self.0.verify(Kind::Open, token).map(|claims| claims.delivery)
    }

    fn unsubscribe(&self, token: &str) -> Option<DeliveryKey> {
        self.0.verify(Kind::Unsubscribe, token).map(|claims| claims.delivery)
    }

    fn click(&self, token: &str) -> Option<ClickClaims> {
        let claims = self.0.verify(Kind::Click, token)?;
        Some(ClickClaims { delivery: claims.delivery, link: claims.link?, url: claims.url })
    }
}

#[derive(Debug)]
pub(super) struct StoreDirectory {
    store: Arc<dyn Store>,
    links: Mutex<HashMap<(CampaignNo, LinkNo), String>>,
    /// Deliveries that are asked for gather while the previous group is being read.
    deliveries: Batcher<DeliveryKey, Option<Delivered>, Unavailable>,
}

type DeliveryReader = Flusher<DeliveryKey, Option<Delivered>, Unavailable>;

impl StoreDirectory {
    fn new(store: Arc<dyn Store>) -> (Self, DeliveryReader) {
        let (deliveries, reader) = batcher(GROUPS);
        (StoreDirectory { store, links: Mutex::default(), deliveries }, reader)
    }
}

/// Reads groups until the directory is gone.
async fn read_deliveries(reader: DeliveryReader, store: Arc<dyn Store>) {
    reader
        .run(|keys: Vec<DeliveryKey>| {
            let store = store.clone();
            async move {
                let sent = sent_at(&*store, &keys).await?;
                let delivered = |key| sent.get(key).map(|&(at, links)| Delivered { at, links });
                Ok(keys.iter().map(delivered).collect())
            }
        })
        .await;
}

/// A group that the store refuses is taken apart, so that one bad key does not hold the others up.
async fn sent_at(
    store: &dyn Store,
    keys: &[DeliveryKey],
) -> Result<HashMap<DeliveryKey, (Timestamp, usize)>, Unavailable> {
    match store.sent_at(keys).await {
        Ok(sent) => return Ok(sent),
        Err(error) if error.is_transient() => return Err(away(&error)),
        Err(_) => {}
    }
    let mut sent = HashMap::new();
    for key in keys {
        match store.sent_at(std::slice::from_ref(key)).await {
            Ok(one) => sent.extend(one),
            Err(error) if error.is_transient() => return Err(away(&error)),
            Err(error) => error!("a delivery cannot be looked up: {error}"),
        }
    }
    Ok(sent)
}

#[async_trait]
impl Directory for StoreDirectory {
    async fn link(&self, campaign: CampaignNo, link: LinkNo) -> Result<Option<String>, Unavailable> {
        let key = (campaign, link);
        if let Some(url) = self.links.lock().ok().and_then(|links| links.get(&key).cloned()) {
            return Ok(Some(url));
        }
        let found = self.store.link(campaign, link).await.map_err(|_| Unavailable)?;
        if let (Some(url), Ok(mut links)) = (&found, self.links.lock()) {
            if links.len() >= LINKS {
                links.clear();
            }
            links.insert(key, url.clone());
        }
        Ok(found)
    }

    async fn sent_at(&self, delivery: DeliveryKey) -> Result<Option<Delivered>, Unavailable> {
        self.deliveries.submit(delivery).await.map_err(|_| Unavailable)
    }
}

/// Where the daemon's events go.
pub(super) struct Events {
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    /// Whether they go out to the broker, too.
    pub(super) publish: bool,
}

impl Events {
    /// Starts what takes events to the store, if need be by the disk, and the directory by which they are judged; both end
    /// once intake and directory are gone.
    ///
    /// # Errors
    /// The spool's folder cannot be used.
    pub(super) fn start(
        self,
        settings: &config::Tracking,
        supervisor: &Supervisor,
        part: &Shutdown,
    ) -> Result<(EventIntake, Arc<StoreDirectory>)> {
        let folder =
            Settings { folder: settings.spool.clone(), limit: settings.spool_limit, age: settings.spool_age };
        let spool =
            Spool::open(&folder, self.clock.clone(), self.metrics.clone()).context("tracking.spool")?;
        let (directory, reader) = StoreDirectory::new(self.store.clone());
        let (directory, store) = (Arc::new(directory), self.store.clone());
        supervisor.spawn("delivery reader", part, async {
            read_deliveries(reader, store).await;
            Ok::<(), Error>(())
        });
        let (recorder, flusher) = event_recorder();
        supervisor.spawn("event writer", part, async {
            write_events(flusher, self).await;
            Ok::<(), Error>(())
        });
        let rules = Rules {
            within: settings.machine_within,
            links_within: settings.machine_links_within,
            addresses: settings.machine_addresses.and_then(|most| usize::try_from(most).ok()),
        };
        let recorder = Arc::new(recorder);
        let backing = Backing {
            rules,
            directory: directory.clone(),
            recorder,
            spool,
            patience: Patience::default().store,
        };
        let (intake, worker) = EventIntake::new(EVENT_QUEUE, backing);
        supervisor.spawn("event intake", part, async {
            worker.await;
            Ok::<(), Error>(())
        });
        Ok((intake, directory))
    }
}

/// Events gather while the previous group is being written.
struct EventRecorder(Batcher<Event, (), Unavailable>);

type EventFlusher = Flusher<Event, (), Unavailable>;

fn event_recorder() -> (EventRecorder, EventFlusher) {
    let (recorder, flusher) = batcher(GROUPS);
    (EventRecorder(recorder), flusher)
}

#[async_trait]
impl Recorder for EventRecorder {
    async fn record(&self, event: Event) -> Result<(), Unavailable> {
        self.0.submit(event).await.map_err(|_| Unavailable)
    }
}

/// Writes groups until every recorder is gone.
async fn write_events(flusher: EventFlusher, to: Events) {
    let to = Arc::new(to);
    flusher
        .run(|events: Vec<Event>| {
            let to = to.clone();
            async move {
                let timer = to.metrics.store_query_duration.with_label_values(&["events"]).start_timer();
                write(&*to.store, &events, to.publish).await?;
                timer.observe_duration();
                let now = to.clock.now();
                for event in &events {
                    to.metrics.events_recorded.with_label_values(&[event.kind.as_str()]).inc();
                    to.metrics.event_lag.observe(now.duration_since(event.at).as_secs_f64());
                }
                Ok(vec![(); events.len()])
            }
        })
        .await;
}

/// A group that the store refuses is taken apart, so that one bad event does not hold the others up.
async fn write(store: &dyn Store, events: &[Event], publish: bool) -> Result<(), Unavailable> {
    match store.record_events(events, publish).await {
        Ok(_) => return Ok(()),
        Err(error) if error.is_transient() => return Err(away(&error)),
        Err(_) => {}
    }
    for event in events {
        match store.record_events(std::slice::from_ref(event), publish).await {
            Ok(_) => {}
            Err(error) if error.is_transient() => return Err(away(&error)),
            Err(error) => {
                // What stands below the store's words may quote the row.
                error!(id = %event.id, "an event cannot be recorded: {error}")
            }
        }
    }
    Ok(())
}

/// Why a whole group was not read or written; each of its items is offered again.
fn away(error: &Error) -> Unavailable {
    // The spool tells that it takes them.
    debug!(error = error as &dyn std::error::Error, "events wait for the store");
    Unavailable
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::model::ContactNo;
    use crate::store::postgres::PgStore;

    #[tokio::test]
    async fn a_store_that_is_away_is_away_for_the_whole_group() {
        let nowhere = PgStore::new("postgres://nobody@127.0.0.1:1/nothing", 1).unwrap();
        let store: Arc<dyn Store> = Arc::new(nowhere);
        let (directory, reader) = StoreDirectory::new(store.clone());
        let reading = tokio::spawn(read_deliveries(reader, store));
        let asked = (0..3).map(|number| {
            let contact = ContactNo(number);
            directory.sent_at(DeliveryKey { campaign: CampaignNo(1), contact, occurrence: 0 })
        });
        assert_eq!(join_all(asked).await, [Err(Unavailable); 3]);
        drop(directory);
        reading.await.unwrap();
    }
}
