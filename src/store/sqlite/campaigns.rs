//! Campaigns as users see and control them, on SQLite.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, ToSql, params};

use super::connection::Connection;
use super::counters::append_move;
use super::values::{At, Json};
use super::{SqliteStore, decode};
use crate::model::campaign::Facts;
use crate::model::{CampaignNo, CampaignStatus, Channel, Control, Lane, PauseCause, Purpose, Reason, State};
use crate::store::Result;
use crate::store::campaigns::{CampaignRecord, Campaigns, Resolution, Running};
use crate::store::metric::METRIC_STATE;

#[async_trait]
impl Campaigns for SqliteStore {
    async fn campaigns(&self, limit: u32, offset: u32) -> Result<Vec<CampaignRecord>> {
        self.read(move |connection| {
            records(connection, "ORDER BY k.number DESC LIMIT ?1 OFFSET ?2", params![limit, offset])
        })
        .await
    }

    async fn campaign(&self, id: &str) -> Result<Option<CampaignRecord>> {
        let id = id.to_owned();
        self.read(move |connection| Ok(records(connection, "AND k.id = ?1", params![id])?.pop())).await
    }

    async fn control(&self, id: &str, action: Control) -> Result<Option<CampaignStatus>> {
        let id = id.to_owned();
        self.write(move |connection| control(connection, &id, action)).await
    }

    async fn running(&self, channel: Channel) -> Result<Vec<Running>> {
        self.running_on(channel).await
    }

    async fn pause(&self, id: &str, cause: PauseCause, publish: bool) -> Result<bool> {
        self.pause_for(id, cause, publish).await
    }

    async fn resolve(&self, campaign: &str, external_id: &str, sent: bool) -> Result<Resolution> {
        let (campaign, external_id) = (campaign.to_owned(), external_id.to_owned());
        self.write(move |connection| resolve(connection, &campaign, &external_id, sent)).await
    }
}

/// One row an id: the newest month of a standing campaign speaks for all, sums go over all.
fn records(connection: &Connection, which: &str, bound: &[&dyn ToSql]) -> Result<Vec<CampaignRecord>> {
    let sent: Vec<String> =
        State::ALL.iter().filter(|state| state.is_sent()).map(|state| state.code().to_string()).collect();
    let sql = format!(
        "WITH page AS (
             SELECT k.* FROM campaigns k
             WHERE NOT EXISTS (SELECT 1 FROM campaigns later WHERE later.id = k.id AND later.month > k.month) {which}),
         parts AS (
             SELECT k.id, c.state, c.n FROM campaigns k CROSS JOIN counters c ON c.campaign = k.number
             WHERE c.metric = {METRIC_STATE} AND k.id IN (SELECT id FROM page)
             UNION ALL
             SELECT k.id, c.state, c.n FROM counter_deltas c CROSS JOIN campaigns k ON k.number = c.campaign
             WHERE c.metric = {METRIC_STATE} AND k.id IN (SELECT id FROM page)),
         sums AS (
             SELECT id, sum(n) AS targeted, sum(n) FILTER (WHERE state IN ({sent})) AS sent,
                    sum(n) FILTER (WHERE state = {planned}) AS waiting
             FROM parts GROUP BY id)
         SELECT k.id, k.name, k.channel, k.purpose, k.lane, k.template, k.provider, k.rate, k.send_at, k.expires_at,
                k.accepted_at, k.started_at, k.finished_at, k.standing, k.paused, k.cancelled_at IS NOT NULL,
                k.planned_at IS NOT NULL, coalesce(t.targeted, 0), coalesce(t.sent, 0), coalesce(t.waiting, 0), k.pause_cause
         FROM page k LEFT JOIN sums t ON t.id = k.id ORDER BY k.number DESC",
        sent = sent.join(", "),
        planned = State::Planned.code(),
    );
    let mut list = connection.prepare_cached(&sql)?;
    let mut rows = list.query(bound)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(record(row)?);
    }
    Ok(records)
}

