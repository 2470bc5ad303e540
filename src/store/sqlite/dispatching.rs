//! What the lanes ask of SQLite: heartbeats, streams that are due, campaigns as they are sent, the backlog.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, params};

use super::connection::Connection;
use super::leases::forget;
use super::values::{At, Json};
use super::{SqliteStore, decode};
use crate::model::job::Tracking;
use crate::model::{BatchNo, CampaignNo, Channel, Lane, Purpose};
use crate::store::dispatching::{
    Backlog, Dispatching, Hold, Intent, Lease, Outcomes, Recipient, Rescued, Sending,
};
use crate::store::jobs::{Incarnation, PinnedTemplate};
use crate::store::{Error, Result};

#[async_trait]
impl Dispatching for SqliteStore {
    async fn join(&self, name: &str) -> Result<Incarnation> {
        self.claim()?;
        let name = name.to_owned();
        self.write(move |connection| {
            let insert = "INSERT INTO incarnations (name, started_at) VALUES (?1, ?2)";
            connection.execute(insert, params![name, connection.now_us()])?;
            Ok(Incarnation(connection.last_insert_rowid()))
        })
        .await
    }

    async fn beat(&self, me: Incarnation) -> Result<Vec<(Incarnation, i64)>> {
        self.write(move |connection| beat(connection, me)).await
    }

    async fn leave(&self, me: Incarnation) -> Result<()> {
        self.write(move |connection| forget(connection, me)).await
    }

    async fn campaigns_due(&self, channel: Channel) -> Result<Vec<(CampaignNo, Lane)>> {
        self.read(move |connection| campaigns_due(connection, channel)).await
    }

