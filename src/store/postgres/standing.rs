//! Single messages under standing campaigns, on PostgreSQL.

use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio_postgres::types::Json;

use super::jobs::{add_links, existing, pin, pinned};
use super::judging::Plan;
use super::recipients::Listed;
use super::{PgStore, cached};
use crate::model::contact::Problem;
use crate::model::job::{MessageJob, MessageTo};
use crate::model::{CampaignNo, Reason, State};
use crate::store::Result;
use crate::store::dispatching::MessageOptions;
use crate::store::jobs::{Acceptance, Incarnation, PinnedTemplate, Submission};

impl PgStore {
    pub(super) async fn accept_message(
        &self,
        client: &impl GenericClient,
        job: &MessageJob,
        submission: &Submission,
        owner: Option<Incarnation>,
    ) -> Result<Acceptance> {
        let template = pinned(submission)?;
        match existing(client, &job.campaign).await? {
            Some(found) if !found.standing => {
                let problem =
                    format!("`{}` is a bulk campaign; a message stands under a standing one", job.campaign);
                return Ok(Acceptance::Invalid(Problem::new("$.campaign", problem)));
            }
            Some(found) if found.channel != job.channel => {
                let problem =
                    format!("the standing campaign `{}` has the channel {}", job.campaign, found.channel);
                return Ok(Acceptance::Invalid(Problem::new("$.channel", problem)));
            }
            Some(found) if found.purpose != job.purpose => {
                let problem =
                    format!("the standing campaign `{}` has the purpose {}", job.campaign, found.purpose);
                return Ok(Acceptance::Invalid(Problem::new("$.purpose", problem)));
            }
            _ => {}
        }
        pin(client, template).await?;
        let (campaign, stopped) = open_month(client, job, template).await?;
        self.ensure_partition(client, campaign).await?;
        add_links(client, campaign, &template.links).await?;
        let now = Timestamp::now();
        let expired = job.expires_at.is_some_and(|at| at <= now);
        let (state, reason) = match (stopped, expired) {
            (true, _) => (State::Cancelled, Some(Reason::CampaignCancelled)),
            (_, true) => (State::Expired, Some(Reason::CampaignExpired)),
            _ => (State::Planned, None),
        };
        let due_at = job.send_at.filter(|at| *at > now);
        let plan = Plan {
            campaign,
            channel: job.channel,
            lane: job.lane,
            purpose: job.purpose,
            purpose_forbidden: submission.purpose_forbidden,
            apps: submission.apps.clone(),
            template: template.hash.to_vec(),
            due_at,
            owner: owner.filter(|_| due_at.is_none()),
            options: Some(MessageOptions {
                provider: job.provider.clone(),
                expires_at: job.expires_at,
                tracking: job.tracking,
            }),
            state,
            reason,
        };
        let (external_id, address) = match &job.to {
            MessageTo::ExternalId(id) => (Some(id.clone()), None),
            MessageTo::Address(address) => (None, Some(address.clone())),
        };
        let data = (!job.data.is_empty()).then(|| job.data.clone().into());
        let mut entries =
            self.resolve(client, job.channel, vec![Listed { external_id, address, data }], None).await?;
        for entry in &mut entries {
            entry.occurrence = occurrence(&job.id);
        }
        plan.write_entries(client, entries).await?;
        Ok(Acceptance::New { warnings: Vec::new() })
    }
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
