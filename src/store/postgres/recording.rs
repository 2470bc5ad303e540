//! The group commit of outcomes: what is settled, what waits again, and closed batches, in one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};

use deadpool_postgres::{GenericClient, Transaction};
use futures_util::future::try_join3;
use jiff::Timestamp;
use tokio_postgres::types::{Json, ToSql};

use super::counters::{Deltas, append_move};
use super::suppressing::suppress_recipients;
use super::{PgStore, by_key, cached, decode, deliveries_table, keyed, references};
use crate::model::{BatchNo, CampaignNo, ContactNo, DeliveryKey, Reason, State};
use crate::store::Result;
use crate::store::dispatching::{Outcomes, Rescheduled, Settled};
use crate::store::jobs::Incarnation;
use crate::store::metric::{METRIC_SENT, METRIC_STATE};
use crate::store::planning::BATCH_SIZE;

impl PgStore {
    pub(super) async fn record_outcomes(&self, me: Incarnation, outcomes: &Outcomes) -> Result<()> {
        let mut client = self.client().await?;
        let settled = outcomes.settled.iter().filter_map(|one| one.provider.as_deref());
        let rescheduled = outcomes.rescheduled.iter().filter_map(|one| one.provider.as_deref());
        let providers = self.provider_numbers(&client, settled.chain(rescheduled)).await?;
        let transaction = client.transaction().await?;
        // One round trip. Batches are locked before their rows, as whoever rescues or settles them does.
        let ((), (), mut attempts) = try_join3(
            keyed(&transaction),
            close(&transaction, me, &outcomes.closed),
            write_settled(&transaction, &outcomes.settled, &providers),
        )
        .await?;
        attempts.extend(write_rescheduled(&transaction, &outcomes.rescheduled, &providers).await?);
        write_attempts(&transaction, &attempts).await?;
        references::keep(&transaction, &outcomes.settled).await?;
        suppress_recipients(&transaction, &dead_addresses(&outcomes.settled)).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Members past the watermark were never handed out, so a batch that has some is not done.
async fn close(transaction: &Transaction<'_>, me: Incarnation, batches: &[BatchNo]) -> Result<()> {
    if batches.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i64> = batches.iter().map(|batch| batch.0).collect();
    let sql = "DELETE FROM batches WHERE number = ANY($1) AND owner = $2 AND watermark >= size";
    cached::execute(transaction, sql, &[&numbers, &me.0]).await?;
    Ok(())
}

/// Deliveries whose addresses the provider does not know: a mistyped mailbox, a number out of use, a dead token.
fn dead_addresses(settled: &[Settled]) -> BTreeMap<DeliveryKey, &'static str> {
    let refused =
        |one: &&Settled| (one.state, one.reason) == (State::Rejected, Some(Reason::UnknownRecipient));
    settled.iter().filter(refused).map(|one| (one.delivery, "rejected")).collect()
}

type Providers = HashMap<String, i16>;

/// An attempt that `explain` shows.
struct Attempt<'a> {
    delivery: DeliveryKey,
    at: Timestamp,
    number: u16,
    provider: Option<i16>,
    reason: Option<Reason>,
    outcome: &'a str,
    detail: &'a str,
}

/// Moves what is settled on, by campaign. Returns the attempts that are worth keeping, of rows that did move.
async fn write_settled<'a>(
    transaction: &Transaction<'_>,
    settled: &'a [Settled],
    providers: &Providers,
) -> Result<Vec<Attempt<'a>>> {
    let mut by_campaign: BTreeMap<CampaignNo, Vec<&Settled>> = BTreeMap::new();
    for one in settled {
        by_campaign.entry(one.delivery.campaign).or_default().push(one);
    }
    let (mut attempts, mut deltas) = (Vec::new(), Deltas::default());
    for (campaign, mut rows) in by_campaign {
        rows.sort_unstable_by_key(|row| row.delivery);
        let mut moved = move_planned(transaction, campaign, &rows, providers).await?;
        if moved.len() < rows.len() {
            let missed: Vec<&Settled> =
                rows.iter().copied().filter(|row| !moved.contains(&row.delivery)).collect();
            moved.extend(merge_late(transaction, campaign, &missed, providers).await?);
        }
        for row in rows.iter().filter(|row| row.segments > 0 && moved.contains(&row.delivery)) {
            deltas.add_segments(campaign, row.segments);
        }
        let kept = rows
            .into_iter()
            .filter(|row| (row.detail.is_some() || row.attempts > 1) && moved.contains(&row.delivery));
        attempts.extend(kept.map(|row| Attempt {
            delivery: row.delivery,
            at: row.at,
            number: row.attempts,
            provider: provider(row.provider.as_deref(), providers),
            reason: row.reason,
            outcome: row.state.as_str(),
            detail: row.detail.as_deref().unwrap_or_default(),
        }));
    }
    deltas.append(transaction).await?;
    Ok(attempts)
}

