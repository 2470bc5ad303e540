//! `run`: the daemon. Whatever `check` finds ends it before anything starts.

use std::path::Path;

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use super::check;
use super::exit::{Exit, Failure, tell};
use crate::app::{self, Listening};
use crate::config::LogFormat;
use crate::telemetry::logs;

pub(super) async fn run(path: &Path) -> Result<Exit, Failure> {
    let checked = check::examine(path);
    let Some(config) = checked.config.filter(|_| checked.problems.is_empty()) else {
        return Err(Failure::usage(anyhow!(checked.problems.join("\n"))));
    };
    let format = match config.log.format {
        LogFormat::Plain => logs::Format::Plain,
        LogFormat::Json => logs::Format::Json,
    };
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log.level.clone());
    // The AMQP client logs whole message bodies, addresses included; what ends a session we log ourselves.
    logs::start(format, &format!("{level},lapin=off")).map_err(Failure::usage)?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let store = app::open_store(&config)?;
    let by_amqp = config.amqp.is_some();
    let announced = move |listening| {
        // Lines for people would break a log for machines, which has the addresses in its own lines.
        if format == logs::Format::Plain {
            tell(&announcement(listening, by_amqp));
        }
    };
    app::run(config, path.to_owned(), store, CancellationToken::new(), announced).await?;
    Ok(Exit::Done)
}

/// Where everything is, for somebody who has just started the daemon.
fn announcement(Listening { public, admin }: Listening, by_amqp: bool) -> String {
    let amqp = if by_amqp { "RabbitMQ, " } else { "" };
    format!(
        "\n  pages    http://{admin}/\n  public   http://{public}  (opens, clicks, unsubscribes, receipts)\n  \
         jobs     {amqp}POST http://{admin}/v1/jobs, or `campaignd enqueue FILE`\n  stop     Ctrl-C\n"
    )
}
