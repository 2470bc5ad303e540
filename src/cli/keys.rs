//! `keys`: what signs the links in messages, and for how long it is believed.

use std::path::Path;

use anyhow::anyhow;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Failure, tell};
use super::operator::deed;
use super::output::{Output, maybe_time, table, time};
use super::session::Session;
use crate::model::TrackingKey;
use crate::model::audit::{Action, Ending};
use crate::model::tracking_key::{Retirement, SIGNS_AFTER, Stage, retirement, stage};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  campaignd keys list
  campaignd keys rotate          # what was sent before goes on working
  campaignd keys retire 0        # says what would stop working
  campaignd keys retire 0 --yes")]
pub(super) enum Command {
    /// Every key that there ever was, without its secret
    #[command(after_help = "Example:\n  campaignd keys list")]
    List,
    /// Make another key, which signs in a minute; the others go on verifying
    #[command(after_help = "Example:\n  campaignd keys rotate")]
    Rotate,
    /// Forget a key for good: what it signed is refused from then on
    #[command(after_help = "Example:\n  campaignd keys retire 0 --yes")]
    Retire {
        /// As `keys list` shows it
        id: u8,
        /// Do it; else it is only said what would stop working
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn execute(config: &Path, command: Command, out: Output) -> Result<Exit, Failure> {
    let session = Session::open(config).await?;
    match command {
        Command::List => list(&session, out).await,
        Command::Rotate => rotate(&session, out).await,
        Command::Retire { id, yes } => retire(&session, id, yes, out).await,
    }
}

async fn list(session: &Session, out: Output) -> Result<Exit, Failure> {
    let keys = session.store.tracking_keys().await?;
    let shown: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({"id": key.id, "state": stage(key, &keys), "created_at": key.created_at,
                   "retired_at": key.retired_at})
        })
        .collect();
    out.show(&shown, || {
        table(
            ["ID", "STATE", "CREATED", "RETIRED"],
            keys.iter().map(|key| {
                [
                    key.id.to_string(),
                    stage(key, &keys).as_str().to_owned(),
                    time(key.created_at),
                    maybe_time(key.retired_at),
                ]
            }),
        )
    })?;
    Ok(Exit::Done)
}

async fn rotate(session: &Session, out: Output) -> Result<Exit, Failure> {
    // So that a store that has no key yet gets the one that signs meanwhile.
    session.store.tracking_keys().await?;
    let made = session.store.rotate_tracking_key().await?;
    let note = match made {
        Some(id) => deed(Action::KeyRotated, Ending::Done).subject(subject(id)),
        None => deed(Action::KeyRotated, Ending::Refused),
    };
    session.note(note).await;
    let Some(id) = made else {
        return Err(anyhow!(
            "256 keys live, and a token has room for no other number: retire one whose messages are too old for \
             anyone to click in; `campaignd keys list` shows them"
        )
        .into());
    };
    let signs_from = Timestamp::now().checked_add(SIGNS_AFTER)?;
    out.show(&json!({"id": id, "signs_from": signs_from}), || {
        format!("key {id} signs from {} on, when every daemon knows it", time(signs_from))
    })?;
    if !out.json {
        tell("Back up the store: a copy from before does not know this key, nor what it will sign.");
    }
    Ok(Exit::Done)
}

async fn retire(session: &Session, id: u8, yes: bool, out: Output) -> Result<Exit, Failure> {
    let keys = session.store.tracking_keys().await?;
    let retired = match retirement(id, &keys) {
        Retirement::Done if !yes => {
            return Err(
                anyhow!("{} `campaignd keys retire {id} --yes` does it", what_breaks(id, &keys)).into()
            );
        }
        Retirement::Done => session.store.retire_tracking_key(id).await?,
        refused => refused,
    };
    let ending = match retired {
        Retirement::Done => Ending::Done,
        Retirement::Missing => Ending::NotFound,
        Retirement::Repeated | Retirement::Needed | Retirement::TooEarly => Ending::Refused,
    };
    session.note(deed(Action::KeyRetired, ending).subject(subject(id))).await;
    let refusal = match retired {
        Retirement::Done => {
            out.show(&json!({"id": id, "state": Stage::Retired}), || {
                format!("key {id}: retired; daemons know within seconds")
            })?;
            return Ok(Exit::Done);
        }
        Retirement::Missing => format!("there is no key {id}; `campaignd keys list` shows them"),
        Retirement::Repeated => format!("key {id} is retired already"),
        Retirement::Needed => format!(
            "key {id} is the one that signs, or soon will be: `campaignd keys rotate`, and retire it two minutes later"
        ),
        Retirement::TooEarly => {
            format!("daemons may have signed with key {id} a moment ago: try again in a minute")
        }
    };
    Err(anyhow!(refusal).into())
}

fn subject(id: u8) -> String {
    format!("key {id}")
}

/// What stops working where a key is retired.
fn what_breaks(id: u8, keys: &[TrackingKey]) -> String {
    let until = keys
        .iter()
        .filter(|key| keys.iter().any(|own| own.id == id && key.age < own.age))
        .map(|next| next.created_at.saturating_add(SIGNS_AFTER))
        .filter_map(Result::ok)
        .min();
    format!(
        "messages that were signed with key {id}, until {}, would have no working links: clicks are answered with 404, \
         nobody can unsubscribe by them, opens and bounces are not recorded, and there is no way back. Law or mailbox \
         providers may ask for working unsubscribe links for a time (in the United States 30 days, 15 U.S.C. 7704(a)(3)).",
        maybe_time(until)
    )
}
