//! The group commit of intents: watermarks move where lease and campaign still allow it, and recipients are judged once
//! more, in one transaction.

use std::collections::HashSet;

use deadpool_postgres::{GenericClient, Transaction};
use futures_util::future::{try_join_all, try_join3};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::contacts::object;
use super::judging::exclusion_case;
use super::{PgStore, decode, deliveries_table, keyed};
use crate::model::{AddressNo, BatchNo, ContactNo, Purpose, Reason, State};
use crate::store::dispatching::{Intent, Member, Recipient, Resend};
use crate::store::jobs::Incarnation;
use crate::store::{Error, Result};

impl PgStore {
    pub(super) async fn grant(
        &self,
        me: Incarnation,
        intents: &[Intent],
    ) -> Result<Vec<Option<Vec<Recipient>>>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // One round trip. Members are read before it is known whether they are granted, which they nearly always are.
        let reads = intents.iter().map(|intent| recipients(&transaction, intent));
        let ((), moved, members) =
            try_join3(keyed(&transaction), move_watermarks(&transaction, me, intents), try_join_all(reads))
                .await?;
        let is_granted = |intent: &Intent| moved.contains(&(intent.batch, intent.epoch));
        if !intents.iter().all(is_granted) {
            take_back(&transaction, me, intents.iter().filter(|intent| !is_granted(intent))).await?;
        }
        let granted = intents
            .iter()
            .zip(members)
            .map(|(intent, members)| is_granted(intent).then_some(members))
            .collect();
        transaction.commit().await?;
        Ok(granted)
    }
}

/// Moves watermarks where the lease and the campaign still allow it. Returns the holds of which they did, by batch and
/// epoch: a lease that was lost may ask beside a later one of the same batch.
async fn move_watermarks(
    transaction: &Transaction<'_>,
    me: Incarnation,
    intents: &[Intent],
) -> Result<HashSet<(BatchNo, i32)>> {
    let batches: Vec<i64> = intents.iter().map(|intent| intent.batch.0).collect();
    let epochs: Vec<i32> = intents.iter().map(|intent| intent.epoch).collect();
    let to: Vec<i32> = intents.iter().map(|intent| i32::try_from(intent.to).unwrap_or(i32::MAX)).collect();
    let resends: Vec<Option<&Resend>> = intents.iter().map(|intent| intent.resend.as_ref()).collect();
    let until: Vec<Option<Timestamp>> = resends.iter().map(|resend| resend.map(|one| one.until)).collect();
    let by: Vec<Option<&str>> =
        resends.iter().map(|resend| resend.and_then(|one| one.provider.as_deref())).collect();
    let statement = transaction
        .prepare_cached(
            "UPDATE batches b SET watermark = greatest(b.watermark, n.upto), resend_until = n.until, resend_provider = n.by
             FROM (SELECT number, epoch, max(upto) AS upto, min(until) AS until, min(by) AS by
                   FROM unnest($2::bigint[], $3::integer[], $4::integer[], $5::timestamptz[], $6::text[])
                       AS n (number, epoch, upto, until, by) GROUP BY 1, 2) n
             WHERE b.number = ANY($2) AND b.number = n.number AND b.owner = $1 AND b.epoch = n.epoch AND b.size >= n.upto
               AND EXISTS (SELECT FROM campaigns k WHERE k.number = b.campaign AND NOT k.paused
                           AND k.cancelled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()))
             RETURNING b.number, b.epoch",
        )
        .await?;
    let rows = transaction.query(&statement, &[&me.0, &batches, &epochs, &to, &until, &by]).await?;
    Ok(rows.iter().map(|row| (BatchNo(row.get(0)), row.get(1))).collect())
}

