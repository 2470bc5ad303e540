//! `suppress`: addresses that get nothing, whoever owns them, also after an erasure.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::json;

use super::enqueue::open;
use super::exit::{Exit, Failure, tell};
use super::operator::{deed, ending};
use super::output::{Output, table, time};
use super::records::Input;
use super::session::Session;
use crate::model::audit::{Action, Ending};
use crate::model::{Channel, address};
use crate::store::contacts::Suppression;

/// Entries of one transaction.
const BATCH: usize = 2_000;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  campaignd suppress add anna@example.com --reason \"asked by phone\"
  campaignd suppress add oABC123 --channel wechat
  campaignd suppress import bounced.csv
  campaignd suppress list
  campaignd suppress remove anna@example.com")]
pub(super) enum Command {
    /// Suppress addresses
    #[command(after_help = "Example:\n  campaignd suppress add anna@example.com --reason \"asked by phone\"")]
    Add {
        #[command(flatten)]
        addresses: Addresses,
        /// Kept with the entry
        #[arg(long, default_value = "by hand", value_name = "TEXT")]
        reason: String,
    },
    /// Lift the suppression of addresses
    #[command(after_help = "Example:\n  campaignd suppress remove anna@example.com")]
    Remove {
        #[command(flatten)]
        addresses: Addresses,
    },
    /// What is suppressed, the newest first; only hashes are kept, so an address shows where a contact has it
    #[command(after_help = "Example:\n  campaignd --json suppress list --limit 1000")]
    List {
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
    /// Suppress every address of a file: the first column of a CSV file, or one a line
    #[command(after_help = "Example:\n  campaignd suppress import bounced.csv")]
    Import {
        file: PathBuf,
        #[command(flatten)]
        channel: OnChannel,
    },
}

#[derive(Debug, Args)]
pub(super) struct Addresses {
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    #[command(flatten)]
    channel: OnChannel,
}

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct OnChannel {
    /// email, sms, wechat or push; an address with `@` is email, one with `+` sms
    #[arg(long)]
    channel: Option<Channel>,
}

impl OnChannel {
    /// The canonical address and its channel.
    ///
    /// # Errors
    /// Why the text is none; it is not repeated.
    fn read(self, text: &str) -> Result<(Channel, String), String> {
        let channel = match self.channel {
            Some(channel) => channel,
            None if text.contains('@') => Channel::Email,
            None if text.trim_start().starts_with('+') => Channel::Sms,
            None => {
                return Err("neither an e-mail address nor a phone number; --channel says what it is".into());
            }
        };
        let address = address::canonical(channel, text).map_err(|error| error.to_string())?;
        Ok((channel, address))
    }
}

impl Addresses {
    fn read(&self) -> Result<Vec<(Channel, String)>, Failure> {
        let read = self.addresses.iter().enumerate().map(|(index, text)| {
            let problem = |problem| Failure::usage(anyhow!("address {}: {problem}", index + 1));
            self.channel.read(text).map_err(problem)
        });
        read.collect()
    }
}

pub(super) async fn execute(config: &Path, command: Command, out: Output) -> Result<Exit, Failure> {
    match command {
        Command::Add { addresses, reason } => add(config, &addresses, &reason, out).await,
        Command::Remove { addresses } => remove(config, &addresses, out).await,
        Command::List { limit } => list(config, limit, out).await,
        Command::Import { file, channel } => import(config, &file, channel, out).await,
    }
}

async fn add(config: &Path, addresses: &Addresses, reason: &str, out: Output) -> Result<Exit, Failure> {
    let entry = |(channel, address)| Suppression { channel, address, reason: reason.to_owned() };
    let entries: Vec<Suppression> = addresses.read()?.into_iter().map(entry).collect();
    let session = Session::open(config).await?;
    let new = session.store.suppress(&entries).await?;
    session.note(deed(Action::SuppressionAdded, Ending::Done).detail(format!("{new} new"))).await;
    out.show(&json!({"new": new, "known": entries.len() as u64 - new}), || {
        format!("{} suppressed, {} already were", new, entries.len() as u64 - new)
    })?;
    Ok(Exit::Done)
}

async fn remove(config: &Path, addresses: &Addresses, out: Output) -> Result<Exit, Failure> {
    let addresses = addresses.read()?;
    let session = Session::open(config).await?;
    let mut removed = 0_usize;
    for (channel, address) in &addresses {
        removed += usize::from(session.store.unsuppress(*channel, address).await?);
    }
    let ending = ending(removed > 0);
    session.note(deed(Action::SuppressionRemoved, ending).detail(format!("{removed} removed"))).await;
    let missing = addresses.len() - removed;
    out.show(&json!({"removed": removed, "not_suppressed": missing}), || {
        format!("{removed} removed, {missing} were not suppressed")
    })?;
    Ok(if missing == 0 { Exit::Done } else { Exit::Failed })
}

async fn list(config: &Path, limit: u32, out: Output) -> Result<Exit, Failure> {
    let entries = Session::open(config).await?.store.suppressions(limit).await?;
    out.show(&entries, || {
        table(
            ["CHANNEL", "SINCE", "ADDRESS", "HASH", "REASON"],
            entries.iter().map(|entry| {
                [
                    entry.channel.to_string(),
                    time(entry.created_at),
                    entry.address.clone().unwrap_or_else(|| "-".to_owned()),
                    entry.hash.clone(),
                    entry.reason.clone(),
                ]
            }),
        )
    })?;
    Ok(Exit::Done)
}

async fn import(config: &Path, file: &Path, channel: OnChannel, out: Output) -> Result<Exit, Failure> {
    let name = || file.display().to_string();
    let mut input = Input::new(open(file)?).with_context(name)?;
    let session = Session::open(config).await?;
    let reason = format!("import {}", file.display());
    let (mut read, mut new, mut skipped) = (0_u64, 0, 0_u64);
    let mut entries = Vec::new();
    while let Some(record) = input.record().with_context(name)? {
        let text = record.fields.map_err(str::to_owned).and_then(first_column);
        if record.line == 1 && text.as_deref().is_ok_and(is_header) {
            continue;
        }
        match text.and_then(|text| channel.read(&text)) {
            Ok((channel, address)) => {
                read += 1;
                entries.push(Suppression { channel, address, reason: reason.clone() });
            }
            Err(problem) => {
                skipped += 1;
                tell(&format!("line {}: {problem}", record.line));
            }
        }
        if entries.len() == BATCH {
            new += session.store.suppress(&entries).await?;
            entries.clear();
        }
    }
    new += session.store.suppress(&entries).await?;
    session.note(deed(Action::SuppressionAdded, Ending::Done).detail(format!("{new} new, {reason}"))).await;
    out.show(&json!({"new": new, "known": read - new, "skipped": skipped}), || {
        format!("{new} suppressed, {} already were, {skipped} skipped", read - new)
    })?;
    Ok(if skipped == 0 { Exit::Done } else { Exit::Input })
}

fn first_column(fields: Vec<Vec<u8>>) -> Result<String, String> {
    let first = fields.into_iter().next().unwrap_or_default();
    String::from_utf8(first).map_err(|_| "is not UTF-8".to_owned())
}

/// A name over the column, as tools that export such lists write it.
fn is_header(text: &str) -> bool {
    let name = text.trim().to_ascii_lowercase();
    ["address", "email", "e-mail", "email address", "phone"].contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_its_channel_or_is_told_it() {
        let guess = OnChannel { channel: None };
        assert_eq!(guess.read(" Anna@Example.com").unwrap(), (Channel::Email, "anna@example.com".into()));
        assert_eq!(guess.read("+86 138 0013 8000").unwrap(), (Channel::Sms, "+8613800138000".into()));
        assert!(guess.read("oABC").unwrap_err().contains("--channel"));
        let wechat = OnChannel { channel: Some(Channel::Wechat) };
        assert_eq!(wechat.read("oABC").unwrap(), (Channel::Wechat, "oABC".into()));
        assert!(!guess.read("anna@nowhere").unwrap_err().contains("anna"));
    }
}
