//! Planning on SQLite: pages of contacts or list entries become deliveries and batches.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::params;

use super::connection::Connection;
use super::filter::{Person, Segment};
use super::jobs::Planned;
use super::judging::{Counts, Plan, Target};
use super::recipients::{Listed, number_repeats, resolve};
use super::values::{At, Json};
use super::{SqliteStore, counters, decode};
use crate::model::job::Audience;
use crate::model::{CampaignNo, Channel, Lane, Purpose, Reason, State};
use crate::store::planning::{Finished, Page, Planning};
use crate::store::{Admin, Result, Secrets};

/// Contacts of one page, at most: a page holds the only writer, and every outcome waits for it. Measured: 3 us each.
const LONGEST_PAGE: u32 = 10_000;
/// List entries of one page, at most: each may have to be made a contact first. Measured: 15 us each.
const LONGEST_LIST_PAGE: u32 = 2_000;

#[async_trait]
impl Planning for SqliteStore {
    async fn campaigns_to_plan(&self) -> Result<Vec<CampaignNo>> {
        self.write(|connection| {
            connection
                .prepare_cached(
                    "UPDATE campaigns SET started_at = ?1,
                         plan_end = coalesce(CASE WHEN coalesce(audience -> '$.audience.contacts', audience -> '$.audience.recipients') IS NOT NULL
                             THEN (SELECT max(position) FROM stage s WHERE s.campaign = campaigns.number)
                             ELSE (SELECT max(number) FROM contacts) END, 0)
                     WHERE finished_at IS NULL AND started_at IS NULL
                       AND (coalesce(send_at, accepted_at) <= ?1 OR cancelled_at IS NOT NULL)",
                )?
                .execute([connection.now_us()])?;
            let sql = "SELECT number FROM campaigns
                 WHERE finished_at IS NULL AND started_at IS NOT NULL AND planned_at IS NULL ORDER BY lane, number";
            let mut list = connection.prepare_cached(sql)?;
            let numbers = list.query_map([], |row| Ok(CampaignNo(row.get(0)?)))?;
            Ok(numbers.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn plan_page(&self, campaign: CampaignNo, span: u32) -> Result<Option<Page>> {
        let secrets = self.secrets().await?;
        self.write(move |connection| plan_page(connection, &secrets, campaign, span)).await
    }

    async fn settle_stopped(&self) -> Result<u64> {
        self.settle_all_stopped().await
    }

    async fn finish_campaigns(&self, publish: bool) -> Result<Vec<Finished>> {
        self.finish_all_done(publish).await
    }

    async fn fold_counters(&self) -> Result<u64> {
        self.write(counters::fold).await
    }
}

/// A campaign in the midst of its planning.
struct Course {
    plan: Plan,
    audience: Audience,
    id: String,
    cursor: i64,
    end: i64,
    started_at: Timestamp,
}

fn plan_page(
    connection: &Connection,
    secrets: &Secrets,
    campaign: CampaignNo,
    span: u32,
) -> Result<Option<Page>> {
    let Some(course) = course(connection, campaign)? else { return Ok(None) };
    let Course { plan, audience, id, cursor, end, started_at } = course;
    let longest = match &audience {
        Audience::All | Audience::Segment(_) => LONGEST_PAGE,
        Audience::Contacts(_) | Audience::Recipients { .. } => LONGEST_LIST_PAGE,
    };
    let to = cursor.saturating_add(i64::from(span.min(longest))).min(end);
    let range = (cursor, to);
    let counts = match &audience {
        Audience::All => plan.write(connection, everyone(connection, range)?.into_iter())?,
        Audience::Segment(filter) => {
            let segment = Segment { connection, filter, instant: started_at };
            plan.write(connection, selected(&segment, range)?.into_iter())?
        }
        Audience::Contacts(_) => plan_list(connection, secrets, &plan, None, range)?,
        Audience::Recipients { consent, .. } => {
            let source = consent.then(|| format!("campaign {id}"));
            plan_list(connection, secrets, &plan, source.as_deref(), range)?
        }
    };
    let done = to >= end;
    let advance = "UPDATE campaigns SET plan_cursor = ?2 WHERE number = ?1";
    connection.prepare_cached(advance)?.execute([campaign.0, to])?;
    if done {
        let close = "UPDATE campaigns SET planned_at = ?2, audience = NULL WHERE number = ?1";
        connection.prepare_cached(close)?.execute([campaign.0, connection.now_us()])?;
    }
    Ok(Some(Page { channel: plan.channel, counts, done }))
}

fn course(connection: &Connection, campaign: CampaignNo) -> Result<Option<Course>> {
    let sql = "SELECT channel, purpose, lane, template_hash, audience, plan_cursor, plan_end, started_at,
            cancelled_at IS NOT NULL, coalesce(expires_at <= ?2, 0), id
         FROM campaigns WHERE number = ?1 AND planned_at IS NULL AND started_at IS NOT NULL";
    let mut find = connection.prepare_cached(sql)?;
    let mut rows = find.query(params![campaign.0, connection.now_us()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let Json(planned): Json<Planned> = row.get(4)?;
    let (state, reason) = match (row.get(8)?, row.get(9)?) {
        (true, _) => (State::Cancelled, Some(Reason::CampaignCancelled)),
        (false, true) => (State::Expired, Some(Reason::CampaignExpired)),
        (false, false) => (State::Planned, None),
    };
    Ok(Some(Course {
        plan: Plan {
            campaign,
            channel: decode(row.get(0)?, Channel::from_code)?,
            purpose: decode(row.get(1)?, Purpose::from_code)?,
            lane: decode(row.get(2)?, Lane::from_code)?,
            template: row.get(3)?,
            purpose_forbidden: planned.forbidden,
            apps: planned.apps,
            due_at: None,
            owner: None,
            options: None,
            state,
            reason,
        },
        audience: planned.audience,
        id: row.get(10)?,
        cursor: row.get(5)?,
        end: row.get(6)?,
        started_at: row.get::<_, At>(7)?.0,
    }))
}

/// A contact as an audience without a list names it.
fn target(contact: i64) -> Target {
    Target { contact, occurrence: 0, address: None, pre: None }
}

fn everyone(connection: &Connection, (from, to): (i64, i64)) -> Result<Vec<Target>> {
    let sql =
        "SELECT number FROM contacts WHERE number > ?1 AND number <= ?2 AND erased_at IS NULL AND NOT stub";
    let mut scan = connection.prepare_cached(sql)?;
    let targets = scan.query_map([from, to], |row| Ok(target(row.get(0)?)))?;
    Ok(targets.collect::<rusqlite::Result<_>>()?)
}

fn selected(segment: &Segment<'_>, (from, to): (i64, i64)) -> Result<Vec<Target>> {
    let sql = "SELECT number, attributes, tags FROM contacts
         WHERE number > ?1 AND number <= ?2 AND erased_at IS NULL AND NOT stub";
    let mut scan = segment.connection.prepare_cached(sql)?;
    let mut rows = scan.query([from, to])?;
    let mut targets = Vec::new();
    while let Some(row) = rows.next()? {
        let (Json(attributes), Json(tags)) = (row.get(1)?, row.get(2)?);
        let person = Person { number: row.get(0)?, attributes, tags };
        if segment.has(&person)? {
            targets.push(target(person.number));
        }
    }
    Ok(targets)
}

fn plan_list(
    connection: &Connection,
    secrets: &Secrets,
    plan: &Plan,
    consent_source: Option<&str>,
    (from, to): (i64, i64),
) -> Result<Counts> {
    let mut list = connection.prepare_cached(
        "SELECT external_id, address, data FROM stage WHERE campaign = ?1 AND position > ?2 AND position <= ?3
         ORDER BY position",
    )?;
    let mut entries = Vec::new();
    let mut rows = list.query([plan.campaign.0, from, to])?;
    while let Some(row) = rows.next()? {
        let data = row.get::<_, Option<Json<_>>>(2)?.map(|Json(data)| data);
        let listed = Listed { external_id: row.get(0)?, address: row.get(1)?, data };
        entries.push(resolve(connection, secrets, plan.channel, listed, consent_source)?);
    }
    drop(rows);
    connection
        .prepare_cached("DELETE FROM stage WHERE campaign = ?1 AND position > ?2 AND position <= ?3")?
        .execute([plan.campaign.0, from, to])?;
    number_repeats(connection, plan.campaign, &mut entries)?;
    plan.write_entries(connection, &entries)
}
