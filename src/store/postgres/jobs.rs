//! Accepting jobs on PostgreSQL: one transaction for a group of them.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use deadpool_postgres::GenericClient;
use sha2::{Digest, Sha256};
use tokio_postgres::types::Json;

use super::{PgStore, cached, decode};
use crate::model::address::canonical_or_given;
use crate::model::contact::Problem;
use crate::model::job::{Audience, CampaignJob, Job};
use crate::model::{CampaignNo, Channel, Purpose};
use crate::store::contacts::Upsert;
use crate::store::jobs::{Acceptance, Incarnation, Jobs, PinnedTemplate, Submission};
use crate::store::{Error, Result};

/// Staged list entries of one statement, at most.
const STAGE_CHUNK: usize = 5_000;

#[async_trait]
impl Jobs for PgStore {
    async fn accept(
        &self,
        submissions: &[Submission],
        owner: Option<Incarnation>,
    ) -> Result<Vec<Acceptance>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        if submissions.iter().all(is_message) {
            // One row at a time: planning each statement anew would cost more than running it.
            transaction.batch_execute("SET LOCAL plan_cache_mode = force_generic_plan").await?;
        }
        let mut acceptances = Vec::with_capacity(submissions.len());
        for run in submissions.chunk_by(|one, next| is_message(one) && is_message(next)) {
            acceptances.extend(self.accept_run(&transaction, run, owner).await?);
        }
        transaction.commit().await?;
        Ok(acceptances)
    }

    async fn prune_jobs(&self, days: u32) -> Result<u64> {
        let client = self.client().await?;
        let pruned = cached::execute(
            &client,
            "DELETE FROM jobs WHERE accepted_at < now() - make_interval(days => $1)",
            &[&i32::try_from(days).unwrap_or(i32::MAX)],
        )
        .await?;
        Ok(pruned)
    }
}

fn is_message(submission: &Submission) -> bool {
    matches!(submission.job, Job::Message(_))
}

impl PgStore {
    /// Accepts one job of any kind, or messages that follow one another.
    async fn accept_run(
        &self,
        client: &impl GenericClient,
        run: &[Submission],
        owner: Option<Incarnation>,
    ) -> Result<Vec<Acceptance>> {
        let keys: Vec<Vec<u8>> =
            run.iter().map(|one| Sha256::digest(one.job.id().as_bytes())[..16].to_vec()).collect();
        let mut answers = claim(client, run, &keys).await?;
        let new: Vec<&Submission> =
            run.iter().zip(&answers).filter(|(_, answer)| answer.is_none()).map(|(one, _)| one).collect();
        let accepted = match new.as_slice() {
            [] => Vec::new(),
            [one] if !is_message(one) => vec![self.accept_one(client, one).await?],
            messages => self.accept_messages(client, messages, owner).await?,
        };
        let places: Vec<usize> = (0..run.len()).filter(|at| answers[*at].is_none()).collect();
        let mut refused = HashMap::new();
        for (at, acceptance) in places.into_iter().zip(accepted) {
            if !matches!(acceptance, Acceptance::New { .. }) {
                refused.insert(keys[at].clone(), acceptance.clone());
            }
            answers[at] = Some(acceptance);
        }
        if !refused.is_empty() {
            let gone: Vec<&Vec<u8>> = refused.keys().collect();
            let sql = "DELETE FROM jobs WHERE kind = $1 AND id_hash = ANY($2)";
            cached::execute(client, sql, &[&run[0].job.kind(), &gone]).await?;
        }
        // What repeats a refused job is refused, too.
        let answer = |(answer, key)| refused.get(key).cloned().or(answer);
        answers
            .into_iter()
            .zip(&keys)
            .map(answer)
            .map(|answer| answer.ok_or_else(|| Error::Refused("a job was left without an answer".into())))
            .collect()
    }

