//! Single messages under standing campaigns, on PostgreSQL.

use std::collections::HashMap;

use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio_postgres::types::Json;

use super::jobs::{add_links, existing, pin, pinned};
use super::judging::Plan;
use super::recipients::Listed;
use super::{PgStore, cached};
use crate::model::contact::Problem;
use crate::model::job::{Job, MessageJob, MessageTo};
use crate::model::{CampaignNo, Channel, Purpose, Reason, State};
use crate::store::dispatching::MessageOptions;
use crate::store::jobs::{Acceptance, Incarnation, PinnedTemplate, Submission};
use crate::store::{Error, Result};

/// Messages that share everything but recipient and data: they go in one statement and, where nothing excludes them,
/// into one batch.
struct Group {
    plan: Plan,
    listed: Vec<Listed>,
    occurrences: Vec<i64>,
}

/// Standing campaigns that this transaction has looked up, with the templates that it has pinned.
type Opened = HashMap<(String, Channel, Purpose, [u8; 32]), (CampaignNo, bool)>;

impl PgStore {
    pub(super) async fn accept_messages(
        &self,
        client: &impl GenericClient,
        submissions: &[&Submission],
        owner: Option<Incarnation>,
    ) -> Result<Vec<Acceptance>> {
        let mut opened = Opened::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut answers = Vec::with_capacity(submissions.len());
        for submission in submissions {
            let Job::Message(job) = &submission.job else {
                return Err(Error::Refused("a run of messages has another job in it".into()));
            };
            let (campaign, stopped) = match self.open(client, &mut opened, job, pinned(submission)?).await? {
                Ok(found) => found,
                Err(problem) => {
                    answers.push(Acceptance::Invalid(problem));
                    continue;
                }
            };
            let plan = plan_of(submission, job, campaign, stopped, owner)?;
            let (external_id, address) = match &job.to {
                MessageTo::ExternalId(id) => (Some(id.clone()), None),
                MessageTo::Address(address) => (None, Some(address.clone())),
            };
            let data = (!job.data.is_empty()).then(|| job.data.clone().into());
            let listed = Listed { external_id, address, data };
            match groups.iter_mut().find(|group| group.plan == plan) {
                Some(group) => {
                    group.listed.push(listed);
                    group.occurrences.push(occurrence(&job.id));
                }
                None => {
                    groups.push(Group { plan, listed: vec![listed], occurrences: vec![occurrence(&job.id)] })
                }
            }
            answers.push(Acceptance::New { warnings: Vec::new() });
        }
        for Group { plan, listed, occurrences } in groups {
            let mut entries = self.resolve(client, plan.channel, listed, None).await?;
            for (entry, occurrence) in entries.iter_mut().zip(occurrences) {
                entry.occurrence = occurrence;
            }
            plan.write_entries(client, entries).await?;
        }
        Ok(answers)
    }

    /// The standing campaign of this month and whether it was cancelled; opened, and the template pinned, where needed.
    async fn open(
        &self,
        client: &impl GenericClient,
        opened: &mut Opened,
        job: &MessageJob,
        template: &PinnedTemplate,
    ) -> Result<std::result::Result<(CampaignNo, bool), Problem>> {
        let key = (job.campaign.clone(), job.channel, job.purpose, template.hash);
        if let Some(found) = opened.get(&key) {
            return Ok(Ok(*found));
        }
        if let Some(found) = opened_already(client, job, template).await? {
            opened.insert(key, found);
            return Ok(Ok(found));
        }
        if let Some(problem) = objection(client, job).await? {
            return Ok(Err(problem));
        }
        pin(client, template).await?;
        let (campaign, stopped) = open_month(client, job, template).await?;
        self.ensure_partition(client, campaign).await?;
        add_links(client, campaign, &template.links).await?;
        opened.insert(key, (campaign, stopped));
        Ok(Ok((campaign, stopped)))
    }
}

/// This month's standing campaign, where it stands as the message wants it, with its template pinned and every link
/// numbered: what all messages but the first find.
async fn opened_already(
    client: &impl GenericClient,
    job: &MessageJob,
    template: &PinnedTemplate,
) -> Result<Option<(CampaignNo, bool)>> {
    let row = cached::query_opt(
        client,
        "SELECT k.number, k.cancelled_at IS NOT NULL FROM campaigns k
         WHERE k.id = $1 AND k.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
           AND k.standing AND k.channel = $2 AND k.purpose = $3
           AND EXISTS (SELECT FROM templates t WHERE t.hash = $4)
           AND (SELECT count(*) FROM links l WHERE l.campaign = k.number AND l.url = ANY($5)) = cardinality($5)",
        &[
            &job.campaign,
            &job.channel.code(),
            &job.purpose.code(),
            &template.hash.as_slice(),
            &template.links,
        ],
    )
    .await?;
    Ok(row.map(|row| (CampaignNo(row.get(0)), row.get(1))))
}

/// What keeps a message from standing under the campaign that it names.
async fn objection(client: &impl GenericClient, job: &MessageJob) -> Result<Option<Problem>> {
    let name = &job.campaign;
    Ok(match existing(client, name).await? {
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
    submission: &Submission,
    job: &MessageJob,
    campaign: CampaignNo,
    stopped: bool,
    owner: Option<Incarnation>,
) -> Result<Plan> {
    let now = Timestamp::now();
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
        template: pinned(submission)?.hash.to_vec(),
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

/// The standing campaign's row of this month, and whether it was cancelled.
/// A new month takes over what was set before: the pause and the cancellation.
async fn open_month(
    client: &impl GenericClient,
    job: &MessageJob,
    template: &PinnedTemplate,
) -> Result<(CampaignNo, bool)> {
    let this_month = "SELECT number, cancelled_at IS NOT NULL FROM campaigns
         WHERE id = $1 AND month = date_trunc('month', now() AT TIME ZONE 'UTC')::date";
    if let Some(row) = cached::query_opt(client, this_month, &[&job.campaign]).await? {
        return Ok((CampaignNo(row.get(0)), row.get(1)));
    }
    cached::execute(client,
            "INSERT INTO campaigns (id, month, channel, purpose, lane, provider, template, template_hash, data, rate,
                 track_opens, track_clicks, inline_data, standing, paused, cancelled_at, started_at, planned_at)
             SELECT $1, date_trunc('month', now() AT TIME ZONE 'UTC')::date, $2, $3, $4, $5, $6, $7, '{}', $8, $9, $10,
                 true, true, coalesce(bool_or(k.paused), false), min(k.cancelled_at), now(), now()
             FROM campaigns k WHERE k.id = $1
             ON CONFLICT (id, month) DO NOTHING",
            &[
                &job.campaign,
                &job.channel.code(),
                &job.purpose.code(),
                &job.lane.code(),
                &job.provider,
                &job.template,
                &template.hash.as_slice(),
                &Json(serde_json::json!([])),
                &job.tracking.opens,
                &job.tracking.clicks,
            ],
        )
        .await?;
    let row = cached::query_one(client, this_month, &[&job.campaign]).await?;
    Ok((CampaignNo(row.get(0)), row.get(1)))
}
