//! Accepting jobs on SQLite: one transaction for a group of them.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::connection::Connection;
use super::upserting::upsert;
use super::values::{At, Json};
use super::{SqliteStore, campaigns, decode, standing};
use crate::model::address::canonical_or_given;
use crate::model::contact::Problem;
use crate::model::job::{Audience, CampaignJob, Job};
use crate::model::{CampaignNo, Channel, Purpose};
use crate::store::contacts::Upsert;
use crate::store::jobs::{Acceptance, Incarnation, Jobs, PinnedTemplate, Submission};
use crate::store::{Admin, Error, Result, Secrets};

const DAY: i64 = 86_400_000_000;

#[async_trait]
impl Jobs for SqliteStore {
    async fn accept(
        &self,
        submissions: &[Submission],
        owner: Option<Incarnation>,
    ) -> Result<Vec<Acceptance>> {
        let (submissions, secrets) = (submissions.to_vec(), self.secrets().await?);
        self.write(move |connection| accept(connection, &secrets, &submissions, owner)).await
    }

    async fn prune_jobs(&self, days: u32) -> Result<u64> {
        self.write(move |connection| {
            let sql = "DELETE FROM jobs WHERE accepted_at < ?1";
            Ok(connection.prepare_cached(sql)?.execute([connection.now_us() - i64::from(days) * DAY])? as u64)
        })
        .await
    }
}

fn accept(
    connection: &Connection,
    secrets: &Secrets,
    submissions: &[Submission],
    owner: Option<Incarnation>,
) -> Result<Vec<Acceptance>> {
    let is_message = |submission: &Submission| matches!(submission.job, Job::Message(_));
    let mut acceptances = Vec::with_capacity(submissions.len());
    for run in submissions.chunk_by(|one, next| is_message(one) && is_message(next)) {
        // Messages that follow one another share batches.
        let mut messages = standing::Messages::new(owner);
        for submission in run {
            if let Some(known) = claim(connection, submission)? {
                acceptances.push(known);
                continue;
            }
            let acceptance = match &submission.job {
                Job::Message(job) => messages.add(connection, submission, job)?,
                _ => accept_one(connection, secrets, submission)?,
            };
            if !matches!(acceptance, Acceptance::New { .. }) {
                forget(connection, submission)?;
            }
            acceptances.push(acceptance);
        }
        messages.write(connection, secrets)?;
    }
    Ok(acceptances)
}

/// Takes a job's id. `None` where it is new.
fn claim(connection: &Connection, submission: &Submission) -> Result<Option<Acceptance>> {
    let (kind, id) = (submission.job.kind(), id_hash(submission));
    let insert = "INSERT INTO jobs (kind, id_hash, content_hash, accepted_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING";
    let new = connection.prepare_cached(insert)?.execute(params![
        kind,
        id,
        submission.content_hash,
        connection.now_us()
    ])? > 0;
    if new {
        return Ok(None);
    }
    let select = "SELECT content_hash = ?3 FROM jobs WHERE kind = ?1 AND id_hash = ?2";
    let same = connection
        .prepare_cached(select)?
        .query_row(params![kind, id, submission.content_hash], |row| row.get(0))?;
    Ok(Some(if same { Acceptance::Known } else { Acceptance::Conflict }))
}

/// Lets go of the id of a job that was refused.
fn forget(connection: &Connection, submission: &Submission) -> Result<()> {
    let sql = "DELETE FROM jobs WHERE kind = ?1 AND id_hash = ?2";
    connection.prepare_cached(sql)?.execute(params![submission.job.kind(), id_hash(submission)])?;
    Ok(())
}

fn id_hash(submission: &Submission) -> Vec<u8> {
    Sha256::digest(submission.job.id().as_bytes())[..16].to_vec()
}

fn accept_one(connection: &Connection, secrets: &Secrets, submission: &Submission) -> Result<Acceptance> {
    Ok(match &submission.job {
        Job::Campaign(job) => accept_campaign(connection, job, submission)?,
        Job::Message(_) => return Err(Error::Refused("messages are accepted in runs".into())),
        Job::Contacts(job) => {
            let source = format!("job {}", job.id);
            let foreign = upsert(connection, secrets, &job.upsert, Upsert::Merge, &source)?;
            let warnings = foreign.iter().map(|left_out| {
                format!(
                    "$.upsert[{}]: the {} address stays with the contact that owns it",
                    left_out.index, left_out.channel
                )
            });
            Acceptance::New { warnings: warnings.collect() }
        }
        Job::Control(job) => match campaigns::control(connection, &job.campaign, job.action)? {
            Some(_) => Acceptance::New { warnings: Vec::new() },
            None => Acceptance::Invalid(Problem::new(
                "$.campaign",
                format!("there is no campaign `{}`", job.campaign),
            )),
        },
    })
}

