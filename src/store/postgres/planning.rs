//! Planning on PostgreSQL: pages of contacts or list entries become deliveries and batches.

use async_trait::async_trait;
use deadpool_postgres::GenericClient;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::filter::Compiler;
use super::jobs::Planned;
use super::judging::{PLAN_PARAMETERS, Plan, write};
use super::recipients::{Listed, number_repeats};
use super::{PgStore, by_key, decode, deliveries_table};
use crate::model::job::Audience;
use crate::model::{CampaignNo, CampaignStatus, Channel, Lane, Purpose, Reason, State};
use crate::store::metric::METRIC_STATE;
use crate::store::planning::{Finished, Page, Planning};
use crate::store::{Error, Result};

#[async_trait]
impl Planning for PgStore {
    async fn campaigns_to_plan(&self) -> Result<Vec<CampaignNo>> {
        let client = self.client().await?;
        client
            .execute(
                "UPDATE campaigns k SET started_at = now(),
                     plan_end = coalesce(CASE WHEN audience -> 'audience' ?| ARRAY['contacts', 'recipients']
                         THEN (SELECT max(position) FROM stage s WHERE s.campaign = k.number)
                         ELSE (SELECT max(number) FROM contacts) END, 0)
                 WHERE started_at IS NULL AND (coalesce(send_at, accepted_at) <= now() OR cancelled_at IS NOT NULL)",
                &[],
            )
            .await?;
        let rows = client
            .query(
                "SELECT number FROM campaigns WHERE finished_at IS NULL AND started_at IS NOT NULL AND planned_at IS NULL
                 ORDER BY lane, number",
                &[],
            )
            .await?;
        Ok(rows.iter().map(|row| CampaignNo(row.get(0))).collect())
    }

    async fn plan_page(&self, campaign: CampaignNo, span: u32) -> Result<Option<Page>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // A page is sorted and kept in memory, not in temporary files.
        transaction.batch_execute("SET LOCAL work_mem = '64MB'").await?;
        let row = transaction
            .query_opt(
                "SELECT channel, purpose, lane, template_hash, audience, plan_cursor, plan_end, started_at,
                        cancelled_at IS NOT NULL, expires_at <= now(), id
                 FROM campaigns WHERE number = $1 AND planned_at IS NULL AND started_at IS NOT NULL
                 FOR UPDATE SKIP LOCKED",
                &[&campaign.0],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (cursor, end): (i64, i64) = (row.get(5), row.get(6));
        let to = cursor.saturating_add(i64::from(span)).min(end);
        let (plan, planned) = plan_of(campaign, &row)?;
        let counts = match &planned.audience {
            Audience::All => self.plan_contacts(&transaction, &plan, None, &row, (cursor, to)).await?,
            Audience::Segment(filter) => {
                self.plan_contacts(&transaction, &plan, Some(filter), &row, (cursor, to)).await?
            }
            Audience::Contacts(_) => self.plan_list(&transaction, &plan, None, (cursor, to)).await?,
            Audience::Recipients { consent, .. } => {
                let source = consent.then(|| format!("campaign {}", row.get::<_, String>(10)));
                self.plan_list(&transaction, &plan, source.as_deref(), (cursor, to)).await?
            }
        };
        let done = to >= end;
        transaction
            .execute(
                "UPDATE campaigns SET plan_cursor = $2, planned_at = CASE WHEN $3 THEN now() END,
                     audience = CASE WHEN $3 THEN NULL ELSE audience END WHERE number = $1",
                &[&campaign.0, &to, &done],
            )
            .await?;
        transaction.commit().await?;
        Ok(Some(Page { channel: plan.channel, counts, done }))
    }

