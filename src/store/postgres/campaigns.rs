//! Campaigns as users see and control them, on PostgreSQL.

use async_trait::async_trait;
use deadpool_postgres::GenericClient;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::{PgStore, decode, deliveries_table};
use crate::model::campaign::Facts;
use crate::model::{CampaignNo, CampaignStatus, Channel, Control, Lane, PauseCause, Purpose, Reason, State};
use crate::store::Result;
use crate::store::campaigns::{CampaignRecord, Campaigns, Resolution, Running};
use crate::store::metric::METRIC_STATE;

/// One row an id: the newest month of a standing campaign speaks for all, sums go over all.
const RECORDS: &str = "
    SELECT k.id, k.name, k.channel, k.purpose, k.lane, k.template, k.provider, k.rate, k.send_at, k.expires_at,
           k.accepted_at, k.started_at, k.finished_at, k.standing, k.paused, k.cancelled_at IS NOT NULL, k.planned_at IS NOT NULL,
           t.targeted, t.sent, t.waiting, k.pause_cause
    FROM campaigns k
    JOIN LATERAL (
        SELECT coalesce(sum(n), 0)::bigint AS targeted,
               coalesce(sum(n) FILTER (WHERE state = ANY($1)), 0)::bigint AS sent,
               coalesce(sum(n) FILTER (WHERE state = $2), 0)::bigint AS waiting
        FROM (SELECT state, n FROM counters WHERE metric = $3 AND campaign IN (SELECT number FROM campaigns s WHERE s.id = k.id)
              UNION ALL
              SELECT state, n FROM counter_deltas WHERE metric = $3 AND campaign IN (SELECT number FROM campaigns s WHERE s.id = k.id)
        ) parts) t ON true
    WHERE NOT EXISTS (SELECT FROM campaigns later WHERE later.id = k.id AND later.month > k.month)";

fn sent_states() -> Vec<i16> {
    State::ALL.iter().filter(|state| state.is_sent()).map(|state| state.code()).collect()
}

#[async_trait]
impl Campaigns for PgStore {
    async fn campaigns(&self, limit: u32, offset: u32) -> Result<Vec<CampaignRecord>> {
        let sql = format!("{RECORDS} ORDER BY k.number DESC LIMIT $4 OFFSET $5");
        let rows = self
            .client()
            .await?
            .query(
                &sql,
                &[
                    &sent_states(),
                    &State::Planned.code(),
                    &METRIC_STATE,
                    &i64::from(limit),
                    &i64::from(offset),
                ],
            )
            .await?;
        rows.iter().map(record).collect()
    }

    async fn campaign(&self, id: &str) -> Result<Option<CampaignRecord>> {
        let sql = format!("{RECORDS} AND k.id = $4");
        let row = self
            .client()
            .await?
            .query_opt(&sql, &[&sent_states(), &State::Planned.code(), &METRIC_STATE, &id])
            .await?;
        row.as_ref().map(record).transpose()
    }

    async fn control(&self, id: &str, action: Control) -> Result<Option<CampaignStatus>> {
        control(&self.client().await?, id, action).await
    }

    async fn running(&self, channel: Channel) -> Result<Vec<Running>> {
        self.running_on(channel).await
    }

    async fn pause(&self, id: &str, cause: PauseCause, publish: bool) -> Result<bool> {
        self.pause_for(id, cause, publish).await
    }