/// A refused intent may be the repeat of one that was granted by an answer which got lost: whoever asks never learnt of
/// it, so its members have certainly not been sent.
async fn take_back(
    transaction: &Transaction<'_>,
    me: Incarnation,
    refused: impl Iterator<Item = &Intent>,
) -> Result<()> {
    let (mut batches, mut epochs, mut from, mut to) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for intent in refused {
        let members = u32::try_from(intent.members.len()).unwrap_or(u32::MAX);
        batches.push(intent.batch.0);
        epochs.push(intent.epoch);
        from.push(i32::try_from(intent.to.saturating_sub(members)).unwrap_or(i32::MAX));
        to.push(i32::try_from(intent.to).unwrap_or(i32::MAX));
    }
    let statement = transaction
        .prepare_cached(
            "UPDATE batches b SET watermark = n.since
             FROM unnest($2::bigint[], $3::integer[], $4::integer[], $5::integer[]) AS n (number, epoch, since, upto)
             WHERE b.number = ANY($2) AND b.number = n.number AND b.owner = $1 AND b.epoch = n.epoch AND b.watermark = n.upto",
        )
        .await?;
    transaction.execute(&statement, &[&me.0, &batches, &epochs, &from, &to]).await?;
    Ok(())
}

/// Members as they are now: contact, address, consent and suppression are judged again. Each look-up is by its key,
/// whatever the planner's statistics say of tables that grew since.
async fn recipients(transaction: &Transaction<'_>, intent: &Intent) -> Result<Vec<Recipient>> {
    let data = if intent.inline_data {
        (
            "r.data",
            "LEFT JOIN LATERAL (SELECT r.data FROM recipient_data r
                 WHERE r.campaign = $5 AND r.contact = n.contact AND r.occurrence = n.occurrence LIMIT 1) r ON true",
        )
    } else {
        ("NULL::jsonb", "")
    };
    // What is sent again may have been told of meanwhile; the batch is bound either way.
    let waiting = if intent.again {
        format!(
            "EXISTS (SELECT FROM {} d WHERE d.campaign = $5 AND d.contact = n.contact AND d.occurrence = n.occurrence
                     AND d.state = {} AND d.batch = $6)",
            deliveries_table(intent.campaign),
            State::Planned.code()
        )
    } else {
        "$6::bigint IS NOT NULL".to_owned()
    };
    let statement = transaction
        .prepare_cached(&format!(
            "SELECT n.contact, n.occurrence, n.address, c.external_id, c.locale, c.timezone, c.attributes, a.address, {data},
                    (CASE WHEN c.erased_at IS NOT NULL THEN {erased} {case} END)::smallint, coalesce(a.app, '')
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS n (contact, occurrence, address, position)
             JOIN LATERAL (SELECT * FROM contacts c WHERE c.number = n.contact LIMIT 1) c ON true
             LEFT JOIN LATERAL (SELECT * FROM addresses a WHERE a.number = n.address AND a.contact = n.contact LIMIT 1) a ON true
             LEFT JOIN LATERAL (SELECT s.hash FROM suppressions s
                                WHERE s.channel = a.channel AND s.hash = a.hash LIMIT 1) s ON true
             LEFT JOIN LATERAL (SELECT u.at FROM unsubscribes u
                                WHERE u.contact = n.contact AND u.channel = $4 LIMIT 1) u ON true
             {join} WHERE $5::bigint IS NOT NULL AND {waiting} ORDER BY n.position",
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
        .query(
            &statement,
            &[
                &contacts,
                &occurrences,
                &addresses,
                &intent.channel.code(),
                &intent.campaign.0,
                &intent.batch.0,
            ],
        )
        .await?;
    let found: Vec<Recipient> = rows.iter().map(recipient).collect::<Result<_>>()?;
    let complete = intent.again || found.len() == intent.members.len();
    if complete { Ok(found) } else { Err(missing(&found, intent)) }
}

fn missing(found: &[Recipient], intent: &Intent) -> Error {
    let gone = intent.members.len() - found.len();
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
        app: row.get(10),
        own_data: own_data.map(|Json(data)| object(Json(data))),
        excluded: row.get::<_, Option<i16>>(9).map(|code| decode(code, Reason::from_code)).transpose()?,
    })
}
