//! The group commit of the lanes: outcomes, retries, closed batches, then the next intents, in one transaction.

use std::collections::BTreeMap;
use std::collections::HashMap;

use deadpool_postgres::{GenericClient, Transaction};
use futures_util::future::try_join_all;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::contacts::object;
use super::judging::exclusion_case;
use super::{PgStore, decode, deliveries_table};
use crate::model::{AddressNo, CampaignNo, ContactNo, Purpose, Reason, State};
use crate::store::dispatching::{Intent, Member, Recipient, Rescheduled, Settled, Tick};
use crate::store::jobs::Incarnation;
use crate::store::{Error, Result};

/// What a counter counts; numbers are in the store and never change.
pub(super) const METRIC_STATE: i16 = 1;
pub(super) const METRIC_SENT: i16 = 2;
pub(super) const METRIC_OPENS: i16 = 3;
pub(super) const METRIC_UNIQUE_OPENS: i16 = 4;
pub(super) const METRIC_MACHINE_OPENS: i16 = 5;
pub(super) const METRIC_CLICKS: i16 = 6;
pub(super) const METRIC_UNIQUE_CLICKS: i16 = 7;
pub(super) const METRIC_MACHINE_CLICKS: i16 = 8;
pub(super) const METRIC_UNSUBSCRIBES: i16 = 9;
pub(super) const METRIC_COMPLAINTS: i16 = 10;
pub(super) const METRIC_LINK_CLICKS: i16 = 11;
pub(super) const METRIC_UNIQUE_LINK_CLICKS: i16 = 12;

/// Keyed look-ups only: a plan that was made while a partition was small must not scan it once it is large.
const BEGIN: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

impl PgStore {
    pub(super) async fn run_tick(&self, me: Incarnation, tick: &Tick) -> Result<Vec<Option<Vec<Recipient>>>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(BEGIN).await?;
        self.write_settled(&transaction, &tick.settled).await?;
        self.write_rescheduled(&transaction, &tick.rescheduled).await?;
        if !tick.closed.is_empty() {
            let closed: Vec<i64> = tick.closed.iter().map(|batch| batch.0).collect();
            let statement = transaction
                .prepare_cached("DELETE FROM batches WHERE number = ANY($1) AND owner = $2")
                .await?;
            transaction.execute(&statement, &[&closed, &me.0]).await?;
        }
        let granted = grant(&transaction, me, &tick.intents).await?;
        transaction.commit().await?;
        Ok(granted)
    }

    async fn write_settled(&self, transaction: &Transaction<'_>, settled: &[Settled]) -> Result<()> {
        let mut by_campaign: BTreeMap<CampaignNo, Vec<&Settled>> = BTreeMap::new();
        for one in settled {
            by_campaign.entry(one.delivery.campaign).or_default().push(one);
        }
        for (campaign, mut rows) in by_campaign {
            rows.sort_unstable_by_key(|row| row.delivery);
            let mut providers = Vec::with_capacity(rows.len());
            for row in &rows {
                providers.push(match &row.provider {
                    Some(name) => Some(self.provider_number(transaction, name).await?),
                    None => None,
                });
            }
            let moved = move_planned(transaction, campaign, &rows, &providers).await?;
            if moved < rows.len() {
                merge_late(transaction, campaign, &rows, &providers).await?;
            }
            let noted: Vec<(&Settled, Option<i16>)> = rows
                .iter()
                .copied()
                .zip(providers)
                .filter(|(row, _)| row.detail.is_some() || row.attempts > 1)
                .collect();
            write_attempts(transaction, &noted).await?;
        }
        Ok(())
    }

    async fn write_rescheduled(
        &self,
        transaction: &Transaction<'_>,
        rescheduled: &[Rescheduled],
    ) -> Result<()> {
        let mut groups: BTreeMap<_, Vec<&Rescheduled>> = BTreeMap::new();
        for one in rescheduled {
            // Retries due within the same second share a batch; a message with options of its own keeps a batch of its own.
            let own = one.options.as_ref().map(|_| (one.member.contact, one.member.occurrence));
            groups
                .entry((one.campaign, one.lane, one.attempts, one.due_at.as_second(), own))
                .or_default()
                .push(one);
        }
        for rows in groups.values() {
            for chunk in rows.chunks(crate::store::planning::BATCH_SIZE as usize) {
                move_to_new_batch(transaction, chunk).await?;
            }
        }
        let mut noted = Vec::new();
        for one in rescheduled {
            if let Some(attempt) = &one.attempt {
                let provider = match &one.provider {
                    Some(name) => Some(self.provider_number(transaction, name).await?),
                    None => None,
                };
                noted.push((one, attempt, provider));
            }
        }
        if noted.is_empty() {
            return Ok(());
        }
        let campaigns: Vec<i64> = noted.iter().map(|(one, ..)| one.campaign.0).collect();
        let contacts: Vec<i64> = noted.iter().map(|(one, ..)| one.member.contact.0).collect();
        let occurrences: Vec<i64> = noted.iter().map(|(one, ..)| one.member.occurrence).collect();
        let at: Vec<jiff::Timestamp> = noted.iter().map(|(_, attempt, _)| attempt.at).collect();
        let numbers: Vec<i16> = noted.iter().map(|(one, ..)| small(one.attempts)).collect();
        let providers: Vec<Option<i16>> = noted.iter().map(|(.., provider)| *provider).collect();
        let reasons: Vec<i16> = noted.iter().map(|(_, attempt, _)| attempt.reason.code()).collect();
        let details: Vec<&str> = noted.iter().map(|(_, attempt, _)| attempt.detail.as_str()).collect();
        transaction
            .execute(
                "INSERT INTO attempts (campaign, contact, occurrence, at, attempt, provider, reason, outcome, detail)
                 SELECT n.campaign, n.contact, n.occurrence, n.at, n.attempt, n.provider, n.reason, 'retry', n.detail
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::smallint[], $6::smallint[], $7::smallint[], $8::text[])
                     AS n (campaign, contact, occurrence, at, attempt, provider, reason, detail)",
                &[&campaigns, &contacts, &occurrences, &at, &numbers, &providers, &reasons, &details],
            )
            .await?;
        Ok(())
    }
}

