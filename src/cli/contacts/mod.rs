//! `contacts`: import, show, export, erase.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod import;
mod row;
mod show;

use std::path::Path;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};
use super::output::Output;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  campaignd contacts import people.csv --consent
  campaignd contacts show C-0001
  campaignd contacts show anna@example.com
  campaignd contacts export C-0001 > C-0001.json
  campaignd contacts erase C-0001")]
pub(super) enum Command {
    /// Read contacts from a CSV or NDJSON file
    Import(import::Arguments),
    /// One contact: attributes, addresses, consent, and what they did
    #[command(after_help = "Example:\n  campaignd contacts show anna@example.com")]
    Show(Contact),
    /// Everything known about a contact, as JSON
    #[command(after_help = "Example:\n  campaignd contacts export C-0001 > C-0001.json")]
    Export(Contact),
    /// Forget a contact; counts and suppressions stay
    #[command(after_help = "Example:\n  campaignd contacts erase C-0001")]
    Erase(Contact),
}

#[derive(Debug, Args)]
pub(super) struct Contact {
    /// The external id, or an address of theirs
    #[arg(value_name = "CONTACT")]
    id: String,
}

pub(super) async fn execute(config: &Path, command: Command, out: Output) -> Result<Exit, Failure> {
    match command {
        Command::Import(arguments) => import::import(config, &arguments, out).await,
        Command::Show(contact) => show::show(config, &contact.id, out).await,
        Command::Export(contact) => show::export(config, &contact.id, out).await,
        Command::Erase(contact) => show::erase(config, &contact.id, out).await,
    }
}
