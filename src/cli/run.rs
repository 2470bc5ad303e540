//! `run`: the daemon. Whatever `check` finds ends it before anything starts.

use std::path::Path;

use anyhow::anyhow;

use super::check;
use super::exit::{Exit, Failure};
use crate::app;
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
    app::run(config, path.to_owned()).await?;
    Ok(Exit::Done)
}