    async fn accept_one(&self, client: &impl GenericClient, submission: &Submission) -> Result<Acceptance> {
        Ok(match &submission.job {
            Job::Campaign(job) => self.accept_campaign(client, job, submission).await?,
            Job::Message(_) => return Err(Error::Refused("messages are accepted in runs".into())),
            Job::Contacts(job) => {
                let source = format!("job {}", job.id);
                let foreign = self.upsert_in(client, &job.upsert, Upsert::Merge, &source).await?;
                let warnings = foreign.iter().map(|left_out| {
                    format!(
                        "$.upsert[{}]: the {} address stays with the contact that owns it",
                        left_out.index, left_out.channel
                    )
                });
                Acceptance::New { warnings: warnings.collect() }
            }
            Job::Control(job) => match super::campaigns::control(client, &job.campaign, job.action).await? {
                Some(_) => Acceptance::New { warnings: Vec::new() },
                None => Acceptance::Invalid(Problem::new(
                    "$.campaign",
                    format!("there is no campaign `{}`", job.campaign),
                )),
            },
        })
    }

    async fn accept_campaign(
        &self,
        client: &impl GenericClient,
        job: &CampaignJob,
        submission: &Submission,
    ) -> Result<Acceptance> {
        let template = pinned(submission)?;
        pin(client, template).await?;
        if existing(client, &job.id).await?.is_some() {
            return Ok(Acceptance::Conflict);
        }
        let audience = match &job.audience {
            Audience::Contacts(_) => Audience::Contacts(Vec::new()),
            Audience::Recipients { consent, .. } => {
                Audience::Recipients { recipients: Vec::new(), consent: *consent }
            }
            whole => whole.clone(),
        };
        let planning = Json(Planned {
            audience,
            apps: submission.apps.clone(),
            forbidden: submission.purpose_forbidden,
        });
        let inline = matches!(&job.audience, Audience::Recipients { recipients, .. } if recipients.iter().any(|r| !r.data.is_empty()));
        let row = cached::query_one(client,
                "INSERT INTO campaigns (id, name, channel, purpose, lane, provider, template, template_hash, data, audience,
                     rate, burst, track_opens, track_clicks, inline_data, send_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) RETURNING number",
                &[
                    &job.id,
                    &job.name,
                    &job.channel.code(),
                    &job.purpose.code(),
                    &job.lane.code(),
                    &job.provider,
                    &job.template,
                    &template.hash.as_slice(),
                    &Json(&job.data),
                    &planning,
                    &Json(&job.rate),
                    &job.burst.map(|burst| i64::from(burst.get())),
                    &job.tracking.opens,
                    &job.tracking.clicks,
                    &inline,
                    &job.send_at,
                    &job.expires_at,
                ],
            )
            .await?;
        let campaign = CampaignNo(row.get(0));
        self.ensure_partition(client, campaign).await?;
        add_links(client, campaign, &template.links).await?;
        stage(client, campaign, job.channel, &job.audience).await?;
        Ok(Acceptance::New { warnings: Vec::new() })
    }
}