fn small(attempts: u16) -> i16 {
    i16::try_from(attempts).unwrap_or(i16::MAX)
}

/// The fast path: rows that are still planned in their batch. Counters move with exactly the rows that did.
async fn move_planned(
    transaction: &Transaction<'_>,
    campaign: CampaignNo,
    rows: &[&Settled],
    providers: &[Option<i16>],
) -> Result<usize> {
    let statement = transaction
        .prepare_cached(&format!(
            "WITH moved AS (
                 UPDATE {table} d SET state = n.state, reason = n.reason, attempts = n.attempts, provider = n.provider,
                        provider_ref = n.provider_ref, updated_at = n.at
                 FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::smallint[], $7::smallint[],
                             $8::smallint[], $9::text[], $10::timestamptz[])
                     AS n (contact, occurrence, batch, state, reason, attempts, provider, provider_ref, at)
                 WHERE d.campaign = $1 AND d.contact = n.contact AND d.occurrence = n.occurrence
                   AND d.state = {planned} AND d.batch = n.batch
                 RETURNING d.state, coalesce(d.reason, 0::smallint) AS reason, date_trunc('hour', d.updated_at, 'UTC') AS hour),
             counted AS (SELECT state, reason, count(*) AS n FROM moved GROUP BY 1, 2),
             appended AS (
                 INSERT INTO counter_deltas (campaign, metric, state, reason, hour, n)
                 SELECT $1::bigint, {METRIC_STATE}, state, reason, 'epoch'::timestamptz, n FROM counted
                 UNION ALL
                 SELECT $1, {METRIC_STATE}, {planned}, 0, 'epoch', -sum(n) FROM counted HAVING sum(n) > 0
                 UNION ALL
                 SELECT $1, {METRIC_SENT}, 0, 0, hour, count(*) FROM moved WHERE state = {accepted} GROUP BY hour)
             SELECT coalesce(sum(n), 0)::bigint FROM counted",
            table = deliveries_table(campaign),
            planned = State::Planned.code(),
            accepted = State::Accepted.code(),
        ))
        .await?;
    let contacts: Vec<i64> = rows.iter().map(|row| row.delivery.contact.0).collect();
    let occurrences: Vec<i64> = rows.iter().map(|row| row.delivery.occurrence).collect();
    let batches: Vec<i64> = rows.iter().map(|row| row.batch.0).collect();
    let states: Vec<i16> = rows.iter().map(|row| row.state.code()).collect();
    let reasons: Vec<Option<i16>> = rows.iter().map(|row| row.reason.map(Reason::code)).collect();
    let attempts: Vec<i16> = rows.iter().map(|row| small(row.attempts)).collect();
    let refs: Vec<Option<&str>> = rows.iter().map(|row| row.provider_ref.as_deref()).collect();
    let at: Vec<jiff::Timestamp> = rows.iter().map(|row| row.at).collect();
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
                &providers,
                &refs,
                &at,
            ],
        )
        .await?;
    usize::try_from(row.get::<_, i64>(0)).map_err(|error| Error::Refused(error.into()))
}