    async fn resolve(&self, campaign: &str, external_id: &str, sent: bool) -> Result<Resolution> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let found = transaction
            .query(
                "SELECT d.campaign, d.contact, d.occurrence, d.state, d.reason FROM deliveries d
                 JOIN contacts c ON c.number = d.contact
                 WHERE d.campaign = ANY (ARRAY(SELECT number FROM campaigns WHERE id = $1)) AND c.external_id = $2
                 ORDER BY d.state = $3 DESC LIMIT 1 FOR UPDATE OF d",
                &[&campaign, &external_id, &State::Unknown.code()],
            )
            .await?;
        let Some(row) = found.first() else { return Ok(Resolution::NotFound) };
        if row.get::<_, i16>(3) != State::Unknown.code() {
            return Ok(Resolution::NotUnknown);
        }
        let (number, contact, occurrence): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let (state, reason) =
            if sent { (State::Accepted, None) } else { (State::Rejected, Some(Reason::ResolvedByHand)) };
        transaction
            .execute(
                &format!(
                    "UPDATE {} SET state = $4, reason = $5, updated_at = now()
                     WHERE campaign = $1 AND contact = $2 AND occurrence = $3",
                    deliveries_table(CampaignNo(number))
                ),
                &[&number, &contact, &occurrence, &state.code(), &reason.map(Reason::code)],
            )
            .await?;
        let from_reason: Option<i16> = row.get(4);
        super::counters::append_move(
            &transaction,
            CampaignNo(number),
            (State::Unknown.code(), from_reason.unwrap_or(0)),
            (state.code(), reason.map_or(0, Reason::code)),
            1,
        )
        .await?;
        transaction.commit().await?;
        Ok(Resolution::Done)
    }
}

/// Sets what the control asks for; one that has no effect any more, as a pause of a finished campaign, changes nothing.
pub(super) async fn control(
    client: &impl GenericClient,
    id: &str,
    action: Control,
) -> Result<Option<CampaignStatus>> {
    let change = match action {
        Control::Pause => "paused = true".to_owned(),
        // What led to a pause is forgiven: only what comes from now on counts.
        Control::Resume => {
            format!("paused = false, pause_cause = NULL, judged_from = {}", super::pausing::quality())
        }
        Control::Cancel => "cancelled_at = coalesce(cancelled_at, now())".to_owned(),
    };
    client
        .execute(
            &format!(
                "UPDATE campaigns k SET {change} WHERE id = $1 AND finished_at IS NULL AND cancelled_at IS NULL"
            ),
            &[&id],
        )
        .await?;
    let row = client
        .query_opt(
            "SELECT standing, paused, cancelled_at IS NOT NULL, started_at IS NOT NULL, planned_at IS NOT NULL, finished_at IS NOT NULL
             FROM campaigns WHERE id = $1 ORDER BY month DESC LIMIT 1",
            &[&id],
        )
        .await?;
    Ok(row.map(|row| {
        Facts {
            standing: row.get(0),
            paused: row.get(1),
            cancelled: row.get(2),
            started: row.get(3),
            planned: row.get(4),
            finished: row.get(5),
        }
        .status()
    }))
}

fn record(row: &Row) -> Result<CampaignRecord> {
    let Json(rate) = row.get(7);
    let facts = Facts {
        standing: row.get(13),
        paused: row.get(14),
        cancelled: row.get(15),
        started: row.get::<_, Option<jiff::Timestamp>>(11).is_some(),
        planned: row.get(16),
        finished: row.get::<_, Option<jiff::Timestamp>>(12).is_some(),
    };
    let (targeted, waiting): (i64, i64) = (row.get(17), row.get(19));
    Ok(CampaignRecord {
        id: row.get(0),
        name: row.get(1),
        status: facts.status(),
        pause_cause: row
            .get::<_, Option<i16>>(20)
            .filter(|_| facts.paused)
            .map(|code| decode(code, PauseCause::from_code))
            .transpose()?,
        channel: decode(row.get(2), Channel::from_code)?,
        purpose: decode(row.get(3), Purpose::from_code)?,
        lane: decode(row.get(4), Lane::from_code)?,
        template: row.get(5),
        provider: row.get(6),
        rate,
        send_at: row.get(8),
        expires_at: row.get(9),
        accepted_at: row.get(10),
        started_at: row.get(11),
        finished_at: row.get(12),
        targeted,
        sent: row.get(18),
        settled: targeted - waiting,
    })
}