    async fn settle_stopped(&self) -> Result<u64> {
        let client = self.client().await?;
        client
            .execute(
                "UPDATE campaigns SET expired_at = now()
                 WHERE finished_at IS NULL AND expired_at IS NULL AND NOT standing AND expires_at <= now()",
                &[],
            )
            .await?;
        let rows = client
            .query(
                "SELECT number, cancelled_at IS NOT NULL FROM campaigns k
                 WHERE finished_at IS NULL AND (cancelled_at IS NOT NULL OR expired_at IS NOT NULL)
                   AND EXISTS (SELECT FROM batches b WHERE b.campaign = k.number AND b.size > b.watermark)",
                &[],
            )
            .await?;
        drop(client);
        let mut settled = 0;
        for row in rows {
            let (state, reason) = if row.get(1) {
                (State::Cancelled, Reason::CampaignCancelled)
            } else {
                (State::Expired, Reason::CampaignExpired)
            };
            while let Some(batch) = self.settle_batch(CampaignNo(row.get(0)), state, reason).await? {
                settled += batch;
            }
        }
        Ok(settled)
    }

    async fn finish_campaigns(&self, publish: bool) -> Result<Vec<Finished>> {
        let client = self.client().await?;
        let rows = client
            .query(
                "SELECT number FROM campaigns k WHERE finished_at IS NULL AND planned_at IS NOT NULL
                   AND (NOT standing OR month < date_trunc('month', (now() - interval '1 hour') AT TIME ZONE 'UTC')::date)
                   AND NOT EXISTS (SELECT FROM batches b WHERE b.campaign = k.number)",
                &[],
            )
            .await?;
        drop(client);
        let mut finished = Vec::new();
        for row in rows {
            finished.extend(self.finish(CampaignNo(row.get(0)), publish).await?);
        }
        Ok(finished)
    }

    async fn fold_counters(&self) -> Result<u64> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let ours: bool =
            transaction.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&FOLD_LOCK]).await?.get(0);
        if !ours {
            return Ok(0);
        }
        let folded = transaction
            .execute(
                "WITH taken AS (DELETE FROM counter_deltas RETURNING *)
                 INSERT INTO counters AS c (campaign, metric, variant, state, reason, link, hour, n)
                 SELECT campaign, metric, variant, state, reason, link, hour, sum(n) FROM taken GROUP BY 1, 2, 3, 4, 5, 6, 7
                 ON CONFLICT (campaign, metric, variant, state, reason, link, hour) DO UPDATE SET n = c.n + excluded.n",
                &[],
            )
            .await?;
        transaction.commit().await?;
        Ok(folded)
    }
}

const FOLD_LOCK: i64 = 0x6361_6d70_0003;

fn plan_of(campaign: CampaignNo, row: &Row) -> Result<(Plan, Planned)> {
    let Json(planned): Json<Planned> = row.try_get(4)?;
    let (state, reason) = match (row.get(8), row.get::<_, Option<bool>>(9).unwrap_or(false)) {
        (true, _) => (State::Cancelled, Some(Reason::CampaignCancelled)),
        (false, true) => (State::Expired, Some(Reason::CampaignExpired)),
        _ => (State::Planned, None),
    };
    let plan = Plan {
        campaign,
        channel: decode(row.get(0), Channel::from_code)?,
        purpose: decode(row.get(1), Purpose::from_code)?,
        lane: decode(row.get(2), Lane::from_code)?,
        template: row.get(3),
        purpose_forbidden: planned.forbidden,
        apps: planned.apps.clone(),
        due_at: None,
        owner: None,
        options: None,
        state,
        reason,
    };
    Ok((plan, planned))
}