/// The slow path: an outcome that comes after its row moved on, as after a rescue; merged by the state machine.
async fn merge_late(
    transaction: &Transaction<'_>,
    campaign: CampaignNo,
    rows: &[&Settled],
    providers: &[Option<i16>],
) -> Result<()> {
    let table = deliveries_table(campaign);
    let select = format!(
        "SELECT state, coalesce(reason, 0::smallint) FROM {table}
         WHERE campaign = $1 AND contact = $2 AND occurrence = $3 AND batch = $4 FOR UPDATE"
    );
    let update = format!(
        "UPDATE {table} SET state = $4, reason = $5, attempts = $6, provider = $7, provider_ref = $8, updated_at = $9
         WHERE campaign = $1 AND contact = $2 AND occurrence = $3"
    );
    for (row, provider) in rows.iter().zip(providers) {
        let key = (row.delivery.contact.0, row.delivery.occurrence);
        let Some(found) =
            transaction.query_opt(&select, &[&campaign.0, &key.0, &key.1, &row.batch.0]).await?
        else {
            continue;
        };
        let (state, reason): (i16, i16) = (found.get(0), found.get(1));
        let current = decode(state, State::from_code)?;
        if current == State::Planned || !row.state.predecessors().contains(&current) {
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
                    provider,
                    &row.provider_ref,
                    &row.at,
                ],
            )
            .await?;
        append_move(transaction, campaign, (state, reason), (row.state.code(), next.unwrap_or(0)), 1).await?;
    }
    Ok(())
}

/// Appends what one change of state means for the counters.
pub(super) async fn append_move(
    client: &impl GenericClient,
    campaign: CampaignNo,
    from: (i16, i16),
    to: (i16, i16),
    n: i64,
) -> Result<()> {
    let sent = |code| State::from_code(code).is_some_and(State::is_sent);
    let newly_sent = if sent(to.0) && !sent(from.0) { n } else { 0 };
    client
        .execute(
            &format!(
                "INSERT INTO counter_deltas (campaign, metric, state, reason, hour, n)
                 SELECT $1, v.metric, v.state, v.reason, v.hour, v.n FROM (VALUES
                     ({METRIC_STATE}::smallint, $2::smallint, $3::smallint, 'epoch'::timestamptz, -$6::bigint),
                     ({METRIC_STATE}, $4::smallint, $5::smallint, 'epoch', $6),
                     ({METRIC_SENT}, 0, 0, date_trunc('hour', now(), 'UTC'), $7::bigint)) AS v (metric, state, reason, hour, n)
                 WHERE v.n <> 0"
            ),
            &[&campaign.0, &from.0, &from.1, &to.0, &to.1, &n, &newly_sent],
        )
        .await?;
    Ok(())
}