fn provider(name: Option<&str>, providers: &Providers) -> Option<i16> {
    name.and_then(|name| providers.get(name).copied())
}

fn small(attempts: u16) -> i16 {
    i16::try_from(attempts).unwrap_or(i16::MAX)
}

/// The fast path: rows that are still planned in their batch. Counters move with exactly the rows that did.
async fn move_planned(
    transaction: &Transaction<'_>,
    campaign: CampaignNo,
    rows: &[&Settled],
    providers: &Providers,
) -> Result<HashSet<DeliveryKey>> {
    let statement = transaction.prepare_cached(&move_statement(campaign)).await?;
    let contacts: Vec<i64> = rows.iter().map(|row| row.delivery.contact.0).collect();
    let occurrences: Vec<i64> = rows.iter().map(|row| row.delivery.occurrence).collect();
    let batches: Vec<i64> = rows.iter().map(|row| row.batch.0).collect();
    let states: Vec<i16> = rows.iter().map(|row| row.state.code()).collect();
    let reasons: Vec<Option<i16>> = rows.iter().map(|row| row.reason.map(Reason::code)).collect();
    let attempts: Vec<i16> = rows.iter().map(|row| small(row.attempts)).collect();
    let accounts: Vec<Option<i16>> =
        rows.iter().map(|row| provider(row.provider.as_deref(), providers)).collect();
    let refs: Vec<Option<&str>> = rows.iter().map(|row| row.provider_ref.as_deref()).collect();
    let at: Vec<Timestamp> = rows.iter().map(|row| row.at).collect();
    let row = transaction
        .query_one(
            &statement,
            &[
                &campaign.0,
                &contacts,
                &occurrences,
                &batches,
                &states,
                &reasons,
                &attempts,
                &accounts,
                &refs,
                &at,
            ],
        )
        .await?;
    Ok(keys(campaign, row.get(0), row.get(1)))
}

fn keys(campaign: CampaignNo, contacts: Vec<i64>, occurrences: Vec<i64>) -> HashSet<DeliveryKey> {
    let key = |(contact, occurrence)| DeliveryKey { campaign, contact: ContactNo(contact), occurrence };
    contacts.into_iter().zip(occurrences).map(key).collect()
}

fn move_statement(campaign: CampaignNo) -> String {
    format!(
        "WITH moved AS (
             UPDATE {table} d SET state = n.state, reason = n.reason, attempts = n.attempts, provider = n.provider,
                    provider_ref = n.provider_ref, updated_at = n.at
             FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::smallint[], $7::smallint[],
                         $8::smallint[], $9::text[], $10::timestamptz[])
                 AS n (contact, occurrence, batch, state, reason, attempts, provider, provider_ref, at), {by_key}
             WHERE d.ctid = t.ctid
               AND d.state = {planned} AND d.batch = n.batch
             RETURNING d.contact, d.occurrence, d.state, coalesce(d.reason, 0::smallint) AS reason,
                       date_bin('1 hour', d.updated_at, 'epoch') AS hour),
         counted AS (SELECT state, reason, count(*) AS n FROM moved GROUP BY 1, 2),
         appended AS (
             INSERT INTO counter_deltas (campaign, metric, state, reason, hour, n)
             SELECT $1::bigint, {METRIC_STATE}, state, reason, 'epoch'::timestamptz, n FROM counted
             UNION ALL
             SELECT $1, {METRIC_STATE}, {planned}, 0, 'epoch', -sum(n) FROM counted HAVING sum(n) > 0
             UNION ALL
             SELECT $1, {METRIC_SENT}, 0, 0, hour, count(*) FROM moved WHERE state = {accepted} GROUP BY hour)
         SELECT coalesce(array_agg(contact), '{{}}'), coalesce(array_agg(occurrence), '{{}}') FROM moved",
        table = deliveries_table(campaign),
        by_key = by_key(campaign),
        planned = State::Planned.code(),
        accepted = State::Accepted.code(),
    )
}

