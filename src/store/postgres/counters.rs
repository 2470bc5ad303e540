//! Counters: what is counted, and how a change of state is appended to them.

use deadpool_postgres::GenericClient;

use crate::model::{CampaignNo, State};
use crate::store::Result;

/// What a counter counts; numbers are in the store and never change.
pub(super) const METRIC_STATE: i16 = 1;
pub(super) const METRIC_SENT: i16 = 2;
pub(super) const METRIC_OPENS: i16 = 3;
pub(super) const METRIC_UNIQUE_OPENS: i16 = 4;
pub(super) const METRIC_MACHINE_OPENS: i16 = 5;
pub(super) const METRIC_CLICKS: i16 = 6;
pub(super) const METRIC_UNIQUE_CLICKS: i16 = 7;
pub(super) const METRIC_MACHINE_CLICKS: i16 = 8;
pub(super) const METRIC_UNSUBSCRIBES: i16 = 9;
pub(super) const METRIC_COMPLAINTS: i16 = 10;
pub(super) const METRIC_LINK_CLICKS: i16 = 11;
pub(super) const METRIC_UNIQUE_LINK_CLICKS: i16 = 12;

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
