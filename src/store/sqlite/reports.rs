//! Numbers and rows behind `report` and `explain`, on SQLite.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, params};

use super::connection::Connection;
use super::values::At;
use super::{SqliteStore, decode, numbers};
use crate::model::campaign::Facts;
use crate::model::event::MachineRule;
use crate::model::{CampaignStatus, Channel, EventKind, Reason, State};
use crate::store::Result;
use crate::store::metric::{METRIC_LINK_CLICKS, METRIC_STATE, METRIC_UNIQUE_LINK_CLICKS, Sums};
use crate::store::reports::{
    AttemptRecord, Counts, DeliveryQuery, DeliveryRecord, EventRecord, Explanation, LinkCount, Reports,
    Totals,
};

#[async_trait]
impl Reports for SqliteStore {
    async fn counts(&self, campaign: &str) -> Result<Option<Counts>> {
        let campaign = campaign.to_owned();
        self.read(move |connection| {
            if campaign_numbers(connection, &campaign)?.is_empty() {
                return Ok(None);
            }
            let mut counts = summed(connection, &campaign)?;
            counts.sending = sending(connection, &campaign)?;
            counts.links = links(connection, &campaign)?;
            Ok(Some(counts))
        })
        .await
    }

    async fn count_rows(&self, campaign: &str) -> Result<Vec<(State, Option<Reason>, i64)>> {
        let campaign = campaign.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT state, reason, count(*) FROM deliveries
                 WHERE campaign IN (SELECT number FROM campaigns WHERE id = ?1) GROUP BY 1, 2 ORDER BY 1, 2",
            )?;
            let mut rows = statement.query([campaign])?;
            let mut counts = Vec::new();
            while let Some(row) = rows.next()? {
                counts.push((decode(row.get(0)?, State::from_code)?, reason(row, 1)?, row.get(2)?));
            }
            Ok(counts)
        })
        .await
    }

    async fn deliveries(&self, campaign: &str, query: &DeliveryQuery) -> Result<Vec<DeliveryRecord>> {
        let (campaign, query) = (campaign.to_owned(), query.clone());
        self.read(move |connection| {
            let mut page = Vec::new();
            // Each month of a standing campaign is read in the order of its key, no further than the page.
            for number in campaign_numbers(connection, &campaign)? {
                page.append(&mut deliveries(connection, number, &query)?);
            }
            page.sort_by_key(|record| record.cursor);
            page.truncate(query.limit as usize);
            Ok(page)
        })
        .await
    }

    async fn totals(&self) -> Result<Totals> {
        self.read(|connection| Ok(Totals { campaigns: statuses(connection)?, unknown: unknown(connection)? }))
            .await
    }

    async fn explain(&self, campaign: &str, external_id: &str) -> Result<Vec<Explanation>> {
        let (campaign, external_id) = (campaign.to_owned(), external_id.to_owned());
        self.read(move |connection| explain(connection, &campaign, &external_id)).await
    }
}

fn campaign_numbers(connection: &Connection, id: &str) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached("SELECT number FROM campaigns WHERE id = ?1")?;
    Ok(statement.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// What counters say: their sums and what was appended since.
fn summed(connection: &Connection, campaign: &str) -> Result<Counts> {
    let mut statement = connection.prepare_cached(
        "SELECT metric, state, reason, hour, sum(n) FROM (
             SELECT metric, state, reason, hour, n FROM counters
             WHERE link < 0 AND campaign IN (SELECT number FROM campaigns WHERE id = ?1)
             UNION ALL
             SELECT metric, state, reason, hour, n FROM counter_deltas
             WHERE link < 0 AND campaign IN (SELECT number FROM campaigns WHERE id = ?1))
         GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4",
    )?;
    let mut rows = statement.query([campaign])?;
    let mut sums = Sums::default();
    while let Some(row) = rows.next()? {
        sums.add(row.get(0)?, (row.get(1)?, row.get(2)?), row.get::<_, At>(3)?.instant(), row.get(4)?)?;
    }
    Ok(sums.finish())
}