fn record(row: &Row<'_>) -> Result<CampaignRecord> {
    let Json(rate) = row.get(7)?;
    let at = |place: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<At>>(place)?.map(At::instant));
    let (started_at, finished_at) = (at(11)?, at(12)?);
    let facts = Facts {
        standing: row.get(13)?,
        paused: row.get(14)?,
        cancelled: row.get(15)?,
        started: started_at.is_some(),
        planned: row.get(16)?,
        finished: finished_at.is_some(),
    };
    let (targeted, waiting): (i64, i64) = (row.get(17)?, row.get(19)?);
    Ok(CampaignRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        status: facts.status(),
        pause_cause: row
            .get::<_, Option<i16>>(20)?
            .filter(|_| facts.paused)
            .map(|code| decode(code, PauseCause::from_code))
            .transpose()?,
        channel: decode(row.get(2)?, Channel::from_code)?,
        purpose: decode(row.get(3)?, Purpose::from_code)?,
        lane: decode(row.get(4)?, Lane::from_code)?,
        template: row.get(5)?,
        provider: row.get(6)?,
        rate,
        send_at: at(8)?,
        expires_at: at(9)?,
        accepted_at: row.get::<_, At>(10)?.0,
        started_at,
        finished_at,
        targeted,
        sent: row.get(18)?,
        settled: targeted - waiting,
    })
}

/// Sets what the control asks for; one that has no effect any more, as a pause of a finished campaign, changes nothing.
pub(super) fn control(connection: &Connection, id: &str, action: Control) -> Result<Option<CampaignStatus>> {
    let open = "WHERE id = ?1 AND finished_at IS NULL AND cancelled_at IS NULL";
    match action {
        Control::Pause => connection.execute(&format!("UPDATE campaigns SET paused = 1 {open}"), [id])?,
        // What led to a pause is forgiven: only what comes from now on counts.
        Control::Resume => {
            let quality = super::pausing::quality();
            let change = format!("paused = 0, pause_cause = NULL, judged_from = {quality}");
            connection.execute(&format!("UPDATE campaigns AS k SET {change} {open}"), [id])?
        }
        Control::Cancel => {
            let cancel = format!("UPDATE campaigns SET cancelled_at = ?2 {open}");
            connection.execute(&cancel, params![id, connection.now_us()])?
        }
    };
    let facts = connection
        .prepare_cached(
            "SELECT standing, paused, cancelled_at IS NOT NULL, started_at IS NOT NULL, planned_at IS NOT NULL,
                    finished_at IS NOT NULL
             FROM campaigns WHERE id = ?1 ORDER BY month DESC LIMIT 1",
        )?
        .query_row([id], |row| {
            Ok(Facts {
                standing: row.get(0)?,
                paused: row.get(1)?,
                cancelled: row.get(2)?,
                started: row.get(3)?,
                planned: row.get(4)?,
                finished: row.get(5)?,
            })
        })
        .optional()?;
    Ok(facts.map(Facts::status))
}

/// Of several deliveries to the contact one that is `unknown` is meant.
fn resolve(connection: &Connection, campaign: &str, external_id: &str, sent: bool) -> Result<Resolution> {
    let found: Option<(i64, i64, i64, i16, Option<i16>)> = connection
        .prepare_cached(
            "SELECT d.campaign, d.contact, d.occurrence, d.state, d.reason
             FROM campaigns k JOIN contacts c ON c.external_id = ?2
             JOIN deliveries d ON d.campaign = k.number AND d.contact = c.number
             WHERE k.id = ?1 ORDER BY d.state = ?3 DESC LIMIT 1",
        )?
        .query_row(params![campaign, external_id, State::Unknown.code()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((number, contact, occurrence, state, before)) = found else { return Ok(Resolution::NotFound) };
    if state != State::Unknown.code() {
        return Ok(Resolution::NotUnknown);
    }
    let (state, reason) =
        if sent { (State::Accepted, None) } else { (State::Rejected, Some(Reason::ResolvedByHand)) };
    let update = "UPDATE deliveries SET state = ?4, reason = ?5, updated_at = ?6
         WHERE campaign = ?1 AND contact = ?2 AND occurrence = ?3";
    let reason = reason.map(Reason::code);
    let row = params![number, contact, occurrence, state.code(), reason, connection.now_us()];
    connection.prepare_cached(update)?.execute(row)?;
    let from = (State::Unknown.code(), before.unwrap_or(0));
    append_move(connection, CampaignNo(number), from, (state.code(), reason.unwrap_or(0)), 1)?;
    Ok(Resolution::Done)
}
