//! Single messages under standing campaigns, on SQLite.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::connection::Connection;
use super::jobs::{add_links, existing, pin, pinned};
use super::judging::Plan;
use super::recipients::{Listed, resolve};
use crate::model::contact::Problem;
use crate::model::job::{MessageJob, MessageTo};
use crate::model::{CampaignNo, Channel, Purpose, Reason, State};
use crate::store::dispatching::MessageOptions;
use crate::store::jobs::{Acceptance, Incarnation, PinnedTemplate, Submission};
use crate::store::{Result, Secrets};

/// Messages that follow one another, gathered until they are written.
pub(super) struct Messages {
    owner: Option<Incarnation>,
    opened: Opened,
    groups: Vec<Group>,
}

/// Messages that share everything but recipient and data: where nothing excludes them, they go into one batch.
struct Group {
    plan: Plan,
    listed: Vec<(Listed, i64)>,
}

/// Standing campaigns that this transaction has looked up, with the templates that it has pinned.
type Opened = HashMap<(String, Channel, Purpose, [u8; 32]), (CampaignNo, bool)>;

impl Messages {
    /// `owner` leases their batches.
    pub(super) fn new(owner: Option<Incarnation>) -> Self {
        Messages { owner, opened: Opened::new(), groups: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        connection: &Connection,
        submission: &Submission,
        job: &MessageJob,
    ) -> Result<Acceptance> {
        let (campaign, stopped) = match self.open(connection, job, pinned(submission)?)? {
            Ok(found) => found,
            Err(problem) => return Ok(Acceptance::Invalid(problem)),
        };
        let plan = plan_of(connection, submission, job, campaign, stopped, self.owner)?;
        let (external_id, address) = match &job.to {
            MessageTo::ExternalId(id) => (Some(id.clone()), None),
            MessageTo::Address(address) => (None, Some(address.clone())),
        };
        let data = (!job.data.is_empty()).then(|| job.data.clone().into());
        let listed = (Listed { external_id, address, data }, occurrence(&job.id));
        match self.groups.iter_mut().find(|group| group.plan == plan) {
            Some(group) => group.listed.push(listed),
            None => self.groups.push(Group { plan, listed: vec![listed] }),
        }
        Ok(Acceptance::New { warnings: Vec::new() })
    }

    pub(super) fn write(self, connection: &Connection, secrets: &Secrets) -> Result<()> {
        for Group { plan, listed } in self.groups {
            let mut entries = Vec::with_capacity(listed.len());
            for (one, occurrence) in listed {
                let mut entry = resolve(connection, secrets, plan.channel, one, None)?;
                entry.target.occurrence = occurrence;
                entries.push(entry);
            }
            plan.write_entries(connection, &entries)?;
        }
        Ok(())
    }

    /// The standing campaign of this month and whether it was cancelled; opened, and the template pinned, where needed.
    fn open(
        &mut self,
        connection: &Connection,
        job: &MessageJob,
        template: &PinnedTemplate,
    ) -> Result<std::result::Result<(CampaignNo, bool), Problem>> {
        let key = (job.campaign.clone(), job.channel, job.purpose, template.hash);
        if let Some(found) = self.opened.get(&key) {
            return Ok(Ok(*found));
        }
        if let Some(problem) = objection(connection, job)? {
            return Ok(Err(problem));
        }
        pin(connection, template)?;
        let (campaign, stopped) = open_month(connection, job, template)?;
        add_links(connection, campaign, &template.links)?;
        self.opened.insert(key, (campaign, stopped));
        Ok(Ok((campaign, stopped)))
    }
}

/// What keeps a message from standing under the campaign that it names.
fn objection(connection: &Connection, job: &MessageJob) -> Result<Option<Problem>> {
    let name = &job.campaign;
    Ok(match existing(connection, name)? {
        Some(found) if !found.standing => Some(Problem::new(
            "$.campaign",
            format!("`{name}` is a bulk campaign; a message stands under a standing one"),
        )),
        Some(found) if found.channel != job.channel => {
            let problem = format!("the standing campaign `{name}` has the channel {}", found.channel);
            Some(Problem::new("$.channel", problem))
        }
        Some(found) if found.purpose != job.purpose => {
            let problem = format!("the standing campaign `{name}` has the purpose {}", found.purpose);
            Some(Problem::new("$.purpose", problem))
        }
        _ => None,
    })
}

fn plan_of(
    connection: &Connection,
    submission: &Submission,
    job: &MessageJob,
    campaign: CampaignNo,
    stopped: bool,
    owner: Option<Incarnation>,
) -> Result<Plan> {
    let now = connection.now();
    let expired = job.expires_at.is_some_and(|at| at <= now);
    let (state, reason) = match (stopped, expired) {
        (true, _) => (State::Cancelled, Some(Reason::CampaignCancelled)),
        (_, true) => (State::Expired, Some(Reason::CampaignExpired)),
        _ => (State::Planned, None),
    };
    let due_at = job.send_at.filter(|at| *at > now);
    Ok(Plan {
        campaign,
        channel: job.channel,
        lane: job.lane,
        purpose: job.purpose,
        purpose_forbidden: submission.purpose_forbidden,
        apps: submission.apps.clone(),
        template: pinned(submission)?.hash,
        due_at,
        owner: owner.filter(|_| due_at.is_none()),
        options: Some(MessageOptions {
            provider: job.provider.clone(),
            expires_at: job.expires_at,
            tracking: job.tracking,
        }),
        state,
        reason,
    })
}

/// A message's place under its contact: never 0, which is a bulk campaign's.
fn occurrence(id: &str) -> i64 {
    let digest = Sha256::digest(id.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    (i64::from_be_bytes(bytes) & i64::MAX).max(1)
}

/// The month in which an instant lies, as the days from 1970 to its first.
pub(super) fn month_of(at: Timestamp) -> i64 {
    let first = at.to_zoned(TimeZone::UTC).date().first_of_month();
    i64::from((first - Date::constant(1970, 1, 1)).get_days())
}

/// The standing campaign's row of this month, and whether it was cancelled.
/// A new month takes over what was set before: the pause and the cancellation.
fn open_month(
    connection: &Connection,
    job: &MessageJob,
    template: &PinnedTemplate,
) -> Result<(CampaignNo, bool)> {
    let month = month_of(connection.now());
    let this_month = "SELECT number, cancelled_at IS NOT NULL FROM campaigns WHERE id = ?1 AND month = ?2";
    let known = connection
        .prepare_cached(this_month)?
        .query_row(params![job.campaign, month], |row| Ok((CampaignNo(row.get(0)?), row.get(1)?)))
        .optional()?;
    if let Some(known) = known {
        return Ok(known);
    }
    let opened = connection
        .prepare_cached(
            "INSERT INTO campaigns (id, month, channel, purpose, lane, provider, template, template_hash, data, rate,
                 track_opens, track_clicks, inline_data, standing, paused, cancelled_at, accepted_at, started_at, planned_at)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '{}', '[]', ?9, ?10,
                 1, 1, coalesce(max(k.paused), 0), min(k.cancelled_at), ?11, ?11, ?11
             FROM campaigns k WHERE k.id = ?1 RETURNING number, cancelled_at IS NOT NULL",
        )?
        .query_row(
            params![
                job.campaign,
                month,
                job.channel.code(),
                job.purpose.code(),
                job.lane.code(),
                job.provider,
                job.template,
                template.hash,
                job.tracking.opens,
                job.tracking.clicks,
                connection.now_us(),
            ],
            |row| Ok((CampaignNo(row.get(0)?), row.get(1)?)),
        )?;
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_its_first_in_utc() {
        for (at, days) in
            [("1970-01-31T23:59:59Z", 0), ("1970-02-01T00:00:00Z", 31), ("2024-03-01T07:00:00+08:00", 19_754)]
        {
            assert_eq!(month_of(at.parse().unwrap()), days, "{at}");
        }
    }
}
