//! `audit`: who did what.

use std::path::Path;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::exit::{Exit, Failure};
use super::output::{Output, table, time};
use super::session::Session;
use crate::model::filter::Span;
use crate::store::audit::{AuditQuery, AuditRecord};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd audit
  campaignd audit --since 7d
  campaignd audit --since 2026-04-01T00:00:00Z --limit 1000 --json
  campaignd audit --contact C-0001          # also after C-0001 was erased")]
pub(super) struct Arguments {
    /// A span back from now, as `7d`, or an instant in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// What was done about this contact, by external id
    #[arg(long, value_name = "ID")]
    contact: Option<String>,
    /// At most this many, the newest
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let span: Span = text.parse().map_err(|_| {
        format!("`{text}` is neither a span, as `7d`, nor an instant, as `2026-04-01T00:00:00Z`")
    })?;
    Timestamp::now().checked_sub(SignedDuration::from_secs(span.0)).map_err(|error| error.to_string())
}

pub(super) async fn audit(config: &Path, arguments: Arguments, out: Output) -> Result<Exit, Failure> {
    let Arguments { since, contact, limit } = arguments;
    let query = AuditQuery { since, contact, before: None, limit };
    let log = Session::open(config).await?.store.audit_log(&query).await?;
    out.show(&log, || text(&log))?;
    Ok(Exit::Done)
}

fn text(log: &[AuditRecord]) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    table(
        ["AT", "WHO", "ACTION", "SUBJECT", "CONTACT", "ENDING", "DETAIL"],
        log.iter().map(|record| {
            [
                time(record.at),
                record.who.clone(),
                record.action.clone(),
                or_dash(&record.subject),
                or_dash(&record.contact),
                record.ending.clone(),
                or_dash(&record.detail),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_span_or_an_instant() {
        let then = since("7d").unwrap();
        let week = Timestamp::now().duration_since(then);
        assert!(week >= SignedDuration::from_hours(168) && week < SignedDuration::from_hours(169));
        assert_eq!(since("2026-04-01T00:00:00Z").unwrap().to_string(), "2026-04-01T00:00:00Z");
        assert!(since("yesterday").unwrap_err().contains("7d"));
    }
}
