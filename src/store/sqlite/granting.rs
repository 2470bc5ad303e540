//! The group commit of intents: watermarks move where lease and campaign still allow it, and recipients are judged once
//! more, in one transaction.

use rusqlite::{OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::connection::Connection;
use super::values::At;
use super::{SqliteStore, decode};
use crate::model::{Purpose, Reason, State};
use crate::store::dispatching::{Intent, Member, Recipient};
use crate::store::jobs::Incarnation;
use crate::store::{Error, Result};

impl SqliteStore {
    pub(super) async fn grant(
        &self,
        me: Incarnation,
        intents: &[Intent],
    ) -> Result<Vec<Option<Vec<Recipient>>>> {
        let intents = intents.to_vec();
        let granted = self.write(move |connection| grant(connection, me, &intents)).await?;
        granted.into_iter().map(|found| found.map(read).transpose()).collect()
    }
}

/// A member as its rows hold it, its JSON not read yet: that is not the writer's work.
struct Found {
    member: Member,
    external_id: Option<String>,
    locale: Option<String>,
    timezone: Option<String>,
    attributes: String,
    own_data: Option<String>,
    address: Option<String>,
    app: String,
    excluded: Option<i16>,
}

/// Moves watermarks where the lease and the campaign still allow it, and reads the members of those granted.
fn grant(connection: &Connection, me: Incarnation, intents: &[Intent]) -> Result<Vec<Option<Vec<Found>>>> {
    let mut statement = connection.prepare_cached(
        "UPDATE batches SET watermark = max(watermark, ?1), resend_until = ?6, resend_provider = ?7
         WHERE number = ?2 AND owner = ?3 AND epoch = ?4 AND size >= ?1
           AND EXISTS (SELECT 1 FROM campaigns k WHERE k.number = batches.campaign AND NOT k.paused
                       AND k.cancelled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > ?5))",
    )?;
    let mut granted = Vec::with_capacity(intents.len());
    for intent in intents {
        let resend = intent.resend.as_ref();
        let moved = statement.execute(params![
            intent.to,
            intent.batch.0,
            me.0,
            intent.epoch,
            connection.now_us(),
            resend.map(|resend| At(resend.until)),
            resend.and_then(|resend| resend.provider.as_deref()),
        ])?;
        granted.push(if moved > 0 {
            Some(members(connection, intent)?)
        } else {
            take_back(connection, me, intent)?;
            None
        });
    }
    Ok(granted)
}

/// A refused intent may be the repeat of one that was granted by an answer which got lost: whoever asks never learnt of
/// it, so its members have certainly not been sent.
fn take_back(connection: &Connection, me: Incarnation, intent: &Intent) -> Result<()> {
    let sql = "UPDATE batches SET watermark = ?1 WHERE number = ?2 AND owner = ?3 AND epoch = ?4 AND watermark = ?5";
    let from = intent.to.saturating_sub(u32::try_from(intent.members.len()).unwrap_or(u32::MAX));
    let bound = params![from, intent.batch.0, me.0, intent.epoch, intent.to];
    connection.prepare_cached(sql)?.execute(bound)?;
    Ok(())
}

/// Members as they are now: contact, address, consent and suppression are judged again, in the contract's order. One
/// statement a member, all of it look-ups by key.
fn members(connection: &Connection, intent: &Intent) -> Result<Vec<Found>> {
    let sql = member_sql(intent.inline_data);
    let mut statement = connection.prepare_cached(&sql)?;
    let marketing = intent.purpose == Purpose::Marketing;
    let mut read = |member: &Member| {
        let key = params![
            member.contact.0,
            member.address.0,
            member.occurrence,
            intent.channel.code(),
            intent.campaign.0,
            marketing,
        ];
        let missing =
            || Error::Refused(format!("batch {} names a contact that has no row", intent.batch).into());
        statement.query_row(key, |row| found(*member, row)).optional()?.ok_or_else(missing)
    };
    if !intent.again {
        return intent.members.iter().map(&mut read).collect();
    }
    // What is sent again may have been told of meanwhile.
    let mut waiting = connection.prepare_cached(
        "SELECT 1 FROM deliveries WHERE campaign = ?1 AND contact = ?2 AND occurrence = ?3 AND state = ?4 AND batch = ?5",
    )?;
    let mut found = Vec::with_capacity(intent.members.len());
    for member in &intent.members {
        let row = params![
            intent.campaign.0,
            member.contact.0,
            member.occurrence,
            State::Planned.code(),
            intent.batch.0
        ];
        if waiting.exists(row)? {
            found.push(read(member)?);
        }
    }
    Ok(found)
}

/// Binds contact, address, occurrence, channel, campaign and whether it is marketing.
pub(super) fn member_sql(inline_data: bool) -> String {
    let (column, join) = match inline_data {
        true => (
            "r.data",
            "LEFT JOIN recipient_data r ON r.campaign = ?5 AND r.contact = c.number AND r.occurrence = ?3",
        ),
        false => ("NULL", ""),
    };
    format!(
        "SELECT c.external_id, c.locale, c.timezone, c.attributes, {column}, a.address,
                CASE WHEN c.erased_at IS NOT NULL THEN {erased}
                     WHEN a.number IS NULL THEN {no_address}
                     WHEN s.hash IS NOT NULL THEN {suppressed}
                     WHEN ?6 AND u.contact IS NOT NULL THEN {unsubscribed}
                     WHEN ?6 AND a.consent_at IS NULL THEN {no_consent} END,
                coalesce(a.app, '')
         FROM contacts c
         LEFT JOIN addresses a ON a.number = ?2 AND a.contact = c.number
         LEFT JOIN suppressions s ON s.channel = a.channel AND s.hash = a.hash
         LEFT JOIN unsubscribes u ON u.contact = c.number AND u.channel = ?4
         {join} WHERE c.number = ?1",
        erased = Reason::Erased.code(),
        no_address = Reason::NoAddress.code(),
        suppressed = Reason::Suppressed.code(),
        unsubscribed = Reason::Unsubscribed.code(),
        no_consent = Reason::NoConsent.code(),
    )
}

fn found(member: Member, row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        member,
        external_id: row.get(0)?,
        locale: row.get(1)?,
        timezone: row.get(2)?,
        attributes: row.get(3)?,
        own_data: row.get(4)?,
        address: row.get(5)?,
        excluded: row.get(6)?,
        app: row.get(7)?,
    })
}

/// Reads what the writer left as text.
fn read(found: Vec<Found>) -> Result<Vec<Recipient>> {
    found
        .into_iter()
        .map(|found| {
            Ok(Recipient {
                member: found.member,
                external_id: found.external_id.unwrap_or_default(),
                locale: found.locale,
                timezone: found.timezone,
                attributes: object(&found.attributes)?,
                own_data: found.own_data.as_deref().map(object).transpose()?,
                address: found.address.unwrap_or_default(),
                app: found.app,
                excluded: found.excluded.map(|code| decode(code, Reason::from_code)).transpose()?,
            })
        })
        .collect()
}

fn object(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text).map_err(|error| Error::Refused(error.into()))
}