/// Members of leased batches that lie before the watermark and have no outcome yet.
fn sending(connection: &Connection, campaign: &str) -> Result<i64> {
    // Leased batches are few, those of a campaign are not.
    let mut leased = connection.prepare_cached(
        "SELECT b.number, b.campaign, substr(m.contacts, 1, 8 * b.watermark), substr(m.occurrences, 1, 8 * b.watermark)
         FROM batches b INDEXED BY batches_owner CROSS JOIN batch_members m ON m.batch = b.number
         WHERE b.owner IS NOT NULL AND b.watermark > 0 AND b.campaign IN (SELECT number FROM campaigns WHERE id = ?1)",
    )?;
    let mut open = connection.prepare_cached(
        "SELECT 1 FROM deliveries WHERE campaign = ?1 AND contact = ?2 AND occurrence = ?3 AND batch = ?4 AND state = ?5",
    )?;
    let mut rows = leased.query([campaign])?;
    let mut sending = 0;
    while let Some(row) = rows.next()? {
        let (batch, campaign): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (contacts, occurrences): (Vec<u8>, Vec<u8>) = (row.get(2)?, row.get(3)?);
        for (contact, occurrence) in numbers::pairs(&contacts, &occurrences)? {
            let planned = State::Planned.code();
            sending += i64::from(open.exists(params![campaign, contact, occurrence, batch, planned])?);
        }
    }
    Ok(sending)
}

fn links(connection: &Connection, campaign: &str) -> Result<Vec<LinkCount>> {
    let mut statement = connection.prepare_cached(
        "SELECT l.url, coalesce(sum(n) FILTER (WHERE metric = ?2), 0) AS clicks,
                coalesce(sum(n) FILTER (WHERE metric = ?3), 0)
         FROM links l LEFT JOIN (
             SELECT campaign, link, metric, n FROM counters
             WHERE link >= 0 AND campaign IN (SELECT number FROM campaigns WHERE id = ?1)
             UNION ALL
             SELECT campaign, link, metric, n FROM counter_deltas
             WHERE link >= 0 AND campaign IN (SELECT number FROM campaigns WHERE id = ?1)
         ) parts ON parts.campaign = l.campaign AND parts.link = l.number
         WHERE l.campaign IN (SELECT number FROM campaigns WHERE id = ?1) GROUP BY l.url ORDER BY clicks DESC, l.url",
    )?;
    let link = |row: &Row<'_>| Ok(LinkCount { url: row.get(0)?, clicks: row.get(1)?, unique: row.get(2)? });
    let bound = params![campaign, METRIC_LINK_CLICKS, METRIC_UNIQUE_LINK_CLICKS];
    Ok(statement.query_map(bound, link)?.collect::<rusqlite::Result<_>>()?)
}

fn statuses(connection: &Connection) -> Result<Vec<(CampaignStatus, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT standing, paused, cancelled_at IS NOT NULL, started_at IS NOT NULL, planned_at IS NOT NULL,
                finished_at IS NOT NULL, count(*)
         FROM campaigns GROUP BY 1, 2, 3, 4, 5, 6",
    )?;
    let mut rows = statement.query([])?;
    let mut statuses = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let facts = Facts {
            standing: row.get(0)?,
            paused: row.get(1)?,
            cancelled: row.get(2)?,
            started: row.get(3)?,
            planned: row.get(4)?,
            finished: row.get(5)?,
        };
        *statuses.entry(facts.status()).or_default() += row.get::<_, i64>(6)?;
    }
    Ok(statuses.into_iter().collect())
}

/// Deliveries whose fate nobody knows, by channel.
fn unknown(connection: &Connection) -> Result<Vec<(Channel, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT k.channel, sum(n) FROM (
             SELECT campaign, n FROM counters WHERE metric = ?1 AND state = ?2
             UNION ALL
             SELECT campaign, n FROM counter_deltas WHERE metric = ?1 AND state = ?2
         ) parts JOIN campaigns k ON k.number = parts.campaign GROUP BY 1",
    )?;
    let mut rows = statement.query(params![METRIC_STATE, State::Unknown.code()])?;
    let mut unknown = Vec::new();
    while let Some(row) = rows.next()? {
        unknown.push((decode(row.get(0)?, Channel::from_code)?, row.get(1)?));
    }
    Ok(unknown)
}

/// An erased contact has no external id, a settled delivery no batch, and only a leased batch has members on their way.
const COLUMNS: &str = "
    c.external_id, d.occurrence, d.state, d.reason, d.attempts, p.name, d.provider_ref, d.updated_at, d.contact,
    substr(m.contacts, 1, 8 * b.watermark), substr(m.occurrences, 1, 8 * b.watermark)";
const JOINS: &str = "
    JOIN contacts c ON c.number = d.contact
    LEFT JOIN providers p ON p.number = d.provider
    LEFT JOIN batches b ON b.number = d.batch AND d.state = 1
    LEFT JOIN batch_members m ON m.batch = b.number AND b.owner IS NOT NULL AND b.watermark > 0";

