//! What the public routes need, over the keyring and the store.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tracing::{error, warn};

use crate::batcher::{Batcher, Flusher, Limits, batcher};
use crate::clock::Clock;
use crate::config;
use crate::model::{CampaignNo, DeliveryKey, Event, LinkNo};
use crate::store::{Error, Store};
use crate::telemetry::Metrics;
use crate::token::{Keyring, Kind};
use crate::track::{ClickClaims, Delivered, Directory, Machines, Recorder, Rules, Tokens, Unavailable};

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
}

impl StoreDirectory {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        StoreDirectory { store, links: Mutex::default() }
    }
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
        let sent = self.store.sent_at(delivery).await.map_err(|_| Unavailable)?;
        Ok(sent.map(|(at, links)| Delivered { at, links }))
    }
}

/// Events gather while the previous group is being written.
pub(super) struct EventRecorder(Batcher<Event, (), Flushed>);

/// Why a whole group was not written; each event is offered again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flushed;

pub(super) type EventFlusher = Flusher<Event, (), Flushed>;

pub(super) fn event_recorder() -> (EventRecorder, EventFlusher) {
    const SIZE: NonZeroUsize = NonZeroUsize::new(1_000).expect("is not 0");
    const QUEUE: NonZeroUsize = NonZeroUsize::new(4_096).expect("is not 0");
    let (recorder, flusher) = batcher(Limits { size: SIZE, age: Duration::ZERO, queue: QUEUE });
    (EventRecorder(recorder), flusher)
}

#[async_trait]
impl Recorder for EventRecorder {
    async fn record(&self, event: Event) -> Result<(), Unavailable> {
        self.0.submit(event).await.map_err(|_| Unavailable)
    }
}

/// Writes groups until every recorder is gone.
pub(super) async fn write_events(
    flusher: EventFlusher,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    clock: Clock,
    publish: bool,
) {
    flusher
        .run(|events: Vec<Event>| {
            let (store, metrics, clock) = (store.clone(), metrics.clone(), clock.clone());
            async move {
                let timer = metrics.store_query_duration.with_label_values(&["events"]).start_timer();
                write(&*store, &events, publish).await?;
                timer.observe_duration();
                let now = clock.now();
                for event in &events {
                    metrics.events_recorded.with_label_values(&[event.kind.as_str()]).inc();
                    metrics.event_lag.observe(now.duration_since(event.at).as_secs_f64());
                }
                Ok(vec![(); events.len()])
            }
        })
        .await;
}

/// A group that the store refuses is taken apart, so that one bad event does not hold the others up.
async fn write(store: &dyn Store, events: &[Event], publish: bool) -> Result<(), Flushed> {
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
                error!(error = &error as &dyn std::error::Error, id = %event.id, "an event cannot be recorded")
            }
        }
    }
    Ok(())
}

fn away(error: &Error) -> Flushed {
    warn!(error = error as &dyn std::error::Error, "events wait for the store");
    Flushed
}

/// What makes an open or a click a machine's.
pub(super) fn machines(tracking: &config::Tracking) -> Machines {
    Machines::new(Rules {
        within: tracking.machine_within,
        links_within: tracking.machine_links_within,
        addresses: tracking.machine_addresses.and_then(|most| usize::try_from(most).ok()),
    })
}
