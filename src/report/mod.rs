//! What analysts read of a campaign: every number, rate and series under one definition, for the HTTP API, the command
//! line and the pages alike.
//!
//! A report is made from one snapshot of the counters and never scans the ledger. What a channel cannot observe is
//! `None`, never 0: SMS, WeChat and push have no pixel, and where no receipt arrives nobody knows what was delivered.

mod csv;
mod figure;
mod rate;
mod table;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

pub use figure::{number, percent};
pub use rate::{Base, Rates, Ratio};

use crate::model::{CampaignStatus, Channel, Reason, State};
use crate::store::campaigns::CampaignRecord;
use crate::store::overview::Overview;
use crate::store::reports::{Counts, Engaged, HourCount, LinkCount};
use crate::store::{Result, Store};

/// A campaign in numbers. All counts are of deliveries unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub campaign: String,
    pub name: Option<String>,
    pub status: CampaignStatus,
    pub channel: Channel,
    /// When the numbers were read; later events still move them.
    pub as_of: Timestamp,
    /// Every recipient that the audience named: the sum of `states`.
    pub targeted: i64,
    /// All states, 0 where none; `planned` does not count those that are `sending`.
    pub states: BTreeMap<State, i64>,
    pub reasons: Vec<ReasonCount>,
    /// The provider took it: `accepted`, `delivered` and `bounced`.
    pub sent: i64,
    /// Positive receipts; `None` where the channel or its provider gives none.
    pub delivered: Option<i64>,
    /// `None` on channels without a pixel.
    pub opens: Option<Engaged>,
    pub clicks: Engaged,
    /// Deliveries out of which their recipient unsubscribed, once each.
    pub unsubscribes: i64,
    /// Deliveries that their recipient complained about, once each; `None` where the channel has no way to.
    pub complaints: Option<i64>,
    /// SMS segments in what was sent and in what is in doubt, as they are or may be billed; `None` on other channels.
    pub segments: Option<i64>,
    /// What the rates of engagement are a share of.
    pub base: Base,
    pub rates: Rates,
    /// Busiest first.
    pub links: Vec<LinkCount>,
    /// By the hour of the event (UTC), machines left out; hours in which nothing happened are missing.
    pub series: Vec<HourCount>,
}

/// How many deliveries stand in `state` for `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    pub state: State,
    pub reason: Reason,
    pub count: i64,
}

/// Reads a campaign's report; `None` where there is no such campaign.
///
/// # Errors
/// As the store's.
pub async fn load(store: &dyn Store, campaign: &str) -> Result<Option<Report>> {
    // The status first: one that says `finished` then never stands beside counts from before the end.
    let Some(record) = store.campaign(campaign).await? else { return Ok(None) };
    let counts = store.counts(campaign).await?;
    Ok(counts.map(|counts| Report::new(&record, counts, Timestamp::now())))
}

impl Report {
    pub fn new(campaign: &CampaignRecord, counts: Counts, as_of: Timestamp) -> Report {
        let channel = campaign.channel;
        let states = by_state(&counts);
        let count = |state| states.get(&state).copied().unwrap_or(0);
        let delivered = delivered(channel, count(State::Delivered));
        let bounced = Some(count(State::Bounced)).filter(|n| *n > 0 || delivered.is_some());
        let opens = has_pixel(channel).then_some(counts.opens);
        let complaints = Some(counts.complaints).filter(|n| *n > 0 || channel == Channel::Email);
        let (base, reached) = base(delivered, counts.sent);
        let receipts = delivered.map(|delivered| delivered + count(State::Bounced));
        let rates = Rates {
            delivery: Ratio::of(delivered, counts.sent),
            open: Ratio::of(opens.map(|opens| opens.unique), reached),
            click: Ratio::of(Some(counts.clicks.unique), reached),
            // A person's click counts as an open, so no click is without its open here.
            click_to_open: opens
                .map_or(Ratio::UNKNOWN, |opens| Ratio::of(Some(counts.clicks.unique), opens.unique)),
            unsubscribe: Ratio::of(Some(counts.unsubscribes), reached),
            complaint: Ratio::of(complaints, reached),
            bounce: Ratio::of(bounced, counts.sent),
            receipt: Ratio::of(receipts, counts.sent),
        };
        Report {
            campaign: campaign.id.clone(),
            name: campaign.name.clone(),
            status: campaign.status,
            channel,
            as_of,
            targeted: states.values().sum(),
            states,
            reasons: by_reason(&counts),
            sent: counts.sent,
            delivered,
            opens,
            clicks: counts.clicks,
            unsubscribes: counts.unsubscribes,
            complaints,
            segments: (channel == Channel::Sms).then_some(counts.segments),
            base,
            rates,
            links: counts.links,
            series: counts.series,
        }
    }
}

/// The open and the click rate of a campaign in a list, as its report has them.
pub fn engagement(overview: &Overview) -> [Ratio; 2] {
    let channel = overview.channel;
    let (_, reached) = base(delivered(channel, overview.delivered), overview.sent);
    let opened = has_pixel(channel).then_some(overview.opened);
    [Ratio::of(opened, reached), Ratio::of(Some(overview.clicked), reached)]
}

/// What the rates of engagement are a share of, and how many that are.
fn base(delivered: Option<i64>, sent: i64) -> (Base, i64) {
    match delivered {
        Some(delivered) => (Base::Delivered, delivered),
        None => (Base::Sent, sent),
    }
}

/// `None` where nobody says what was delivered.
fn delivered(channel: Channel, receipts: i64) -> Option<i64> {
    Some(receipts).filter(|n| *n > 0 || gives_receipts(channel))
}

fn has_pixel(channel: Channel) -> bool {
    channel == Channel::Email
}

/// Channels whose every provider reports what was delivered. E-mail relays and push services report bounces at most, so
/// there only a receipt that came proves that receipts come.
fn gives_receipts(channel: Channel) -> bool {
    matches!(channel, Channel::Sms | Channel::Wechat)
}

fn by_state(counts: &Counts) -> BTreeMap<State, i64> {
    let mut states: BTreeMap<State, i64> = State::ALL.iter().map(|state| (*state, 0)).collect();
    for (state, _, n) in &counts.states {
        *states.entry(*state).or_default() += n;
    }
    // The ledger derives `sending` from batches; its counters know `planned` alone.
    *states.entry(State::Sending).or_default() += counts.sending;
    *states.entry(State::Planned).or_default() -= counts.sending;
    states
}

/// By state, the most frequent reason first.
fn by_reason(counts: &Counts) -> Vec<ReasonCount> {
    let mut reasons: Vec<ReasonCount> = counts
        .states
        .iter()
        .filter_map(|(state, reason, n)| Some(ReasonCount { state: *state, reason: (*reason)?, count: *n }))
        .filter(|row| row.count != 0)
        .collect();
    reasons.sort_by_key(|row| (row.state, -row.count, row.reason));
    reasons
}

#[cfg(test)]
mod tests;
