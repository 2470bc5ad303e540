//! Counters: what is counted, how a change is appended to them, and how what was appended folds.

use std::collections::HashMap;

use rusqlite::params;

use super::connection::Connection;
use crate::model::{CampaignNo, Reason, State};
use crate::store::Result;
use crate::store::metric::{METRIC_SEGMENTS, METRIC_SENT, METRIC_STATE, NO_LINK};

const HOUR: i64 = 3_600_000_000;

/// The hour in which an instant lies; both in microseconds.
pub(super) fn hour_of(at: i64) -> i64 {
    at - at.rem_euclid(HOUR)
}

/// One change of one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Counter {
    pub(super) campaign: CampaignNo,
    pub(super) metric: i16,
    pub(super) variant: i16,
    pub(super) state: i16,
    /// 0 for none.
    pub(super) reason: i16,
    pub(super) link: i16,
    /// As [`hour_of`] says; 0 for what is not counted by the hour.
    pub(super) hour: i64,
}

impl Counter {
    /// The counter of a metric that has no finer parts.
    pub(super) fn of(campaign: CampaignNo, metric: i16) -> Self {
        Counter { campaign, metric, variant: 0, state: 0, reason: 0, link: NO_LINK, hour: 0 }
    }

    /// The counter of deliveries in a state.
    pub(super) fn state(campaign: CampaignNo, state: i16, reason: i16) -> Self {
        Counter { state, reason, ..Counter::of(campaign, METRIC_STATE) }
    }
}

/// Appends that a counter grew by `n`.
pub(super) fn append(connection: &Connection, counter: &Counter, n: i64) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    let sql = "INSERT INTO counter_deltas (campaign, hour, n, metric, variant, state, reason, link)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(sql)?.execute(params![
        counter.campaign.0,
        counter.hour,
        n,
        counter.metric,
        counter.variant,
        counter.state,
        counter.reason,
        counter.link,
    ])?;
    Ok(())
}

/// Counter changes of one transaction, summed before they are appended.
#[derive(Debug, Default)]
pub(super) struct Deltas(HashMap<Counter, i64>);

impl Deltas {
    /// One more.
    pub(super) fn add(&mut self, counter: Counter) {
        *self.0.entry(counter).or_default() += 1;
    }

    /// `n` more SMS segments.
    pub(super) fn add_segments(&mut self, campaign: CampaignNo, n: u32) {
        *self.0.entry(Counter::of(campaign, METRIC_SEGMENTS)).or_default() += i64::from(n);
    }

    /// One delivery's change of state, at an instant in microseconds.
    pub(super) fn add_move(
        &mut self,
        campaign: CampaignNo,
        from: (State, Option<Reason>),
        to: (State, Option<Reason>),
        at: i64,
    ) {
        for ((state, reason), n) in [(from, -1), (to, 1)] {
            let counter = Counter::state(campaign, state.code(), reason.map_or(0, Reason::code));
            *self.0.entry(counter).or_default() += n;
        }
        if to.0.is_sent() && !from.0.is_sent() {
            self.add(Counter { hour: hour_of(at), ..Counter::of(campaign, METRIC_SENT) });
        }
    }

    pub(super) fn append(&self, connection: &Connection) -> Result<()> {
        self.0.iter().try_for_each(|(counter, n)| append(connection, counter, *n))
    }
}

/// Appends what one change of state, given with its reason, means for the counters.
pub(super) fn append_move(
    connection: &Connection,
    campaign: CampaignNo,
    from: (i16, i16),
    to: (i16, i16),
    n: i64,
) -> Result<()> {
    append(connection, &Counter::state(campaign, from.0, from.1), -n)?;
    append(connection, &Counter::state(campaign, to.0, to.1), n)?;
    let sent = |code| State::from_code(code).is_some_and(State::is_sent);
    if sent(to.0) && !sent(from.0) {
        let sent = Counter { hour: hour_of(connection.now_us()), ..Counter::of(campaign, METRIC_SENT) };
        append(connection, &sent, n)?;
    }
    Ok(())
}

/// Adds what was appended to the sums. Returns how many changes that were.
pub(super) fn fold(connection: &Connection) -> Result<u64> {
    connection
        .prepare_cached(
            "INSERT INTO counters (campaign, metric, variant, state, reason, link, hour, n)
             SELECT campaign, metric, variant, state, reason, link, hour, sum(n) FROM counter_deltas
             GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING true
             ON CONFLICT (campaign, metric, variant, state, reason, link, hour) DO UPDATE SET n = n + excluded.n",
        )?
        .execute([])?;
    Ok(connection.prepare_cached("DELETE FROM counter_deltas")?.execute([])? as u64)
}