    async fn stopped(&self, known: &[CampaignNo]) -> Result<Vec<CampaignNo>> {
        let known = known.to_vec();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT 1 FROM campaigns WHERE number = ?1 AND NOT paused AND cancelled_at IS NULL
                     AND (expires_at IS NULL OR expires_at > ?2)",
            )?;
            let mut stopped = Vec::new();
            for campaign in known {
                if !statement.exists([campaign.0, connection.now_us()])? {
                    stopped.push(campaign);
                }
            }
            Ok(stopped)
        })
        .await
    }

    async fn lease(&self, me: Incarnation, streams: &[(CampaignNo, Lane)], each: u32) -> Result<Vec<Lease>> {
        self.take_leases(me, streams, each).await
    }

    async fn leased_at_acceptance(&self, me: Incarnation, channel: Channel) -> Result<Vec<Lease>> {
        self.own_leases(me, channel).await
    }

    async fn sending(&self, campaign: CampaignNo) -> Result<Option<Sending>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, channel, purpose, provider, data, rate, burst, track_opens, track_clicks, standing, inline_data, expires_at
                 FROM campaigns WHERE number = ?1",
            )?;
            let mut rows = statement.query([campaign.0])?;
            rows.next()?.map(|row| sending(campaign, row)).transpose()
        })
        .await
    }

    async fn template(&self, campaign: CampaignNo, hash: [u8; 32]) -> Result<Option<PinnedTemplate>> {
        self.read(move |connection| {
            let found = connection
                .prepare_cached("SELECT name, source FROM templates WHERE hash = ?1")?
                .query_row([hash], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((name, Json(source))) = found else { return Ok(None) };
            let links = connection
                .prepare_cached("SELECT url FROM links WHERE campaign = ?1 ORDER BY number")?
                .query_map([campaign.0], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(PinnedTemplate { hash, name, source, links }))
        })
        .await
    }

    async fn record(&self, me: Incarnation, outcomes: &Outcomes) -> Result<()> {
        self.record_outcomes(me, outcomes).await
    }

    async fn intend(&self, me: Incarnation, intents: &[Intent]) -> Result<Vec<Option<Vec<Recipient>>>> {
        self.grant(me, intents).await
    }

    async fn release(&self, me: Incarnation, holds: &[Hold]) -> Result<()> {
        self.give_back(me, holds).await
    }

    async fn rescue(&self, dead: Incarnation) -> Result<Rescued> {
        self.rescue_all(dead).await
    }

    async fn holds(&self, me: Incarnation) -> Result<Vec<Hold>> {
        self.read(move |connection| {
            let sql = "SELECT number, epoch FROM batches WHERE owner = ?1 AND epoch > 0";
            let hold = |row: &Row<'_>| Ok(Hold { batch: BatchNo(row.get(0)?), epoch: row.get(1)? });
            Ok(connection.prepare_cached(sql)?.query_map([me.0], hold)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>> {
        self.read(backlog).await
    }
}

fn beat(connection: &Connection, me: Incarnation) -> Result<Vec<(Incarnation, i64)>> {
    let beaten = connection
        .prepare_cached("UPDATE incarnations SET beat = beat + 1 WHERE number = ?1")?
        .execute([me.0])?;
    if beaten == 0 {
        return Err(Error::Refused("another daemon took this one for dead and took its leases over".into()));
    }
    // A batch that was leased while its owner was forgotten shows an owner whose heart never beats.
    let beats = connection
        .prepare_cached(
            "SELECT number, beat FROM incarnations UNION ALL
             SELECT DISTINCT owner, -1 FROM batches WHERE owner IS NOT NULL AND owner NOT IN (SELECT number FROM incarnations)",
        )?
        .query_map([], |row| Ok((Incarnation(row.get(0)?), row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(beats)
}

/// Whether a campaign's lane has a batch that is due.
pub(super) const WAITING: &str =
    "SELECT 1 FROM batches WHERE channel = ?1 AND lane = ?2 AND campaign = ?3 AND owner IS NULL AND due_at <= ?4
         AND size > watermark";

fn campaigns_due(connection: &Connection, channel: Channel) -> Result<Vec<(CampaignNo, Lane)>> {
    let open = connection
        .prepare_cached(
            "SELECT number FROM campaigns WHERE finished_at IS NULL AND channel = ?1 AND NOT paused
                 AND cancelled_at IS NULL AND (expires_at IS NULL OR expires_at > ?2) ORDER BY number",
        )?
        .query_map(params![channel.code(), connection.now_us()], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut waiting = connection.prepare_cached(WAITING)?;
    let mut due = Vec::new();
    for lane in Lane::ALL {
        for campaign in &open {
            if waiting.exists(params![channel.code(), lane.code(), campaign, connection.now_us()])? {
                due.push((CampaignNo(*campaign), *lane));
            }
        }
    }
    Ok(due)
}

fn sending(number: CampaignNo, row: &Row<'_>) -> Result<Sending> {
    let (Json(data), Json(rate)) = (row.get(4)?, row.get(5)?);
    Ok(Sending {
        number,
        id: row.get(0)?,
        channel: decode(row.get(1)?, Channel::from_code)?,
        purpose: decode(row.get(2)?, Purpose::from_code)?,
        provider: row.get(3)?,
        data: Arc::new(data),
        rate,
        burst: row.get(6)?,
        tracking: Tracking { opens: row.get(7)?, clicks: row.get(8)? },
        standing: row.get(9)?,
        inline_data: row.get(10)?,
        expires_at: row.get::<_, Option<At>>(11)?.map(At::instant),
    })
}

fn backlog(connection: &Connection) -> Result<Vec<Backlog>> {
    let mut statement = connection.prepare_cached(
        "SELECT b.channel, b.lane, sum(b.size - b.watermark), min(b.due_at) FILTER (WHERE b.size > b.watermark)
         FROM batches b JOIN campaigns k ON k.number = b.campaign
         WHERE NOT k.paused AND k.cancelled_at IS NULL GROUP BY b.channel, b.lane",
    )?;
    let mut rows = statement.query([])?;
    let mut backlog = Vec::new();
    while let Some(row) = rows.next()? {
        backlog.push(Backlog {
            channel: decode(row.get(0)?, Channel::from_code)?,
            lane: decode(row.get(1)?, Lane::from_code)?,
            waiting: row.get(2)?,
            oldest_due: row.get::<_, Option<At>>(3)?.map(At::instant),
        });
    }
    Ok(backlog)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::Admin;

    #[tokio::test]
    async fn a_file_has_one_daemon_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let open = || SqliteStore::open(&folder.path().join("campaignd.db"), Clock::system()).unwrap();
        let (first, second) = (open(), open());
        first.migrate().await.unwrap();
        first.join("one").await.unwrap();
        let refused = second.join("two").await.unwrap_err();
        assert!(!refused.is_transient());
        second.backlog().await.unwrap();
        drop(first);
        second.join("two").await.unwrap();
    }
}