fn deliveries(connection: &Connection, campaign: i64, query: &DeliveryQuery) -> Result<Vec<DeliveryRecord>> {
    let (contact, occurrence) = query.after.unwrap_or((i64::MIN, i64::MIN));
    let sql = format!(
        "SELECT {COLUMNS} FROM deliveries d {JOINS}
         WHERE d.campaign = ?1 AND (d.contact, d.occurrence) > (?2, ?3) AND (?4 IS NULL OR d.state = ?4)
         ORDER BY d.contact, d.occurrence LIMIT ?5"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let state = query.state.map(State::code);
    let mut rows = statement.query(params![campaign, contact, occurrence, state, query.limit])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        page.push(delivery(row)?);
    }
    Ok(page)
}

fn delivery(row: &Row<'_>) -> Result<DeliveryRecord> {
    let cursor = (row.get(8)?, row.get(1)?);
    let on_its_way = numbers::hold(row, 9, cursor)?;
    Ok(DeliveryRecord {
        external_id: row.get(0)?,
        occurrence: row.get(1)?,
        state: if on_its_way { State::Sending } else { decode(row.get(2)?, State::from_code)? },
        reason: reason(row, 3)?,
        attempts: row.get(4)?,
        provider: row.get(5)?,
        provider_ref: row.get(6)?,
        updated_at: row.get::<_, At>(7)?.instant(),
        cursor,
    })
}

fn reason(row: &Row<'_>, at: usize) -> Result<Option<Reason>> {
    row.get::<_, Option<i16>>(at)?.map(|code| decode(code, Reason::from_code)).transpose()
}

fn explain(connection: &Connection, campaign: &str, external_id: &str) -> Result<Vec<Explanation>> {
    let contact = connection
        .prepare_cached("SELECT number FROM contacts WHERE external_id = ?1")?
        .query_row([external_id], |row| row.get(0))
        .optional()?;
    let Some(contact): Option<i64> = contact else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT {COLUMNS}, d.campaign, k.channel, b.due_at
         FROM campaigns k CROSS JOIN deliveries d ON d.campaign = k.number AND d.contact = ?2 {JOINS}
         WHERE k.id = ?1 ORDER BY d.campaign, d.occurrence LIMIT 1000"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![campaign, contact])?;
    let mut explanations = Vec::new();
    while let Some(row) = rows.next()? {
        let delivery = delivery(row)?;
        let key = [row.get(11)?, contact, delivery.occurrence];
        explanations.push(Explanation {
            campaign: campaign.to_owned(),
            channel: decode(row.get(12)?, Channel::from_code)?,
            delivery,
            due_at: row.get::<_, Option<At>>(13)?.map(At::instant),
            attempts_made: attempts(connection, key)?,
            events: events(connection, key)?,
        });
    }
    Ok(explanations)
}

fn attempts(connection: &Connection, key: [i64; 3]) -> Result<Vec<AttemptRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT t.at, t.attempt, p.name, t.outcome, t.reason, t.detail FROM attempts t
         LEFT JOIN providers p ON p.number = t.provider
         WHERE t.campaign = ?1 AND t.contact = ?2 AND t.occurrence = ?3 ORDER BY t.at, t.rowid",
    )?;
    let mut rows = statement.query(key)?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(AttemptRecord {
            at: row.get::<_, At>(0)?.instant(),
            attempt: row.get(1)?,
            provider: row.get(2)?,
            outcome: row.get(3)?,
            reason: reason(row, 4)?,
            detail: row.get(5)?,
        });
    }
    Ok(attempts)
}

fn events(connection: &Connection, key: [i64; 3]) -> Result<Vec<EventRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT e.at, e.kind, l.url, e.machine, e.reason, e.detail FROM events e
         LEFT JOIN links l ON l.campaign = e.campaign AND l.number = e.link
         WHERE e.contact = ?2 AND e.campaign = ?1 AND e.occurrence = ?3 ORDER BY e.at, e.id LIMIT 1000",
    )?;
    let mut rows = statement.query(key)?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let machine = row.get::<_, Option<i16>>(3)?.map(|code| decode(code, MachineRule::from_code));
        events.push(EventRecord {
            at: row.get::<_, At>(0)?.instant(),
            kind: decode(row.get(1)?, EventKind::from_code)?.to_string(),
            link: row.get(2)?,
            machine: machine.transpose()?.map(|rule| rule.to_string()),
            reason: reason(row, 4)?,
            detail: row.get(5)?,
        });
    }
    Ok(events)
}
