//! Counters: what is counted, and how a change of state is appended to them.

use std::collections::BTreeMap;

use deadpool_postgres::GenericClient;
use jiff::{Timestamp, ToSpan};

use super::cached;
use crate::model::{CampaignNo, Reason, State};
use crate::store::Result;
use crate::store::metric::{METRIC_SEGMENTS, METRIC_SENT, METRIC_STATE, NO_LINK};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Counter {
    campaign: CampaignNo,
    metric: i16,
    state: i16,
    reason: i16,
    link: i16,
    hour: Timestamp,
}

/// Counter changes of one group commit, summed before they are appended.
#[derive(Default)]
pub(super) struct Deltas(BTreeMap<Counter, i64>);

impl Deltas {
    /// One more of `metric`; without `at` it is not counted by the hour.
    pub(super) fn add(&mut self, campaign: CampaignNo, metric: i16, link: i16, at: Option<Timestamp>) {
        let hour = at.map_or(Timestamp::UNIX_EPOCH, start_of_hour);
        *self.0.entry(Counter { campaign, metric, state: 0, reason: 0, link, hour }).or_default() += 1;
    }

    /// `n` more SMS segments.
    pub(super) fn add_segments(&mut self, campaign: CampaignNo, n: u32) {
        let (link, hour) = (NO_LINK, Timestamp::UNIX_EPOCH);
        let counter = Counter { campaign, metric: METRIC_SEGMENTS, state: 0, reason: 0, link, hour };
        *self.0.entry(counter).or_default() += i64::from(n);
    }

    /// One delivery's change of state at `at`; the first that is sent counts in its hour.
    pub(super) fn add_move(
        &mut self,
        campaign: CampaignNo,
        from: (State, Option<Reason>),
        to: (State, Option<Reason>),
        at: Timestamp,
    ) {
        for ((state, reason), n) in [(from, -1), (to, 1)] {
            let (state, reason) = (state.code(), reason.map_or(0, Reason::code));
            let hour = Timestamp::UNIX_EPOCH;
            let counter = Counter { campaign, metric: METRIC_STATE, state, reason, link: NO_LINK, hour };
            *self.0.entry(counter).or_default() += n;
        }
        if to.0.is_sent() && !from.0.is_sent() {
            self.add(campaign, METRIC_SENT, NO_LINK, Some(at));
        }
    }

    pub(super) async fn append(&self, client: &impl GenericClient) -> Result<()> {
        let changed: Vec<(Counter, i64)> =
            self.0.iter().filter(|(_, n)| **n != 0).map(|(counter, n)| (*counter, *n)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let campaigns: Vec<i64> = changed.iter().map(|(counter, _)| counter.campaign.0).collect();
        let column =
            |of: fn(&Counter) -> i16| changed.iter().map(|(counter, _)| of(counter)).collect::<Vec<_>>();
        let hours: Vec<Timestamp> = changed.iter().map(|(counter, _)| counter.hour).collect();
        let counts: Vec<i64> = changed.iter().map(|(_, n)| *n).collect();
        cached::execute(
            client,
            "INSERT INTO counter_deltas (campaign, metric, state, reason, link, hour, n)
             SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::smallint[], $4::smallint[], $5::smallint[],
                                  $6::timestamptz[], $7::bigint[])",
            &[
                &campaigns,
                &column(|counter| counter.metric),
                &column(|counter| counter.state),
                &column(|counter| counter.reason),
                &column(|counter| counter.link),
                &hours,
                &counts,
            ],
        )
        .await?;
        Ok(())
    }
}

fn start_of_hour(at: Timestamp) -> Timestamp {
    at.checked_sub(at.as_second().rem_euclid(3_600).seconds())
        .and_then(|at| Timestamp::from_second(at.as_second()))
        .unwrap_or(at)
}

/// Appends what one change of state means for the counters.
pub(super) async fn append_move(
    client: &impl GenericClient,
    campaign: CampaignNo,
    from: (i16, i16),
    to: (i16, i16),
    n: i64,
) -> Result<()> {
    let sent = |code| State::from_code(code).is_some_and(State::is_sent);
    let newly_sent = if sent(to.0) && !sent(from.0) { n } else { 0 };
    client
        .execute(
            &format!(
                "INSERT INTO counter_deltas (campaign, metric, state, reason, hour, n)
                 SELECT $1, v.metric, v.state, v.reason, v.hour, v.n FROM (VALUES
                     ({METRIC_STATE}::smallint, $2::smallint, $3::smallint, 'epoch'::timestamptz, -$6::bigint),
                     ({METRIC_STATE}, $4::smallint, $5::smallint, 'epoch', $6),
                     ({METRIC_SENT}, 0, 0, date_trunc('hour', now(), 'UTC'), $7::bigint)) AS v (metric, state, reason, hour, n)
                 WHERE v.n <> 0"
            ),
            &[&campaign.0, &from.0, &from.1, &to.0, &to.1, &n, &newly_sent],
        )
        .await?;
    Ok(())
}
