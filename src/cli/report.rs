//! `report`: a campaign in numbers, the same as the HTTP API's.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::campaigns;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::session::Session;
use crate::report;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd report spring-sale-2026
  campaignd report spring-sale-2026 --format csv > spring-sale.csv
  campaignd report spring-sale-2026 --format json | jq .rates.click.value")]
pub(super) struct Arguments {
    /// The campaign's id
    campaign: String,
    /// `json` is what `--json` asks for
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub(super) async fn report(config: &Path, arguments: &Arguments, out: Output) -> Result<Exit, Failure> {
    let id = &arguments.campaign;
    let session = Session::open(config).await?;
    let found = report::load(&*session.store, id).await?;
    let report = found.ok_or_else(|| campaigns::unknown(id))?;
    match arguments.format {
        Format::Csv => out.text(&report.csv())?,
        Format::Json => out.json(&report)?,
        Format::Table => out.show(&report, || report.table())?,
    }
    Ok(Exit::Done)
}
