//! Campaigns that their provider refuses for everyone are paused, before the whole audience is worn out on them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, warn};

use super::campaigns::Campaign;
use crate::lifecycle::Shutdown;
use crate::model::{CampaignNo, PauseCause};
use crate::store::Store;
use crate::telemetry::Metrics;

/// Refusals that stop a campaign: providers are known to refuse a good template for some minutes by mistake, and one
/// refusal may be about what a single recipient's data made of it.
const REFUSALS: u32 = 20;
/// A campaign that was not refused for so long begins anew.
const MEMORY: Duration = Duration::from_secs(60);
const QUEUE: usize = 1_024;

/// Where workers tell of refusals.
#[derive(Debug, Clone)]
pub(super) struct Brake(mpsc::Sender<Arc<Campaign>>);

/// Counts refusals and pauses; runs until the lane stops.
#[derive(Debug)]
pub(super) struct Brakeman {
    refused: mpsc::Receiver<Arc<Campaign>>,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    publish: bool,
    counts: HashMap<CampaignNo, (u32, Instant)>,
}

/// With `publish`, pauses are told to the broker.
pub(super) fn brake(
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    publish: bool,
) -> (Brake, Brakeman) {
    let (sender, refused) = mpsc::channel(QUEUE);
    (Brake(sender), Brakeman { refused, store, metrics, shutdown, publish, counts: HashMap::new() })
}

impl Brake {
    /// The provider refused a message of this campaign for everyone's sake.
    pub(super) fn refused(&self, campaign: &Arc<Campaign>) {
        // A full queue has refusals enough to stop whatever is refused.
        self.0.try_send(campaign.clone()).ok();
    }
}

impl Brakeman {
    pub(super) async fn run(mut self) {
        loop {
            let campaign = tokio::select! {
                () = self.shutdown.asked() => return,
                campaign = self.refused.recv() => match campaign {
                    Some(campaign) => campaign,
                    None => return,
                },
            };
            if self.counts(campaign.sending.number) {
                self.pause(&campaign).await;
            }
        }
    }

    /// Returns whether this refusal is the last straw.
    fn counts(&mut self, campaign: CampaignNo) -> bool {
        let now = Instant::now();
        self.counts.retain(|_, (_, last)| now.duration_since(*last) < MEMORY);
        let (count, last) = self.counts.entry(campaign).or_insert((0, now));
        (*count, *last) = (*count + 1, now);
        *count == REFUSALS
    }

    async fn pause(&self, campaign: &Campaign) {
        let id = &campaign.sending.id;
        let cause = PauseCause::TemplateRefused;
        match self.store.pause(id, cause, self.publish).await {
            Ok(false) => {}
            Ok(true) => {
                let labels = [campaign.sending.channel.as_str(), cause.as_str()];
                self.metrics.auto_pauses.with_label_values(&labels).inc();
                error!(
                    campaign = &**id,
                    "paused: its provider refuses the template; `campaignd explain` shows its words"
                );
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "a refused campaign could not be paused");
            }
        }
    }
}