async fn write_attempts(transaction: &Transaction<'_>, rows: &[(&Settled, Option<i16>)]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let campaigns: Vec<i64> = rows.iter().map(|(row, _)| row.delivery.campaign.0).collect();
    let contacts: Vec<i64> = rows.iter().map(|(row, _)| row.delivery.contact.0).collect();
    let occurrences: Vec<i64> = rows.iter().map(|(row, _)| row.delivery.occurrence).collect();
    let at: Vec<jiff::Timestamp> = rows.iter().map(|(row, _)| row.at).collect();
    let numbers: Vec<i16> = rows.iter().map(|(row, _)| small(row.attempts)).collect();
    let providers: Vec<Option<i16>> = rows.iter().map(|(_, provider)| *provider).collect();
    let reasons: Vec<Option<i16>> = rows.iter().map(|(row, _)| row.reason.map(Reason::code)).collect();
    let outcomes: Vec<&str> = rows.iter().map(|(row, _)| row.state.as_str()).collect();
    let details: Vec<&str> = rows.iter().map(|(row, _)| row.detail.as_deref().unwrap_or_default()).collect();
    transaction
        .execute(
            "INSERT INTO attempts (campaign, contact, occurrence, at, attempt, provider, reason, outcome, detail)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::smallint[],
                                  $6::smallint[], $7::smallint[], $8::text[], $9::text[])",
            &[&campaigns, &contacts, &occurrences, &at, &numbers, &providers, &reasons, &outcomes, &details],
        )
        .await?;
    Ok(())
}

/// Members of one campaign, lane, attempt and due time that wait again move to a batch of their own.
async fn move_to_new_batch(transaction: &Transaction<'_>, rows: &[&Rescheduled]) -> Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let contacts: Vec<i64> = rows.iter().map(|row| row.member.contact.0).collect();
    let occurrences: Vec<i64> = rows.iter().map(|row| row.member.occurrence).collect();
    let addresses: Vec<i64> = rows.iter().map(|row| row.member.address.0).collect();
    let old: Vec<i64> = rows.iter().map(|row| row.batch.0).collect();
    let options = first.options.as_deref().map(Json);
    transaction
        .execute(
            &format!(
                "WITH new AS (SELECT nextval('batch_numbers') AS number),
                 moved AS (
                     UPDATE {} d SET batch = new.number, attempts = $5, updated_at = now()
                     FROM new, unnest($2::bigint[], $3::bigint[], $4::bigint[], $6::bigint[])
                         AS n (contact, occurrence, address, batch)
                     WHERE d.campaign = $1 AND d.contact = n.contact AND d.occurrence = n.occurrence
                       AND d.state = {} AND d.batch = n.batch
                     RETURNING n.contact, n.occurrence, n.address)
                 INSERT INTO batches (number, campaign, channel, lane, attempt, due_at, template, options, size, contacts, occurrences, addresses)
                 SELECT (SELECT number FROM new), $1, $7, $8, $5, $9, $10, $11, count(*),
                        array_agg(contact ORDER BY contact, occurrence), array_agg(occurrence ORDER BY contact, occurrence),
                        array_agg(address ORDER BY contact, occurrence)
                 FROM moved HAVING count(*) > 0",
                deliveries_table(first.campaign),
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
            ],
        )
        .await?;
    Ok(())
}