impl PgStore {
    /// One range of contact numbers: no contact crosses the wire.
    async fn plan_contacts(
        &self,
        client: &impl GenericClient,
        plan: &Plan,
        filter: Option<&crate::model::Filter>,
        row: &Row,
        (from, to): (i64, i64),
    ) -> Result<Vec<(State, Option<Reason>, i64)>> {
        let recipients = u32::try_from(to - from).map_err(|error| Error::Refused(error.into()))?;
        let mut parameters = plan.parameters(client, recipients).await?;
        parameters.push(Box::new(from));
        parameters.push(Box::new(to));
        let (after, until) = (PLAN_PARAMETERS + 1, PLAN_PARAMETERS + 2);
        let mut compiler = Compiler::new(parameters, row.get(7));
        let condition = filter.map_or_else(|| "true".to_owned(), |filter| compiler.condition(filter));
        let source = format!(
            "SELECT c.number AS contact, 0::bigint AS occurrence, NULL::bigint AS address, NULL::smallint AS pre
             FROM contacts c
             WHERE c.number > ${after} AND c.number <= ${until} AND c.erased_at IS NULL AND NOT c.stub AND {condition}"
        );
        let near = format!("AND a.contact > ${after} AND a.contact <= ${until}");
        // Filters differ from campaign to campaign: not worth keeping.
        let statement = client.prepare(&plan.sql(&source, &near)).await?;
        write(client, &statement, &compiler.parameters).await
    }

    async fn plan_list(
        &self,
        client: &impl GenericClient,
        plan: &Plan,
        consent_source: Option<&str>,
        (from, to): (i64, i64),
    ) -> Result<Vec<(State, Option<Reason>, i64)>> {
        let rows = client
            .query(
                "DELETE FROM stage WHERE campaign = $1 AND position > $2 AND position <= $3
                 RETURNING position, external_id, address, data",
                &[&plan.campaign.0, &from, &to],
            )
            .await?;
        let mut listed: Vec<(i64, Listed)> = rows
            .iter()
            .map(|row| {
                let data = row.get::<_, Option<Json<_>>>(3).map(|Json(data)| data);
                (row.get(0), Listed { external_id: row.get(1), address: row.get(2), data })
            })
            .collect();
        listed.sort_unstable_by_key(|(position, _)| *position);
        let listed = listed.into_iter().map(|(_, entry)| entry).collect();
        let mut entries = self.resolve(client, plan.channel, listed, consent_source).await?;
        number_repeats(client, plan.campaign, &mut entries).await?;
        plan.write_entries(client, entries).await
    }

