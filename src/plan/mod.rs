//! Planning and housekeeping: campaigns become deliveries page by page, stopped ones are settled, ended ones closed.
//!
//! The store does the work and keeps two daemons apart; here is only the rhythm.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use crate::lifecycle::Shutdown;
use crate::model::{AutoPause, CampaignNo, Channel, PauseCause, Reason, State};
use crate::store::campaigns::Running;
use crate::store::planning::Page;
use crate::store::{Error, Store};
use crate::telemetry::{Heartbeat, Metrics, Outage};

/// How often new work is looked for.
const POLL: Duration = Duration::from_millis(200);
/// Contact numbers or list entries that a campaign's first page looks at.
const FIRST_SPAN: u32 = 50_000;
const LONGEST_SPAN: u32 = 1_000_000;
/// A page is meant to hold about this many recipients, so that transactions stay short.
const PAGE: i64 = 50_000;

/// How long a campaign that the store refused is left alone.
const REFUSED: Duration = Duration::from_secs(60);

/// Plans campaigns, a page of each in turn.
#[derive(Debug)]
pub struct Planner {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    spans: HashMap<CampaignNo, u32>,
    /// Campaigns that the store refused to plan, and when: one of them does not stop the others.
    refused: HashMap<CampaignNo, Instant>,
}

impl Planner {
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        Planner { store, metrics, shutdown, spans: HashMap::new(), refused: HashMap::new() }
    }

    /// # Errors
    /// When the store refuses.
    pub async fn run(mut self) -> Result<(), Error> {
        let (beat, outage) = (Heartbeat::new(&self.metrics, "planner"), Outage::new("planner"));
        while !self.shutdown.is_asked() {
            beat.beat();
            let busy = match self.round().await {
                Ok(busy) => {
                    outage.ends();
                    busy
                }
                Err(error) if error.is_transient() => {
                    outage.goes_on(&error);
                    false
                }
                Err(error) => return Err(error),
            };
            if !busy {
                tokio::select! {
                    () = self.shutdown.asked() => {}
                    () = sleep(POLL) => {}
                }
            }
        }
        Ok(())
    }

    /// One page of every campaign that is still to be planned. Returns whether there was one.
    async fn round(&mut self) -> Result<bool, Error> {
        let campaigns = self.store.campaigns_to_plan().await?;
        self.spans.retain(|campaign, _| campaigns.contains(campaign));
        self.refused.retain(|campaign, _| campaigns.contains(campaign));
        let mut busy = false;
        for campaign in campaigns {
            if self.shutdown.is_asked() {
                return Ok(false);
            }
            let span = *self.spans.get(&campaign).unwrap_or(&FIRST_SPAN);
            if self.refused.get(&campaign).is_some_and(|at| at.elapsed() < REFUSED) {
                continue;
            }
            let timer = self.metrics.store_query_duration.with_label_values(&["plan"]).start_timer();
            let page = match self.store.plan_page(campaign, span).await {
                Err(error) if !error.is_transient() => {
                    error!(%campaign, error = &error as &dyn std::error::Error, "the campaign cannot be planned; it waits");
                    self.refused.insert(campaign, Instant::now());
                    continue;
                }
                page => page?,
            };
            timer.observe_duration();
            if let Some(page) = page {
                busy = true;
                self.count(&page);
                self.spans.insert(campaign, next_span(span, page.recipients()));
            }
        }
        Ok(busy)
    }

    fn count(&self, page: &Page) {
        for (state, reason, n) in &page.counts {
            let labels = [page.channel.as_str(), state.as_str(), reason.map_or("", Reason::as_str)];
            self.metrics.recipients_planned.with_label_values(&labels).inc_by(u64::try_from(*n).unwrap_or(0));
        }
    }
}

/// Sparse ranges are walked in longer steps.
fn next_span(span: u32, recipients: i64) -> u32 {
    if recipients < PAGE / 4 {
        span.saturating_mul(2).min(LONGEST_SPAN)
    } else if recipients > PAGE {
        (span / 2).max(1)
    } else {
        span
    }
}

/// Keeps the ledger's books: stopped campaigns are settled, bad lists paused, ended ones closed, counters folded, job
/// ids and the audit log pruned, the erased forgotten for good.
#[derive(Debug)]
pub struct Housekeeper {
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
    pub shutdown: Shutdown,
    /// Whether a campaign's end or pause is told to the broker.
    pub publish: bool,
    /// Channels whose campaigns are paused where their lists are bad.
    pub auto_pause: BTreeMap<Channel, AutoPause>,
}

/// How often each duty is done.
const SETTLE: Duration = Duration::from_millis(500);
const GAUGES: Duration = Duration::from_secs(5);
const PRUNE: Duration = Duration::from_secs(3_600);
/// Job ids are remembered for so many days.
pub const JOB_DAYS: u32 = 90;
/// The audit log goes so many days back: thirteen months.
pub const AUDIT_DAYS: u32 = 400;
/// For so long something may still be on its way about somebody who was erased: an answer, a spooled event.
const ERASED_LATELY: SignedDuration = SignedDuration::from_hours(48);

