//! Numbers and rows behind `report` and `explain`, on PostgreSQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use deadpool_postgres::GenericClient;
use tokio_postgres::Row;

use super::{PgStore, decode};
use crate::model::campaign::Facts;
use crate::model::event::MachineRule;
use crate::model::{Channel, EventKind, Reason, State};
use crate::store::Result;
use crate::store::metric::{METRIC_LINK_CLICKS, METRIC_STATE, METRIC_UNIQUE_LINK_CLICKS, Sums};
use crate::store::reports::{
    AttemptRecord, Counts, DeliveryQuery, DeliveryRecord, EventRecord, Explanation, LinkCount, Reports,
    Totals,
};

#[async_trait]
impl Reports for PgStore {
    async fn counts(&self, campaign: &str) -> Result<Option<Counts>> {
        let mut client = self.client().await?;
        let snapshot = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let numbers: Vec<i64> = snapshot
            .query("SELECT number FROM campaigns WHERE id = $1", &[&campaign])
            .await?
            .iter()
            .map(|row| row.get(0))
            .collect();
        if numbers.is_empty() {
            return Ok(None);
        }
        let sending = sending(&snapshot, &numbers).await?;
        let rows = snapshot
            .query(
                "SELECT metric, state, reason, hour, sum(n)::bigint FROM (
                     SELECT metric, state, reason, hour, n FROM counters WHERE campaign = ANY($1) AND link < 0
                     UNION ALL
                     SELECT metric, state, reason, hour, n FROM counter_deltas WHERE campaign = ANY($1) AND link < 0
                 ) parts GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4",
                &[&numbers],
            )
            .await?;
        let mut sums = Sums::default();
        for row in &rows {
            sums.add(row.get(0), (row.get(1), row.get(2)), row.get(3), row.get(4))?;
        }
        Ok(Some(Counts { sending, links: links(&snapshot, &numbers).await?, ..sums.finish() }))
    }

    async fn count_rows(&self, campaign: &str) -> Result<Vec<(State, Option<Reason>, i64)>> {
        let rows = self
            .client()
            .await?
            .query(
                "SELECT state, reason, count(*) FROM deliveries
                 WHERE campaign = ANY (ARRAY(SELECT number FROM campaigns WHERE id = $1)) GROUP BY 1, 2 ORDER BY 1, 2",
                &[&campaign],
            )
            .await?;
        rows.iter()
            .map(|row| Ok((decode(row.get(0), State::from_code)?, reason(row, 1)?, row.get(2))))
            .collect()
    }

    async fn deliveries(&self, campaign: &str, query: &DeliveryQuery) -> Result<Vec<DeliveryRecord>> {
        let (contact, occurrence) = query.after.unwrap_or((i64::MIN, i64::MIN));
        // Each month of a standing campaign is read in the order of its key, no further than the page.
        let sql = format!(
            "SELECT {COLUMNS} FROM campaigns k CROSS JOIN LATERAL (
                 SELECT * FROM deliveries d WHERE d.campaign = k.number AND (d.contact, d.occurrence) > ($2, $3)
                     AND ($4::smallint IS NULL OR d.state = $4)
                 ORDER BY d.contact, d.occurrence LIMIT $5) d
             {JOINS} WHERE k.id = $1 ORDER BY d.contact, d.occurrence LIMIT $5"
        );
        let rows = self
            .client()
            .await?
            .query(
                &sql,
                &[&campaign, &contact, &occurrence, &query.state.map(State::code), &i64::from(query.limit)],
            )
            .await?;
        rows.iter().map(delivery).collect()
    }

    async fn totals(&self) -> Result<Totals> {
        let client = self.client().await?;
        let rows = client
            .query(
                "SELECT standing, paused, cancelled_at IS NOT NULL, started_at IS NOT NULL, planned_at IS NOT NULL,
                        finished_at IS NOT NULL, count(*)
                 FROM campaigns GROUP BY 1, 2, 3, 4, 5, 6",
                &[],
            )
            .await?;
        let mut campaigns = BTreeMap::new();
        for row in &rows {
            let facts = Facts {
                standing: row.get(0),
                paused: row.get(1),
                cancelled: row.get(2),
                started: row.get(3),
                planned: row.get(4),
                finished: row.get(5),
            };
            *campaigns.entry(facts.status()).or_default() += row.get::<_, i64>(6);
        }
        let unknown = client
            .query(
                "SELECT k.channel, sum(n)::bigint FROM (
                     SELECT campaign, n FROM counters WHERE metric = $1 AND state = $2
                     UNION ALL
                     SELECT campaign, n FROM counter_deltas WHERE metric = $1 AND state = $2
                 ) parts JOIN campaigns k ON k.number = parts.campaign GROUP BY 1",
                &[&METRIC_STATE, &State::Unknown.code()],
            )
            .await?;
        Ok(Totals {
            campaigns: campaigns.into_iter().collect(),
            unknown: unknown
                .iter()
                .map(|row| Ok((decode(row.get(0), Channel::from_code)?, row.get(1))))
                .collect::<Result<_>>()?,
        })
    }

    async fn explain(&self, campaign: &str, external_id: &str) -> Result<Vec<Explanation>> {
        let client = self.client().await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM campaigns k CROSS JOIN LATERAL (
                 SELECT * FROM deliveries d WHERE d.campaign = k.number
                     AND d.contact = (SELECT number FROM contacts WHERE external_id = $2)) d
             {JOINS} WHERE k.id = $1 ORDER BY d.campaign, d.occurrence LIMIT 1000"
        );
        let rows = client.query(&sql, &[&campaign, &external_id]).await?;
        let mut explanations = Vec::with_capacity(rows.len());
        for row in &rows {
            let key: (i64, i64, i64) = (row.get(9), row.get(8), row.get(1));
            explanations.push(Explanation {
                campaign: campaign.to_owned(),
                channel: decode(row.get(10), Channel::from_code)?,
                delivery: delivery(row)?,
                due_at: row.get(11),
                attempts_made: attempts(&client, key).await?,
                events: events(&client, key).await?,
            });
        }
        Ok(explanations)
    }
}

