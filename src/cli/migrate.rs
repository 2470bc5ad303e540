//! `migrate`: the store's schema.

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::output::Output;
use super::session::Session;

pub(super) async fn migrate(config: &Path, out: Output) -> Result<Exit, Failure> {
    let session = Session::unchecked(config)?;
    let (before, after) = session.store.migrate().await.with_context(|| session.place().to_owned())?;
    out.show(&json!({"before": before, "after": after}), || {
        if before == after {
            format!("{}: the schema has version {after} already", session.place())
        } else {
            format!("{}: the schema went from version {before} to {after}", session.place())
        }
    })?;
    Ok(Exit::Done)
}