impl Housekeeper {
    /// # Errors
    /// When the store refuses.
    pub async fn run(self) -> Result<(), Error> {
        let (beat, outage) = (Heartbeat::new(&self.metrics, "housekeeper"), Outage::new("housekeeper"));
        let (mut gauged, mut pruned) = (None::<Instant>, None::<Instant>);
        // A counter that begins at 1 shows no increase.
        for (channel, cause) in
            Channel::ALL.iter().flat_map(|one| PauseCause::ALL.iter().map(move |cause| (one, cause)))
        {
            self.metrics.auto_pauses.with_label_values(&[channel.as_str(), cause.as_str()]).inc_by(0);
        }
        while !self.shutdown.is_asked() {
            beat.beat();
            let due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
            let (gauges, prune) = (due(gauged, GAUGES), due(pruned, PRUNE));
            match self.round(gauges, prune).await {
                Ok(()) => {
                    outage.ends();
                    gauged = if gauges { Some(Instant::now()) } else { gauged };
                    pruned = if prune { Some(Instant::now()) } else { pruned };
                }
                Err(error) if error.is_transient() => {
                    outage.goes_on(&error);
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = self.shutdown.asked() => {}
                () = sleep(SETTLE) => {}
            }
        }
        Ok(())
    }

    async fn round(&self, gauges: bool, prune: bool) -> Result<(), Error> {
        self.store.settle_stopped().await?;
        self.pause_bad_lists().await?;
        for finished in self.store.finish_campaigns(self.publish).await? {
            self.metrics.ledger_imbalance.add(finished.imbalance);
            if finished.imbalance == 0 {
                info!(campaign = finished.id, "the campaign is finished and its ledger balances");
            } else {
                error!(
                    campaign = finished.id,
                    finished.imbalance, "the ledger does not balance: please report this"
                );
            }
        }
        self.store.fold_counters().await?;
        if gauges {
            self.set_gauges().await?;
        }
        if prune {
            self.store.prune_jobs(JOB_DAYS).await?;
            if let Some(rates) = self.store.shared_rates() {
                rates.forget_lines().await?;
            }
            self.store.prune_audit(AUDIT_DAYS).await?;
            self.store.erase_late(ERASED_LATELY).await?;
        }
        Ok(())
    }

    async fn pause_bad_lists(&self) -> Result<(), Error> {
        for (channel, rules) in &self.auto_pause {
            for Running { id, quality } in self.store.running(*channel).await? {
                let Some(cause) = rules.judge(quality) else { continue };
                if self.store.pause(&id, cause, self.publish).await? {
                    self.metrics.auto_pauses.with_label_values(&[channel.as_str(), cause.as_str()]).inc();
                    error!(
                        campaign = id,
                        cause = cause.as_str(),
                        quality.sent,
                        quality.bounced,
                        quality.complained,
                        "paused: see to the list, then `campaignd resume` goes on"
                    );
                }
            }
        }
        Ok(())
    }

    async fn set_gauges(&self) -> Result<(), Error> {
        let (backlogs, totals) = (self.store.backlog().await?, self.store.totals().await?);
        self.metrics.backlog.reset();
        self.metrics.oldest_due.reset();
        for backlog in backlogs {
            let (channel, lane) = (backlog.channel.as_str(), backlog.lane.as_str());
            let labels = [channel, lane, State::Planned.as_str()];
            self.metrics.backlog.with_label_values(&labels).set(backlog.waiting);
            let due = backlog.oldest_due.map_or(0.0, |at| at.as_millisecond() as f64 / 1e3);
            self.metrics.oldest_due.with_label_values(&[lane, channel]).set(due);
        }
        self.metrics.campaigns.reset();
        for (status, n) in totals.campaigns {
            self.metrics.campaigns.with_label_values(&[status.as_str()]).set(n);
        }
        self.metrics.unknown_deliveries.reset();
        for (channel, n) in totals.unknown {
            self.metrics.unknown_deliveries.with_label_values(&[channel.as_str()]).set(n);
        }
        let pool = self.store.pool();
        let set = |state, n| {
            self.metrics
                .store_pool_connections
                .with_label_values(&[state])
                .set(i64::try_from(n).unwrap_or(i64::MAX));
        };
        set("idle", pool.idle);
        set("used", pool.in_use);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_over_sparse_ranges_and_shrink_over_dense_ones() {
        assert_eq!(next_span(10_000, 100), 20_000);
        assert_eq!(next_span(LONGEST_SPAN, 0), LONGEST_SPAN);
        assert_eq!(next_span(80_000, 80_000), 40_000);
        assert_eq!(next_span(50_000, 49_000), 50_000);
    }
}
