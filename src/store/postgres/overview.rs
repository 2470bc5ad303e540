//! Campaigns as a list shows them, on PostgreSQL.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::{PgStore, decode};
use crate::model::campaign::Facts;
use crate::model::{Channel, State};
use crate::store::Result;
use crate::store::metric::{METRIC_STATE, METRIC_UNIQUE_CLICKS, METRIC_UNIQUE_OPENS};
use crate::store::overview::{Overview, Overviews};

#[async_trait]
impl Overviews for PgStore {
    async fn overview(&self, search: &str, limit: u32, offset: u32) -> Result<Vec<Overview>> {
        let sent: Vec<i16> =
            State::ALL.iter().filter(|state| state.is_sent()).map(|state| state.code()).collect();
        let (limit, offset) = (i64::from(limit), i64::from(offset));
        let rows = self.client().await?.query(&page(), &[&search, &limit, &offset, &sent]).await?;
        rows.iter().map(overview).collect()
    }
}

/// One row an id: the newest month of a standing campaign speaks for all, sums go over all.
fn page() -> String {
    let (planned, delivered) = (State::Planned.code(), State::Delivered.code());
    let metrics = format!("{METRIC_STATE}, {METRIC_UNIQUE_OPENS}, {METRIC_UNIQUE_CLICKS}");
    let sum = |filter: String| format!("coalesce(sum(n) FILTER (WHERE {filter}), 0)::bigint");
    let targeted = sum(format!("metric = {METRIC_STATE}"));
    let settled = sum(format!("metric = {METRIC_STATE} AND state <> {planned}"));
    let sent = sum(format!("metric = {METRIC_STATE} AND state = ANY($4)"));
    let delivered = sum(format!("metric = {METRIC_STATE} AND state = {delivered}"));
    let opened = sum(format!("metric = {METRIC_UNIQUE_OPENS}"));
    let clicked = sum(format!("metric = {METRIC_UNIQUE_CLICKS}"));
    format!(
        "WITH page AS MATERIALIZED (
             SELECT * FROM campaigns k
             WHERE (strpos(lower(k.id), lower($1)) > 0 OR strpos(lower(k.name), lower($1)) > 0)
               AND NOT EXISTS (SELECT FROM campaigns later WHERE later.id = k.id AND later.month > k.month)
             ORDER BY k.number DESC LIMIT $2 OFFSET $3),
         months AS MATERIALIZED (SELECT k.number AS newest, s.number FROM page k JOIN campaigns s ON s.id = k.id),
         parts AS (
             SELECT campaign, metric, state, n FROM counters
             WHERE campaign = ANY (ARRAY(SELECT number FROM months)) AND metric IN ({metrics})
             UNION ALL
             SELECT campaign, metric, state, n FROM counter_deltas
             WHERE campaign = ANY (ARRAY(SELECT number FROM months)) AND metric IN ({metrics}))
         SELECT k.id, k.name, k.channel, k.accepted_at, k.send_at, k.started_at, k.standing, k.paused,
                k.cancelled_at IS NOT NULL, k.planned_at IS NOT NULL, k.finished_at IS NOT NULL,
                {targeted}, {settled}, {sent}, {delivered}, {opened}, {clicked}
         FROM page k JOIN months m ON m.newest = k.number LEFT JOIN parts p ON p.campaign = m.number
         GROUP BY k.number, k.id, k.name, k.channel, k.accepted_at, k.send_at, k.started_at, k.standing, k.paused,
                  k.cancelled_at, k.planned_at, k.finished_at
         ORDER BY k.number DESC"
    )
}

fn overview(row: &Row) -> Result<Overview> {
    let started_at = row.get(5);
    let facts = Facts {
        standing: row.get(6),
        paused: row.get(7),
        cancelled: row.get(8),
        started: Option::is_some(&started_at),
        planned: row.get(9),
        finished: row.get(10),
    };
    Ok(Overview {
        id: row.get(0),
        name: row.get(1),
        status: facts.status(),
        channel: decode(row.get(2), Channel::from_code)?,
        accepted_at: row.get(3),
        send_at: row.get(4),
        started_at,
        targeted: row.get(11),
        settled: row.get(12),
        sent: row.get(13),
        delivered: row.get(14),
        opened: row.get(15),
        clicked: row.get(16),
    })
}