fn accept_campaign(
    connection: &Connection,
    job: &CampaignJob,
    submission: &Submission,
) -> Result<Acceptance> {
    let template = pinned(submission)?;
    if existing(connection, &job.id)?.is_some() {
        return Ok(Acceptance::Conflict);
    }
    pin(connection, template)?;
    let audience = match &job.audience {
        Audience::Contacts(_) => Audience::Contacts(Vec::new()),
        Audience::Recipients { consent, .. } => {
            Audience::Recipients { recipients: Vec::new(), consent: *consent }
        }
        whole => whole.clone(),
    };
    let planning =
        Planned { audience, apps: submission.apps.clone(), forbidden: submission.purpose_forbidden };
    let inline = matches!(&job.audience, Audience::Recipients { recipients, .. } if recipients.iter().any(|r| !r.data.is_empty()));
    let insert = "INSERT INTO campaigns (id, name, channel, purpose, lane, provider, template, template_hash, data, audience,
             rate, burst, track_opens, track_clicks, inline_data, send_at, expires_at, accepted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    connection.prepare_cached(insert)?.execute(params![
        job.id,
        job.name,
        job.channel.code(),
        job.purpose.code(),
        job.lane.code(),
        job.provider,
        job.template,
        template.hash,
        Json(&job.data),
        Json(planning),
        Json(&job.rate),
        job.burst.map(|burst| i64::from(burst.get())),
        job.tracking.opens,
        job.tracking.clicks,
        inline,
        job.send_at.map(At),
        job.expires_at.map(At),
        connection.now_us(),
    ])?;
    let campaign = CampaignNo(connection.last_insert_rowid());
    add_links(connection, campaign, &template.links)?;
    stage(connection, campaign, job.channel, &job.audience)?;
    Ok(Acceptance::New { warnings: Vec::new() })
}

/// What planning needs beside the campaign's columns.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Planned {
    pub(super) audience: Audience,
    pub(super) apps: Option<Vec<String>>,
    pub(super) forbidden: bool,
}

pub(super) fn pinned(submission: &Submission) -> Result<&PinnedTemplate> {
    submission
        .template
        .as_ref()
        .ok_or_else(|| Error::Refused("a campaign or message came without its template".into()))
}

/// Keeps a template's sources under their hash.
pub(super) fn pin(connection: &Connection, template: &PinnedTemplate) -> Result<()> {
    let known = "SELECT 1 FROM templates WHERE hash = ?1";
    if !connection.prepare_cached(known)?.exists([template.hash])? {
        let insert = "INSERT INTO templates (hash, name, source) VALUES (?1, ?2, ?3)";
        let row = params![template.hash, template.name, Json(&template.source)];
        connection.prepare_cached(insert)?.execute(row)?;
    }
    Ok(())
}

/// Gives every link that the campaign does not track yet the next number.
pub(super) fn add_links(connection: &Connection, campaign: CampaignNo, urls: &[String]) -> Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO links (campaign, number, url)
         SELECT ?1, (SELECT count(*) FROM links WHERE campaign = ?1), ?2
         WHERE NOT EXISTS (SELECT 1 FROM links WHERE campaign = ?1 AND url = ?2)",
    )?;
    for url in urls {
        insert.execute(params![campaign.0, url])?;
    }
    Ok(())
}

/// Keeps an audience's list until it is planned; places count from 1. Addresses are kept in their canonical form, so that
/// an erasure finds them.
fn stage(connection: &Connection, campaign: CampaignNo, channel: Channel, audience: &Audience) -> Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO stage (campaign, position, external_id, address, data) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    match audience {
        Audience::Contacts(ids) => {
            for (position, id) in (1_i64..).zip(ids) {
                insert.execute(params![campaign.0, position, id, None::<String>, None::<String>])?;
            }
        }
        Audience::Recipients { recipients, .. } => {
            for (position, entry) in (1_i64..).zip(recipients) {
                let data = (!entry.data.is_empty()).then_some(Json(&entry.data));
                let address = canonical_or_given(channel, &entry.address);
                insert.execute(params![campaign.0, position, entry.external_id, address, data])?;
            }
        }
        Audience::All | Audience::Segment(_) => {}
    }
    Ok(())
}

/// What a campaign with this id is already.
pub(super) struct Existing {
    pub(super) channel: Channel,
    pub(super) purpose: Purpose,
    pub(super) standing: bool,
}

pub(super) fn existing(connection: &Connection, id: &str) -> Result<Option<Existing>> {
    let sql = "SELECT channel, purpose, standing FROM campaigns WHERE id = ?1 LIMIT 1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let Some((channel, purpose, standing)) =
        connection.prepare_cached(sql)?.query_row([id], row).optional()?
    else {
        return Ok(None);
    };
    Ok(Some(Existing {
        channel: decode(channel, Channel::from_code)?,
        purpose: decode(purpose, Purpose::from_code)?,
        standing,
    }))
}