/// The slow path: an outcome that comes after its row moved on, as after a rescue; merged by the state machine.
/// Where a receipt was faster and said more, the state stays and the attempt alone is written. Returns the rows that it
/// wrote.
async fn merge_late(
    transaction: &Transaction<'_>,
    campaign: CampaignNo,
    rows: &[&Settled],
    providers: &Providers,
) -> Result<Vec<DeliveryKey>> {
    let table = deliveries_table(campaign);
    let select = format!(
        "SELECT state, coalesce(reason, 0::smallint), provider IS NULL FROM {table}
         WHERE campaign = $1 AND contact = $2 AND occurrence = $3 AND batch = $4 FOR UPDATE"
    );
    let update = format!(
        "UPDATE {table} SET state = $4, reason = $5, attempts = $6, provider = $7, provider_ref = $8, updated_at = $9
         WHERE campaign = $1 AND contact = $2 AND occurrence = $3"
    );
    let attempt = format!(
        "UPDATE {table} SET attempts = $4, provider = $5, provider_ref = $6
         WHERE campaign = $1 AND contact = $2 AND occurrence = $3"
    );
    let mut moved = Vec::new();
    for row in rows {
        let key = (row.delivery.contact.0, row.delivery.occurrence);
        let Some(found) =
            transaction.query_opt(&select, &[&campaign.0, &key.0, &key.1, &row.batch.0]).await?
        else {
            continue;
        };
        let (state, reason): (i16, i16) = (found.get(0), found.get(1));
        let now = decode(state, State::from_code)?;
        if matches!(row.state, State::Accepted | State::Unknown) && now.is_sent() && found.get(2) {
            let account = provider(row.provider.as_deref(), providers);
            let bound: [&(dyn ToSql + Sync); 6] =
                [&campaign.0, &key.0, &key.1, &small(row.attempts), &account, &row.provider_ref];
            transaction.execute(&attempt, &bound).await?;
            moved.push(row.delivery);
            continue;
        }
        if !row.state.predecessors().contains(&now) {
            continue;
        }
        let next = row.reason.map(Reason::code);
        transaction
            .execute(
                &update,
                &[
                    &campaign.0,
                    &key.0,
                    &key.1,
                    &row.state.code(),
                    &next,
                    &small(row.attempts),
                    &provider(row.provider.as_deref(), providers),
                    &row.provider_ref,
                    &row.at,
                ],
            )
            .await?;
        append_move(transaction, campaign, (state, reason), (row.state.code(), next.unwrap_or(0)), 1).await?;
        moved.push(row.delivery);
    }
    Ok(moved)
}

/// Moves what waits again to batches of its own. Returns the attempts that failed, of rows that did move.
async fn write_rescheduled<'a>(
    transaction: &Transaction<'_>,
    rescheduled: &'a [Rescheduled],
    providers: &Providers,
) -> Result<Vec<Attempt<'a>>> {
    let mut groups: BTreeMap<_, Vec<&Rescheduled>> = BTreeMap::new();
    for one in rescheduled {
        // Retries due within the same second share a batch; a message with options of its own keeps a batch of its own.
        let own = one.options.as_ref().map(|_| (one.member.contact, one.member.occurrence));
        groups
            .entry((one.campaign, one.lane, one.attempts, one.due_at.as_second(), own, one.doubt.clone()))
            .or_default()
            .push(one);
    }
    let mut attempts = Vec::new();
    for rows in groups.values() {
        for chunk in rows.chunks(BATCH_SIZE as usize) {
            let moved = move_to_new_batch(transaction, chunk).await?;
            let tried = chunk.iter().filter_map(|row| row.attempt.as_ref().map(|failed| (row, failed)));
            attempts.extend(tried.filter(|(row, _)| moved.contains(&row.delivery())).map(|(row, failed)| {
                Attempt {
                    delivery: row.delivery(),
                    at: failed.at,
                    number: row.attempts,
                    provider: provider(row.provider.as_deref(), providers),
                    reason: Some(failed.reason),
                    outcome: "retry",
                    detail: &failed.detail,
                }
            }));
        }
    }
    Ok(attempts)
}

