//! What the lanes ask of PostgreSQL: heartbeats, streams that are due, campaigns as they are sent, the backlog.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::types::Json;

use super::contacts::object;
use super::{PgStore, decode};
use crate::model::job::Tracking;
use crate::model::{BatchNo, CampaignNo, Channel, Lane, Purpose};
use crate::store::dispatching::{
    Backlog, Dispatching, Hold, Intent, Lease, Outcomes, Recipient, Rescued, Sending,
};
use crate::store::jobs::{Incarnation, PinnedTemplate};
use crate::store::{Error, Result};

#[async_trait]
impl Dispatching for PgStore {
    async fn join(&self, name: &str) -> Result<Incarnation> {
        let client = self.client().await?;
        let row = client
            .query_one("INSERT INTO incarnations (name) VALUES ($1) RETURNING number", &[&name])
            .await?;
        Ok(Incarnation(row.get(0)))
    }

    async fn beat(&self, me: Incarnation) -> Result<Vec<(Incarnation, i64)>> {
        let client = self.client().await?;
        let beaten =
            client.execute("UPDATE incarnations SET beat = beat + 1 WHERE number = $1", &[&me.0]).await?;
        if beaten == 0 {
            return Err(Error::Refused(
                "another daemon took this one for dead and took its leases over".into(),
            ));
        }
        // A batch that was leased while its owner was forgotten shows an owner whose heart never beats.
        let rows = client
            .query(
                "SELECT number, beat FROM incarnations UNION ALL
                 SELECT DISTINCT owner, -1 FROM batches WHERE owner IS NOT NULL AND owner NOT IN (SELECT number FROM incarnations)",
                &[],
            )
            .await?;
        Ok(rows.iter().map(|row| (Incarnation(row.get(0)), row.get(1))).collect())
    }

    async fn leave(&self, me: Incarnation) -> Result<()> {
        self.forget(me).await
    }

    async fn campaigns_due(&self, channel: Channel) -> Result<Vec<(CampaignNo, Lane)>> {
        let lanes: Vec<i16> = Lane::ALL.iter().map(|lane| lane.code()).collect();
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "SELECT k.number, n.lane FROM campaigns k, unnest($2::smallint[]) AS n (lane)
                 WHERE k.finished_at IS NULL AND k.channel = $1 AND NOT k.paused AND k.cancelled_at IS NULL
                   AND (k.expires_at IS NULL OR k.expires_at > now())
                   AND EXISTS (SELECT FROM batches b WHERE b.channel = $1 AND b.lane = n.lane AND b.campaign = k.number
                               AND b.owner IS NULL AND b.due_at <= now() AND b.size > b.watermark)
                 ORDER BY n.lane, k.number",
            )
            .await?;
        let rows = client.query(&statement, &[&channel.code(), &lanes]).await?;
        rows.iter().map(|row| Ok((CampaignNo(row.get(0)), decode(row.get(1), Lane::from_code)?))).collect()
    }

    async fn stopped(&self, known: &[CampaignNo]) -> Result<Vec<CampaignNo>> {
        let numbers: Vec<i64> = known.iter().map(|campaign| campaign.0).collect();
        let client = self.client().await?;
        let rows = client
            .query(
                "SELECT n.number FROM unnest($1::bigint[]) AS n (number) LEFT JOIN campaigns k ON k.number = n.number
                 WHERE k.number IS NULL OR k.paused OR k.cancelled_at IS NOT NULL OR k.expires_at <= now()",
                &[&numbers],
            )
            .await?;
        Ok(rows.iter().map(|row| CampaignNo(row.get(0))).collect())
    }

    async fn lease(&self, me: Incarnation, streams: &[(CampaignNo, Lane)], each: u32) -> Result<Vec<Lease>> {
        self.take_leases(me, streams, each).await
    }

    async fn leased_at_acceptance(&self, me: Incarnation, channel: Channel) -> Result<Vec<Lease>> {
        self.own_leases(me, channel).await
    }

    async fn sending(&self, campaign: CampaignNo) -> Result<Option<Sending>> {
        let client = self.client().await?;
        let row = client
            .query_opt(
                "SELECT id, channel, purpose, provider, data, rate, burst, track_opens, track_clicks, standing, inline_data, expires_at
                 FROM campaigns WHERE number = $1",
                &[&campaign.0],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let Json(rate) = row.get(5);
        Ok(Some(Sending {
            number: campaign,
            id: row.get::<_, &str>(0).into(),
            channel: decode(row.get(1), Channel::from_code)?,
            purpose: decode(row.get(2), Purpose::from_code)?,
            provider: row.get(3),
            data: Arc::new(object(row.get(4))),
            rate,
            burst: row.get::<_, Option<i64>>(6).and_then(|burst| u32::try_from(burst).ok()),
            tracking: Tracking { opens: row.get(7), clicks: row.get(8) },
            standing: row.get(9),
            inline_data: row.get(10),
            expires_at: row.get(11),
        }))
    }

    async fn template(&self, campaign: CampaignNo, hash: [u8; 32]) -> Result<Option<PinnedTemplate>> {
        let client = self.client().await?;
        let row = client
            .query_opt("SELECT name, source FROM templates WHERE hash = $1", &[&hash.as_slice()])
            .await?;
        let Some(row) = row else { return Ok(None) };
        let Json(source) = row.get(1);
        let links =
            client.query("SELECT url FROM links WHERE campaign = $1 ORDER BY number", &[&campaign.0]).await?;
        let links = links.iter().map(|row| row.get(0)).collect();
        Ok(Some(PinnedTemplate { hash, name: row.get(0), source, links }))
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
        let client = self.client().await?;
        let rows = client
            .query("SELECT number, epoch FROM batches WHERE owner = $1 AND epoch > 0", &[&me.0])
            .await?;
        Ok(rows.iter().map(|row| Hold { batch: BatchNo(row.get(0)), epoch: row.get(1) }).collect())
    }

    async fn backlog(&self) -> Result<Vec<Backlog>> {
        let client = self.client().await?;
        let rows = client
            .query(
                "SELECT b.channel, b.lane, coalesce(sum(b.size - b.watermark), 0)::bigint, min(b.due_at) FILTER (WHERE b.size > b.watermark)
                 FROM batches b JOIN campaigns k ON k.number = b.campaign
                 WHERE NOT k.paused AND k.cancelled_at IS NULL GROUP BY b.channel, b.lane",
                &[],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Backlog {
                    channel: decode(row.get(0), Channel::from_code)?,
                    lane: decode(row.get(1), Lane::from_code)?,
                    waiting: row.get(2),
                    oldest_due: row.get::<_, Option<Timestamp>>(3),
                })
            })
            .collect()
    }
}
