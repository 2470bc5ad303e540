//! `dead`: the dead-letter queue, looked at, sent back, thrown away.

use std::path::Path;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use super::exit::{Exit, Failure, tell};
use super::operator::{deed, ending};
use super::output::{Output, counted, table};
use super::session::{Session, broker, configuration};
use crate::amqp::Topology;
use crate::amqp::dead::{self, Handled, Listing, Pick};
use crate::model::audit::Action;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  campaignd dead list
  campaignd dead retry 0199b0f6-2c1e-7d3a-9a55-2f7d6f0f8c11
  campaignd dead drop --all")]
pub(super) enum Command {
    /// What is there, and why
    #[command(after_help = "Example:\n  campaignd dead list --limit 10")]
    List {
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Send letters back to the queues that they came from
    #[command(after_help = "Example:\n  campaignd dead retry 0199b0f6-2c1e-7d3a-9a55-2f7d6f0f8c11")]
    Retry(Letters),
    /// Throw letters away for good
    #[command(after_help = "Example:\n  campaignd dead drop --all")]
    Drop(Letters),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Letters {
    /// Ids as `dead list` shows them
    ids: Vec<String>,
    /// Every letter
    #[arg(long)]
    all: bool,
}

impl Letters {
    fn pick(&self) -> Pick {
        if self.all { Pick::All } else { Pick::Ids(self.ids.clone()) }
    }

    /// Those asked for by an id that no letter has.
    fn missing(&self, handled: &Handled) -> Vec<&str> {
        let kept = handled.kept.iter().map(|(letter, _)| letter);
        let seen: Vec<&str> = handled.done.iter().chain(kept).map(|letter| letter.id.as_str()).collect();
        self.ids.iter().map(String::as_str).filter(|id| !seen.contains(id)).collect()
    }
}

pub(super) async fn execute(path: &Path, command: Command, out: Output) -> Result<Exit, Failure> {
    let broker = broker(&configuration(path)?)?;
    let topology = Topology::default();
    match command {
        Command::List { limit } => {
            let listing = dead::list(&broker, &topology, limit).await?;
            out.show(&listing, || list(&listing))?;
            Ok(Exit::Done)
        }
        Command::Retry(letters) => {
            let handled = dead::retry(&broker, &topology, &letters.pick()).await?;
            note(path, Action::DeadRetried, &handled).await?;
            settle(&handled, &letters, "sent back", out)
        }
        Command::Drop(letters) => {
            let handled = dead::discard(&broker, &topology, &letters.pick()).await?;
            note(path, Action::DeadDropped, &handled).await?;
            settle(&handled, &letters, "dropped", out)
        }
    }
}

/// The queue needs no store; the audit log does.
async fn note(path: &Path, action: Action, handled: &Handled) -> Result<(), Failure> {
    let ids: Vec<&str> = handled.done.iter().map(|letter| letter.id.as_str()).collect();
    let deed = deed(action, ending(!ids.is_empty())).subject(ids.join(" "));
    let count = counted(ids.len() as u64, "letter");
    Session::unchecked(path)?.note(deed.detail(count)).await;
    Ok(())
}

fn settle(handled: &Handled, letters: &Letters, done: &str, out: Output) -> Result<Exit, Failure> {
    out.show(handled, || format!("{} {done}", counted(handled.done.len() as u64, "letter")))?;
    for (letter, reason) in &handled.kept {
        tell(&format!("{} stays: {reason}", letter.id));
    }
    let missing = letters.missing(handled);
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(anyhow!("no letter has the id {missing}; `campaignd dead list` shows them").into());
    }
    Ok(if handled.kept.is_empty() { Exit::Done } else { Exit::Failed })
}

fn list(listing: &Listing) -> String {
    if listing.letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut text = table(
        ["ID", "QUEUE", "TYPE", "JOB", "BYTES", "ERROR"],
        listing.letters.iter().map(|letter| {
            [
                letter.id.clone(),
                or_dash(&letter.queue),
                or_dash(&letter.kind),
                or_dash(&letter.job),
                letter.bytes.to_string(),
                letter.error.clone(),
            ]
        }),
    );
    if listing.letters.len() < listing.total as usize {
        text += &format!("\n{} of {} letters; --limit shows more", listing.letters.len(), listing.total);
    }
    text
}