/// Moves watermarks where the lease and the campaign still allow it, and reads the members of those granted.
async fn grant(
    transaction: &Transaction<'_>,
    me: Incarnation,
    intents: &[Intent],
) -> Result<Vec<Option<Vec<Recipient>>>> {
    if intents.is_empty() {
        return Ok(Vec::new());
    }
    let batches: Vec<i64> = intents.iter().map(|intent| intent.batch.0).collect();
    let epochs: Vec<i32> = intents.iter().map(|intent| intent.epoch).collect();
    let to: Vec<i32> = intents.iter().map(|intent| i32::try_from(intent.to).unwrap_or(i32::MAX)).collect();
    let statement = transaction
        .prepare_cached(
            "UPDATE batches b SET watermark = greatest(b.watermark, n.upto)
             FROM unnest($2::bigint[], $3::integer[], $4::integer[]) AS n (number, epoch, upto)
             WHERE b.number = n.number AND b.owner = $1 AND b.epoch = n.epoch AND b.size >= n.upto
               AND EXISTS (SELECT FROM campaigns k WHERE k.number = b.campaign AND NOT k.paused
                           AND k.cancelled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()))
             RETURNING b.number",
        )
        .await?;
    let rows = transaction.query(&statement, &[&me.0, &batches, &epochs, &to]).await?;
    let granted: std::collections::HashSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    let reads = intents.iter().map(|intent| async {
        if granted.contains(&intent.batch.0) {
            recipients(transaction, intent).await.map(Some)
        } else {
            Ok(None)
        }
    });
    try_join_all(reads).await
}

/// Members as they are now: contact, address, consent and suppression are judged again.
async fn recipients(transaction: &Transaction<'_>, intent: &Intent) -> Result<Vec<Recipient>> {
    let data = if intent.inline_data {
        (
            "r.data",
            "LEFT JOIN recipient_data r ON r.campaign = $5 AND r.contact = n.contact AND r.occurrence = n.occurrence",
        )
    } else {
        ("NULL::jsonb", "")
    };
    let statement = transaction
        .prepare_cached(&format!(
            "SELECT n.contact, n.occurrence, n.address, c.external_id, c.locale, c.timezone, c.attributes, a.address, {data},
                    (CASE WHEN c.erased_at IS NOT NULL THEN {erased} {case} END)::smallint
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS n (contact, occurrence, address, position)
             JOIN contacts c ON c.number = n.contact
             LEFT JOIN addresses a ON a.number = n.address AND a.contact = n.contact
             LEFT JOIN suppressions s ON s.channel = a.channel AND s.hash = a.hash
             LEFT JOIN unsubscribes u ON u.contact = n.contact AND u.channel = $4
             {join} WHERE $5::bigint IS NOT NULL ORDER BY n.position",
            data = data.0,
            join = data.1,
            erased = Reason::Erased.code(),
            case = exclusion_case(if intent.purpose == Purpose::Marketing { "true" } else { "false" }, "false"),
        ))
        .await?;
    let contacts: Vec<i64> = intent.members.iter().map(|member| member.contact.0).collect();
    let occurrences: Vec<i64> = intent.members.iter().map(|member| member.occurrence).collect();
    let addresses: Vec<i64> = intent.members.iter().map(|member| member.address.0).collect();
    let rows = transaction
        .query(&statement, &[&contacts, &occurrences, &addresses, &intent.channel.code(), &intent.campaign.0])
        .await?;
    let found: Vec<Recipient> = rows.iter().map(recipient).collect::<Result<_>>()?;
    if found.len() == intent.members.len() { Ok(found) } else { Err(missing(&found, intent)) }
}

fn missing(found: &[Recipient], intent: &Intent) -> Error {
    let found: HashMap<ContactNo, ()> =
        found.iter().map(|recipient| (recipient.member.contact, ())).collect();
    let gone = intent.members.iter().filter(|member| !found.contains_key(&member.contact)).count();
    Error::Refused(format!("batch {} names {gone} contacts that have no row", intent.batch).into())
}

fn recipient(row: &Row) -> Result<Recipient> {
    let own_data: Option<Json<_>> = row.get(8);
    Ok(Recipient {
        member: Member {
            contact: ContactNo(row.get(0)),
            occurrence: row.get(1),
            address: AddressNo(row.get(2)),
        },
        external_id: row.get::<_, Option<String>>(3).unwrap_or_default(),
        locale: row.get(4),
        timezone: row.get(5),
        attributes: object(row.get(6)),
        address: row.get::<_, Option<String>>(7).unwrap_or_default(),
        own_data: own_data.map(|Json(data)| object(Json(data))),
        excluded: row.get::<_, Option<i16>>(9).map(|code| decode(code, Reason::from_code)).transpose()?,
    })
}
