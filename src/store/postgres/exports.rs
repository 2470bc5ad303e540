//! Everything kept about a person, on PostgreSQL. Each query finds its rows by the contact's number.

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::contacts::object;
use super::{PgStore, decode};
use crate::model::event::MachineRule;
use crate::model::{Channel, EventKind, Reason, State};
use crate::store::Result;
use crate::store::exports::{
    Details, Exports, Kept, KeptDelivery, KeptEvent, ListEntry, Place, UnsubscribeRecord,
};
use crate::store::reports::{AttemptRecord, EventRecord};

#[async_trait]
impl Exports for PgStore {
    async fn kept_about(&self, external_id: &str) -> Result<Option<Kept>> {
        let mut client = self.client().await?;
        let snapshot = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let number = "SELECT number FROM contacts WHERE external_id = $1";
        let Some(row) = snapshot.query_opt(number, &[&external_id]).await? else { return Ok(None) };
        let contact: i64 = row.get(0);
        let mut deliveries = deliveries(&snapshot, contact).await?;
        let details = Details {
            data: data(&snapshot, contact).await?,
            attempts: attempts(&snapshot, contact).await?,
            events: events(&snapshot, contact).await?,
            references: references(&snapshot, contact).await?,
        };
        let other_events = details.join(&mut deliveries);
        Ok(Some(Kept {
            unsubscribes: unsubscribes(&snapshot, contact).await?,
            deliveries: deliveries.into_iter().map(|(_, delivery)| delivery).collect(),
            other_events,
            lists: lists(&snapshot, contact, external_id).await?,
        }))
    }
}

fn place(row: &Row) -> Place {
    (row.get(0), row.get(1))
}

fn reason(row: &Row, at: usize) -> Result<Option<Reason>> {
    row.get::<_, Option<i16>>(at).map(|code| decode(code, Reason::from_code)).transpose()
}

async fn deliveries(snapshot: &Transaction<'_>, contact: i64) -> Result<Vec<(Place, KeptDelivery)>> {
    let rows = snapshot
        .query(
            "SELECT d.campaign, d.occurrence, k.id, k.channel, d.state, d.reason, d.attempts, p.name, d.provider_ref, d.updated_at
             FROM deliveries d JOIN campaigns k ON k.number = d.campaign LEFT JOIN providers p ON p.number = d.provider
             WHERE d.campaign = ANY (ARRAY(SELECT number FROM campaigns)) AND d.contact = $1
             ORDER BY d.campaign, d.occurrence",
            &[&contact],
        )
        .await?;
    let delivery = |row: &Row| {
        let delivery = KeptDelivery {
            campaign: row.get(2),
            channel: decode(row.get(3), Channel::from_code)?,
            occurrence: row.get(1),
            state: decode(row.get(4), State::from_code)?,
            reason: reason(row, 5)?,
            attempts: u16::try_from(row.get::<_, i16>(6)).unwrap_or(0),
            provider: row.get(7),
            provider_ref: row.get(8),
            updated_at: row.get(9),
            data: None,
            attempts_made: Vec::new(),
            events: Vec::new(),
            references: Vec::new(),
        };
        Ok((place(row), delivery))
    };
    rows.iter().map(delivery).collect()
}

async fn data(
    snapshot: &Transaction<'_>,
    contact: i64,
) -> Result<Vec<(Place, serde_json::Map<String, serde_json::Value>)>> {
    let rows = snapshot
        .query(
            "SELECT campaign, occurrence, data FROM recipient_data
             WHERE campaign = ANY (ARRAY(SELECT number FROM campaigns)) AND contact = $1",
            &[&contact],
        )
        .await?;
    Ok(rows.iter().map(|row| (place(row), object(row.get(2)))).collect())
}

async fn attempts(snapshot: &Transaction<'_>, contact: i64) -> Result<Vec<(Place, AttemptRecord)>> {
    let rows = snapshot
        .query(
            "SELECT t.campaign, t.occurrence, t.at, t.attempt, p.name, t.outcome, t.reason, t.detail
             FROM attempts t LEFT JOIN providers p ON p.number = t.provider
             WHERE t.campaign = ANY (ARRAY(SELECT number FROM campaigns)) AND t.contact = $1 ORDER BY t.at",
            &[&contact],
        )
        .await?;
    let attempt = |row: &Row| {
        let attempt = AttemptRecord {
            at: row.get(2),
            attempt: u16::try_from(row.get::<_, i16>(3)).unwrap_or(0),
            provider: row.get(4),
            outcome: row.get(5),
            reason: reason(row, 6)?,
            detail: row.get(7),
        };
        Ok((place(row), attempt))
    };
    rows.iter().map(attempt).collect()
}

async fn events(snapshot: &Transaction<'_>, contact: i64) -> Result<Vec<(Option<Place>, KeptEvent)>> {
    let rows = snapshot
        .query(
            "SELECT e.campaign, e.occurrence, e.at, e.kind, l.url, e.machine, e.reason, e.detail, host(e.client_ip), e.user_agent
             FROM events e LEFT JOIN links l ON l.campaign = e.campaign AND l.number = e.link
             WHERE e.contact = $1 ORDER BY e.at",
            &[&contact],
        )
        .await?;
    let event = |row: &Row| {
        let machine = row.get::<_, Option<i16>>(5).map(|code| decode(code, MachineRule::from_code));
        let event = EventRecord {
            at: row.get(2),
            kind: decode(row.get(3), EventKind::from_code)?.to_string(),
            link: row.get(4),
            machine: machine.transpose()?.map(|rule| rule.to_string()),
            reason: reason(row, 6)?,
            detail: row.get(7),
        };
        let place = row.get::<_, Option<i64>>(0).zip(row.get(1));
        Ok((place, KeptEvent { event, client_ip: row.get(8), user_agent: row.get(9) }))
    };
    rows.iter().map(event).collect()
}

async fn references(snapshot: &Transaction<'_>, contact: i64) -> Result<Vec<(Place, String)>> {
    let rows = snapshot
        .query(
            "SELECT campaign, occurrence, provider || ': ' || reference FROM provider_references
             WHERE contact = $1 ORDER BY known_at",
            &[&contact],
        )
        .await?;
    Ok(rows.iter().map(|row| (place(row), row.get(2))).collect())
}

async fn unsubscribes(snapshot: &Transaction<'_>, contact: i64) -> Result<Vec<UnsubscribeRecord>> {
    let sql = "SELECT channel, at FROM unsubscribes WHERE contact = $1 ORDER BY channel";
    let rows = snapshot.query(sql, &[&contact]).await?;
    let record = |row: &Row| {
        Ok(UnsubscribeRecord { channel: decode(row.get(0), Channel::from_code)?, at: row.get(1) })
    };
    rows.iter().map(record).collect()
}

async fn lists(snapshot: &Transaction<'_>, contact: i64, external_id: &str) -> Result<Vec<ListEntry>> {
    let rows = snapshot
        .query(
            "SELECT k.id, s.external_id, s.address, s.data FROM stage s JOIN campaigns k ON k.number = s.campaign
             WHERE s.external_id = $1 OR s.address IN (SELECT a.address FROM addresses a WHERE a.contact = $2)
             ORDER BY s.campaign, s.position",
            &[&external_id, &contact],
        )
        .await?;
    let entry = |row: &Row| ListEntry {
        campaign: row.get(0),
        external_id: row.get(1),
        address: row.get(2),
        data: row.get::<_, Option<Json<_>>>(3).map(object),
    };
    Ok(rows.iter().map(entry).collect())
}