const COLUMNS: &str = "
    c.external_id, d.occurrence,
    CASE WHEN d.state = 1 AND b.owner IS NOT NULL
              AND coalesce(array_position(b.contacts, d.contact) <= b.watermark, false) THEN 2::smallint ELSE d.state END,
    d.reason, d.attempts, p.name, d.provider_ref, d.updated_at, d.contact, d.campaign, k.channel, b.due_at";

/// Of `deliveries d`: an erased contact has no external id, a settled delivery no batch.
const JOINS: &str = "
    JOIN contacts c ON c.number = d.contact
    LEFT JOIN providers p ON p.number = d.provider
    LEFT JOIN batches b ON b.number = d.batch AND d.state = 1";

/// Members of leased batches that lie before the watermark and have no outcome yet.
async fn sending(client: &impl GenericClient, campaigns: &[i64]) -> Result<i64> {
    let row = client
        .query_one(
            "SELECT count(*) FROM batches b,
                 unnest(b.contacts[1:b.watermark], b.occurrences[1:b.watermark]) AS n (contact, occurrence),
                 LATERAL (SELECT d.state, d.batch FROM deliveries d
                          WHERE d.campaign = b.campaign AND d.contact = n.contact AND d.occurrence = n.occurrence LIMIT 1) d
             WHERE b.campaign = ANY($1) AND b.owner IS NOT NULL AND b.watermark > 0
               AND d.batch = b.number AND d.state = $2",
            &[&campaigns, &State::Planned.code()],
        )
        .await?;
    Ok(row.get(0))
}

async fn links(client: &impl GenericClient, campaigns: &[i64]) -> Result<Vec<LinkCount>> {
    let rows = client
        .query(
            "SELECT l.url, coalesce(sum(n) FILTER (WHERE metric = $2), 0)::bigint AS clicks,
                    coalesce(sum(n) FILTER (WHERE metric = $3), 0)::bigint
             FROM links l LEFT JOIN (
                 SELECT campaign, link, metric, n FROM counters WHERE campaign = ANY($1) AND link >= 0
                 UNION ALL
                 SELECT campaign, link, metric, n FROM counter_deltas WHERE campaign = ANY($1) AND link >= 0
             ) parts ON parts.campaign = l.campaign AND parts.link = l.number
             WHERE l.campaign = ANY($1) GROUP BY l.url ORDER BY clicks DESC, l.url",
            &[&campaigns, &METRIC_LINK_CLICKS, &METRIC_UNIQUE_LINK_CLICKS],
        )
        .await?;
    Ok(rows.iter().map(|row| LinkCount { url: row.get(0), clicks: row.get(1), unique: row.get(2) }).collect())
}

fn reason(row: &Row, at: usize) -> Result<Option<Reason>> {
    row.get::<_, Option<i16>>(at).map(|code| decode(code, Reason::from_code)).transpose()
}

fn delivery(row: &Row) -> Result<DeliveryRecord> {
    Ok(DeliveryRecord {
        external_id: row.get(0),
        occurrence: row.get(1),
        state: decode(row.get(2), State::from_code)?,
        reason: reason(row, 3)?,
        attempts: u16::try_from(row.get::<_, i16>(4)).unwrap_or(0),
        provider: row.get(5),
        provider_ref: row.get(6),
        updated_at: row.get(7),
        cursor: (row.get(8), row.get(1)),
    })
}

async fn attempts(client: &impl GenericClient, key: (i64, i64, i64)) -> Result<Vec<AttemptRecord>> {
    let rows = client
        .query(
            "SELECT t.at, t.attempt, p.name, t.outcome, t.reason, t.detail FROM attempts t
             LEFT JOIN providers p ON p.number = t.provider
             WHERE t.campaign = $1 AND t.contact = $2 AND t.occurrence = $3 ORDER BY t.at",
            &[&key.0, &key.1, &key.2],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(AttemptRecord {
                at: row.get(0),
                attempt: u16::try_from(row.get::<_, i16>(1)).unwrap_or(0),
                provider: row.get(2),
                outcome: row.get(3),
                reason: reason(row, 4)?,
                detail: row.get(5),
            })
        })
        .collect()
}

async fn events(client: &impl GenericClient, key: (i64, i64, i64)) -> Result<Vec<EventRecord>> {
    let rows = client
        .query(
            "SELECT e.at, e.kind, l.url, e.machine, e.reason, e.detail FROM events e
             LEFT JOIN links l ON l.campaign = e.campaign AND l.number = e.link
             WHERE e.contact = $2 AND e.campaign = $1 AND e.occurrence = $3 ORDER BY e.at LIMIT 1000",
            &[&key.0, &key.1, &key.2],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let machine =
                row.get::<_, Option<i16>>(3).map(|code| decode(code, MachineRule::from_code)).transpose()?;
            Ok(EventRecord {
                at: row.get(0),
                kind: decode(row.get(1), EventKind::from_code)?.to_string(),
                link: row.get(2),
                machine: machine.map(|rule| rule.to_string()),
                reason: reason(row, 4)?,
                detail: row.get(5),
            })
        })
        .collect()
}