    /// Settles one batch's members at or past its watermark; holds the batch's row lock meanwhile.
    async fn settle_batch(&self, campaign: CampaignNo, state: State, reason: Reason) -> Result<Option<u64>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let row = transaction
            .query_opt(
                "SELECT number, watermark, contacts, occurrences, owner IS NOT NULL, doubt FROM batches
                 WHERE campaign = $1 AND size > watermark LIMIT 1 FOR UPDATE",
                &[&campaign.0],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (number, watermark): (i64, i32) = (row.get(0), row.get(1));
        // What may have been sent is not told as never sent.
        let (state, reason) = match row.get::<_, Option<i16>>(5) {
            Some(doubt) => (State::Unknown, doubt),
            None => (state, reason.code()),
        };
        let skip = usize::try_from(watermark).unwrap_or(0);
        let (contacts, occurrences): (Vec<i64>, Vec<i64>) = (row.get(2), row.get(3));
        let sql = format!(
            "WITH moved AS (
                 UPDATE {} d SET state = $4, reason = $5, updated_at = now()
                 FROM unnest($2::bigint[], $3::bigint[]) AS n (contact, occurrence), {}
                 WHERE d.ctid = t.ctid AND d.state = {} AND d.batch = $6 RETURNING 1)
             INSERT INTO counter_deltas (campaign, metric, state, reason, hour, n)
             SELECT $1, {METRIC_STATE}, v.state, v.reason, 'epoch', v.sign * (SELECT count(*) FROM moved)
             FROM (VALUES ($4::smallint, $5::smallint, 1), ({}::smallint, 0::smallint, -1)) AS v (state, reason, sign)
             RETURNING n",
            deliveries_table(campaign),
            by_key(campaign),
            State::Planned.code(),
            State::Planned.code(),
        );
        let moved = transaction
            .query(
                &sql,
                &[&campaign.0, &&contacts[skip..], &&occurrences[skip..], &state.code(), &reason, &number],
            )
            .await?;
        // A batch that nobody owns has no doubtful members; an owned one vanishes with its last outcome.
        let shrink = if row.get(4) {
            "UPDATE batches SET size = watermark WHERE number = $1"
        } else {
            "DELETE FROM batches WHERE number = $1"
        };
        transaction.execute(shrink, &[&number]).await?;
        transaction.commit().await?;
        Ok(Some(moved.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs())))
    }

    /// Closes a campaign after counting its rows against its counters.
    async fn finish(&self, campaign: CampaignNo, publish: bool) -> Result<Option<Finished>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let row = transaction
            .query_opt(
                "UPDATE campaigns SET finished_at = now() WHERE number = $1 AND finished_at IS NULL
                 AND NOT EXISTS (SELECT FROM batches b WHERE b.campaign = $1) RETURNING id",
                &[&campaign.0],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        transaction.execute("DELETE FROM recipient_data WHERE campaign = $1", &[&campaign.0]).await?;
        let imbalance = transaction
            .query_one(
                &format!(
                    "WITH counted AS (
                         SELECT state, reason, sum(n) AS n FROM (
                             SELECT state, reason, n FROM counters WHERE campaign = $1 AND metric = {METRIC_STATE}
                             UNION ALL
                             SELECT state, reason, n FROM counter_deltas WHERE campaign = $1 AND metric = {METRIC_STATE}
                         ) both_parts GROUP BY 1, 2),
                     rows AS (
                         SELECT state, coalesce(reason, 0::smallint) AS reason, count(*) AS n
                         FROM {} WHERE campaign = $1 GROUP BY 1, 2)
                     SELECT coalesce(sum(abs(coalesce(c.n, 0) - coalesce(r.n, 0))), 0)::bigint
                     FROM counted c FULL JOIN rows r ON r.state = c.state AND r.reason = c.reason",
                    deliveries_table(campaign)
                ),
                &[&campaign.0],
            )
            .await?;
        if publish {
            announce(&transaction, campaign).await?;
        }
        transaction.commit().await?;
        Ok(Some(Finished { id: row.get(0), imbalance: imbalance.get(0) }))
    }
}

/// Tells the broker that a bulk campaign has ended, and how.
async fn announce(client: &impl GenericClient, campaign: CampaignNo) -> Result<()> {
    let row = client
        .query_one(
            "SELECT id, channel, standing, cancelled_at IS NOT NULL, finished_at FROM campaigns WHERE number = $1",
            &[&campaign.0],
        )
        .await?;
    if row.get(2) {
        return Ok(());
    }
    let counts = client
        .query(
            &format!(
                "SELECT state, sum(n)::bigint FROM (
                     SELECT state, n FROM counters WHERE campaign = $1 AND metric = {METRIC_STATE}
                     UNION ALL
                     SELECT state, n FROM counter_deltas WHERE campaign = $1 AND metric = {METRIC_STATE}
                 ) parts GROUP BY state HAVING sum(n) <> 0"
            ),
            &[&campaign.0],
        )
        .await?;
    let mut states = serde_json::Map::new();
    for count in &counts {
        states.insert(decode(count.get(0), State::from_code)?.to_string(), count.get::<_, i64>(1).into());
    }
    let status = if row.get(3) { CampaignStatus::Cancelled } else { CampaignStatus::Finished };
    let targeted: i64 = counts.iter().map(|count| count.get::<_, i64>(1)).sum();
    let payload = serde_json::json!({
        "id": uuid::Uuid::now_v7(),
        "event": "campaign.finished",
        "at": row.get::<_, jiff::Timestamp>(4),
        "campaign": row.get::<_, String>(0),
        "channel": decode(row.get(1), Channel::from_code)?,
        "status": status,
        "targeted": targeted,
        "states": states,
    });
    super::tracking::enqueue(client, &[("campaign.finished".to_owned(), payload)]).await
}