/// Takes the ids that are new, in the order of their hashes so that two daemons cannot block each other. `None` for a
/// job that is new; of repeats within the run the first.
async fn claim(
    client: &impl GenericClient,
    run: &[Submission],
    keys: &[Vec<u8>],
) -> Result<Vec<Option<Acceptance>>> {
    let Some(first) = run.first() else { return Ok(Vec::new()) };
    let kind = first.job.kind();
    let hashes: Vec<&[u8]> = run.iter().map(|one| one.content_hash.as_slice()).collect();
    let inserted = cached::query(
        client,
        "INSERT INTO jobs (kind, id_hash, content_hash)
         SELECT DISTINCT ON (n.id_hash) $1, n.id_hash, n.content_hash
         FROM unnest($2::bytea[], $3::bytea[]) WITH ORDINALITY AS n (id_hash, content_hash, place)
         ORDER BY n.id_hash, n.place ON CONFLICT DO NOTHING RETURNING id_hash",
        &[&kind, &keys, &hashes],
    )
    .await?;
    let mut new: HashSet<Vec<u8>> = inserted.iter().map(|row| row.get(0)).collect();
    if new.len() == run.len() {
        return Ok(vec![None; run.len()]);
    }
    let sql = "SELECT id_hash, content_hash FROM jobs WHERE kind = $1 AND id_hash = ANY($2)";
    let rows = cached::query(client, sql, &[&kind, &keys]).await?;
    let known: HashMap<&[u8], &[u8]> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let answer = |(key, hash): (&Vec<u8>, &[u8])| match known.get(key.as_slice()) {
        _ if new.remove(key) => None,
        Some(content) if *content == hash => Some(Acceptance::Known),
        _ => Some(Acceptance::Conflict),
    };
    Ok(keys.iter().zip(hashes).map(answer).collect())
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
pub(super) async fn pin(client: &impl GenericClient, template: &PinnedTemplate) -> Result<()> {
    cached::execute(
        client,
        "INSERT INTO templates (hash, name, source) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        &[&template.hash.as_slice(), &template.name, &Json(&template.source)],
    )
    .await?;
    Ok(())
}

/// Gives every link that the campaign does not track yet the next number.
pub(super) async fn add_links(
    client: &impl GenericClient,
    campaign: CampaignNo,
    urls: &[String],
) -> Result<()> {
    if urls.is_empty() {
        return Ok(());
    }
    let sql = "SELECT count(*) FROM links WHERE campaign = $1 AND url = ANY($2)";
    let known: i64 = cached::query_one(client, sql, &[&campaign.0, &urls]).await?.get(0);
    if known == i64::try_from(urls.len()).unwrap_or(i64::MAX) {
        return Ok(());
    }
    cached::execute(client, "SELECT FROM campaigns WHERE number = $1 FOR UPDATE", &[&campaign.0]).await?;
    cached::execute(client,
            "INSERT INTO links (campaign, number, url)
             SELECT $1, (SELECT count(*) FROM links WHERE campaign = $1) + row_number() OVER (ORDER BY n.position) - 1, n.url
             FROM unnest($2::text[]) WITH ORDINALITY AS n (url, position)
             WHERE NOT EXISTS (SELECT FROM links l WHERE l.campaign = $1 AND l.url = n.url)",
            &[&campaign.0, &urls],
        )
        .await?;
    Ok(())
}

/// Keeps an audience's list until it is planned. Addresses are kept in their canonical form, so that an erasure finds them.
async fn stage(
    client: &impl GenericClient,
    campaign: CampaignNo,
    channel: Channel,
    audience: &Audience,
) -> Result<()> {
    let mut position = 0_i64;
    let insert = "INSERT INTO stage (campaign, position, external_id, address, data)
         SELECT $1, $2 + n.position, n.external_id, n.address, n.data
         FROM unnest($3::text[], $4::text[], $5::jsonb[]) WITH ORDINALITY AS n (external_id, address, data, position)";
    match audience {
        Audience::Contacts(ids) => {
            for chunk in ids.chunks(STAGE_CHUNK) {
                let none: Vec<Option<&str>> = vec![None; chunk.len()];
                let data: Vec<Option<Json<()>>> = vec![None; chunk.len()];
                cached::execute(client, insert, &[&campaign.0, &position, &chunk, &none, &data]).await?;
                position += i64::try_from(chunk.len()).unwrap_or(i64::MAX);
            }
        }
        Audience::Recipients { recipients, .. } => {
            for chunk in recipients.chunks(STAGE_CHUNK) {
                let ids: Vec<Option<&str>> = chunk.iter().map(|entry| entry.external_id.as_deref()).collect();
                let addresses: Vec<String> =
                    chunk.iter().map(|entry| canonical_or_given(channel, &entry.address)).collect();
                let data: Vec<Option<Json<_>>> =
                    chunk.iter().map(|entry| (!entry.data.is_empty()).then_some(Json(&entry.data))).collect();
                cached::execute(client, insert, &[&campaign.0, &position, &ids, &addresses, &data]).await?;
                position += i64::try_from(chunk.len()).unwrap_or(i64::MAX);
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

pub(super) async fn existing(client: &impl GenericClient, id: &str) -> Result<Option<Existing>> {
    let sql = "SELECT channel, purpose, standing FROM campaigns WHERE id = $1 LIMIT 1";
    let Some(row) = cached::query_opt(client, sql, &[&id]).await? else { return Ok(None) };
    Ok(Some(Existing {
        channel: decode(row.get(0), Channel::from_code)?,
        purpose: decode(row.get(1), Purpose::from_code)?,
        standing: row.get(2),
    }))
}