/// Members of one campaign, lane, attempt and due time that wait again move to a batch of their own.
async fn move_to_new_batch(
    transaction: &Transaction<'_>,
    rows: &[&Rescheduled],
) -> Result<HashSet<DeliveryKey>> {
    let Some(first) = rows.first() else { return Ok(HashSet::new()) };
    let contacts: Vec<i64> = rows.iter().map(|row| row.member.contact.0).collect();
    let occurrences: Vec<i64> = rows.iter().map(|row| row.member.occurrence).collect();
    let addresses: Vec<i64> = rows.iter().map(|row| row.member.address.0).collect();
    let old: Vec<i64> = rows.iter().map(|row| row.batch.0).collect();
    let options = first.options.as_deref().map(Json);
    let doubt = first.doubt.as_ref();
    let batch = transaction
        .query_opt(
            &format!(
                "WITH new AS (SELECT nextval('batch_numbers') AS number),
                 moved AS (
                     UPDATE {} d SET batch = new.number, attempts = $5, updated_at = now()
                     FROM new, unnest($2::bigint[], $3::bigint[], $4::bigint[], $6::bigint[])
                         AS n (contact, occurrence, address, batch), {}
                     WHERE d.ctid = t.ctid AND d.state = {} AND d.batch = n.batch
                     RETURNING n.contact, n.occurrence, n.address)
                 INSERT INTO batches (number, campaign, channel, lane, attempt, due_at, template, options, doubt, resend_until,
                                      resend_provider, size, contacts, occurrences, addresses)
                 SELECT (SELECT number FROM new), $1, $7, $8, $5, $9, $10, $11, $12, $13, $14, count(*),
                        array_agg(contact ORDER BY contact, occurrence), array_agg(occurrence ORDER BY contact, occurrence),
                        array_agg(address ORDER BY contact, occurrence)
                 FROM moved HAVING count(*) > 0 RETURNING contacts, occurrences",
                deliveries_table(first.campaign),
                by_key(first.campaign),
                State::Planned.code(),
            ),
            &[
                &first.campaign.0,
                &contacts,
                &occurrences,
                &addresses,
                &small(first.attempts),
                &old,
                &first.channel.code(),
                &first.lane.code(),
                &first.due_at,
                &first.template.as_slice(),
                &options,
                &doubt.map(|doubt| doubt.reason.code()),
                &doubt.map(|doubt| doubt.resend.until),
                &doubt.and_then(|doubt| doubt.resend.provider.as_deref()),
            ],
        )
        .await?;
    Ok(batch.map_or_else(HashSet::new, |row| keys(first.campaign, row.get(0), row.get(1))))
}

async fn write_attempts(transaction: &Transaction<'_>, attempts: &[Attempt<'_>]) -> Result<()> {
    if attempts.is_empty() {
        return Ok(());
    }
    let campaigns: Vec<i64> = attempts.iter().map(|one| one.delivery.campaign.0).collect();
    let contacts: Vec<i64> = attempts.iter().map(|one| one.delivery.contact.0).collect();
    let occurrences: Vec<i64> = attempts.iter().map(|one| one.delivery.occurrence).collect();
    let at: Vec<Timestamp> = attempts.iter().map(|one| one.at).collect();
    let numbers: Vec<i16> = attempts.iter().map(|one| small(one.number)).collect();
    let providers: Vec<Option<i16>> = attempts.iter().map(|one| one.provider).collect();
    let reasons: Vec<Option<i16>> = attempts.iter().map(|one| one.reason.map(Reason::code)).collect();
    let outcomes: Vec<&str> = attempts.iter().map(|one| one.outcome).collect();
    let details: Vec<&str> = attempts.iter().map(|one| one.detail).collect();
    let statement = transaction
        .prepare_cached(
            "INSERT INTO attempts (campaign, contact, occurrence, at, attempt, provider, reason, outcome, detail)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::smallint[],
                                  $6::smallint[], $7::smallint[], $8::text[], $9::text[])",
        )
        .await?;
    transaction
        .execute(
            &statement,
            &[&campaigns, &contacts, &occurrences, &at, &numbers, &providers, &reasons, &outcomes, &details],
        )
        .await?;
    Ok(())
}
