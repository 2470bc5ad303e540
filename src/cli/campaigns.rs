//! `campaigns`: what is there, how far it is, and pause, resume, cancel.

use std::path::Path;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{Exit, Failure};
use super::operator::{deed, ending};
use super::output::{Output, maybe_time, table, time};
use super::session::Session;
use crate::model::Control;
use crate::store::campaigns::CampaignRecord;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  campaignd campaigns
  campaignd campaigns show spring-sale-2026
  campaignd campaigns pause spring-sale-2026
  campaignd --json campaigns list --limit 1000"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Args)]
struct List {
    /// At most this many, the newest first
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Pass over the newest N
    #[arg(long, default_value_t = 0, value_name = "N")]
    offset: u32,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The newest campaigns; what `campaigns` alone does
    #[command(after_help = "Example:\n  campaignd --json campaigns list --limit 1000")]
    List(List),
    /// One campaign
    #[command(after_help = "Example:\n  campaignd campaigns show spring-sale-2026")]
    Show(Campaign),
    /// Send nothing more until it is resumed
    #[command(after_help = "Example:\n  campaignd campaigns pause spring-sale-2026")]
    Pause(Campaign),
    /// Go on
    #[command(after_help = "Example:\n  campaignd campaigns resume spring-sale-2026")]
    Resume(Campaign),
    /// Never send what is not sent yet
    #[command(after_help = "Example:\n  campaignd campaigns cancel spring-sale-2026")]
    Cancel(Campaign),
}

#[derive(Debug, Args)]
struct Campaign {
    /// The campaign's id
    id: String,
}

pub(super) async fn execute(config: &Path, arguments: Arguments, out: Output) -> Result<Exit, Failure> {
    let session = Session::open(config).await?;
    match arguments.command.unwrap_or(Command::List(arguments.list)) {
        Command::List(List { limit, offset }) => {
            let campaigns = session.store.campaigns(limit, offset).await?;
            out.show(&campaigns, || list(&campaigns))?;
        }
        Command::Show(Campaign { id }) => {
            let campaign = session.store.campaign(&id).await?.ok_or_else(|| unknown(&id))?;
            out.show(&campaign, || show(&campaign))?;
        }
        Command::Pause(campaign) => control(&session, &campaign.id, Control::Pause, out).await?,
        Command::Resume(campaign) => control(&session, &campaign.id, Control::Resume, out).await?,
        Command::Cancel(campaign) => control(&session, &campaign.id, Control::Cancel, out).await?,
    }
    Ok(Exit::Done)
}

async fn control(session: &Session, id: &str, control: Control, out: Output) -> Result<(), Failure> {
    let status = session.store.control(id, control).await?;
    session.note(deed(control.into(), ending(status.is_some())).subject(id)).await;
    let status = status.ok_or_else(|| unknown(id))?;
    out.show(&json!({"id": id, "status": status}), || format!("{id}: {status}"))?;
    Ok(())
}

/// What every command says of an id that no campaign has.
pub(super) fn unknown(id: &str) -> anyhow::Error {
    anyhow!("there is no campaign `{id}`; `campaignd campaigns` lists them")
}

fn list(campaigns: &[CampaignRecord]) -> String {
    table(
        ["ID", "CHANNEL", "STATUS", "TARGETED", "SENT", "SETTLED", "ACCEPTED AT"],
        campaigns.iter().map(|campaign| {
            [
                campaign.id.clone(),
                campaign.channel.to_string(),
                campaign.status.to_string(),
                campaign.targeted.to_string(),
                campaign.sent.to_string(),
                campaign.settled.to_string(),
                time(campaign.accepted_at),
            ]
        }),
    )
}

fn show(campaign: &CampaignRecord) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rate = if campaign.rate.is_empty() { "-".to_owned() } else { campaign.rate.join(", ") };
    let facts = [
        ("id", campaign.id.clone()),
        ("name", or_dash(&campaign.name)),
        ("status", campaign.status.to_string()),
        ("paused for", campaign.pause_cause.map_or_else(|| "-".to_owned(), |cause| cause.to_string())),
        ("channel", campaign.channel.to_string()),
        ("purpose", campaign.purpose.to_string()),
        ("lane", campaign.lane.to_string()),
        ("template", campaign.template.clone()),
        ("provider", or_dash(&campaign.provider)),
        ("rate", rate),
        ("targeted", campaign.targeted.to_string()),
        ("sent", campaign.sent.to_string()),
        ("settled", campaign.settled.to_string()),
        ("accepted at", time(campaign.accepted_at)),
        ("send at", maybe_time(campaign.send_at)),
        ("expires at", maybe_time(campaign.expires_at)),
        ("started at", maybe_time(campaign.started_at)),
        ("finished at", maybe_time(campaign.finished_at)),
    ];
    facts.map(|(name, value)| format!("{name:<12} {value}")).join("\n")
}
