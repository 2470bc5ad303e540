//! `check`: everything that is wrong with the configuration, the accounts and the templates, in one reading.
//! Connects to nothing. What it finds keeps `run` from starting, too.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit::{Exit, Failure, tell};
use super::output::{Output, counted};
use super::warn;
use crate::amqp::Broker;
use crate::app;
use crate::config::{self, Config, StoreKind};
use crate::provider::Receipts;
use crate::store::postgres::PgStore;

/// What a configuration and its templates are made of, or all that is wrong with them, a line each.
pub(super) struct Checked {
    pub(super) config: Option<Config>,
    pub(super) templates: usize,
    pub(super) warnings: Vec<String>,
    pub(super) problems: Vec<String>,
}

pub(super) fn check(path: &Path, out: Output) -> Result<Exit, Failure> {
    let checked = examine(path);
    let good = checked.problems.is_empty();
    if out.json {
        out.json(&json!({"ok": good, "problems": checked.problems, "warnings": checked.warnings}))?;
    } else {
        checked.warnings.iter().for_each(|warning| warn(warning));
        checked.problems.iter().for_each(|problem| tell(&format!("error: {problem}")));
    }
    if !good {
        return Ok(Exit::Usage);
    }
    if !out.json {
        let templates = counted(checked.templates as u64, "template");
        out.text(&format!("{} and {templates}: nothing is wrong", path.display()))?;
    }
    Ok(Exit::Done)
}

/// Reads the configuration at `path` and the templates that it names.
pub(super) fn examine(path: &Path) -> Checked {
    let mut checked = Checked { config: None, templates: 0, warnings: Vec::new(), problems: Vec::new() };
    let dir = match Config::load(path, &config::environment()) {
        Ok(config) => {
            checked.warnings = config.warnings();
            let (receipts, _) = Receipts::new(1);
            for provider in config.providers.values() {
                if let Err(error) = app::account(provider, &config.http.public_url, &receipts, None) {
                    checked.problems.push(format!("{}: {error:#}", path.display()));
                }
            }
            checked
                .problems
                .extend(unusable(&config).map(|problem| format!("{}: {problem}", path.display())));
            let dir = config.templates.dir.clone();
            checked.config = Some(config);
            dir
        }
        Err(problems) => {
            checked.problems.extend(problems.0.iter().map(ToString::to_string));
            match likely_templates(path) {
                Some(dir) => dir,
                None => return checked,
            }
        }
    };
    match app::templates(&dir, checked.config.as_ref()) {
        Ok(templates) => {
            checked.templates = templates.registry.names().count();
            let refused = |problem| format!("{problem}; jobs of marketing with this template are refused");
            checked.warnings.extend(templates.no_marketing.iter().map(refused));
        }
        Err(problems) => checked.problems.extend(problems.iter().map(ToString::to_string)),
    }
    checked
}

/// Services around the daemon that cannot be reached as they are configured, as far as that shows without connecting.
fn unusable(config: &Config) -> impl Iterator<Item = String> {
    let store = match &config.store.kind {
        StoreKind::Postgres(url) => PgStore::at(url, 1).err().map(|error| told("store.url", error)),
        StoreKind::Sqlite(_) => None,
    };
    let broker = config.amqp.as_ref().and_then(|amqp| Broker::new(amqp.url.reveal(), &amqp.tls).err());
    store.into_iter().chain(broker.map(|error| told("amqp", error)))
}

fn told(key: &str, error: impl Into<anyhow::Error>) -> String {
    format!("{key}: {:#}", error.into())
}

/// Where a configuration that is wrong elsewhere has its templates, so that theirs are found at the same time.
fn likely_templates(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    let text = std::fs::read_to_string(path).ok()?;
    let named = text.parse::<toml::Table>().ok().and_then(|table| {
        let dir = table.get("templates")?.get("dir")?.as_str()?;
        Some(folder.join(dir))
    });
    Some(named.unwrap_or_else(|| folder.join("templates"))).filter(|dir| dir.is_dir())
}
