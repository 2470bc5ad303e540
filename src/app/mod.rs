//! The daemon: builds the parts, starts them in order, drains them in order. The only one that knows all.

mod accept;
mod bounces;
mod daemon;
mod door;
mod hooks;
mod keys;
mod lanes;
mod listeners;
mod observers;
mod outbox;
mod parts;
mod receipts;
mod rules;
mod tracking;
mod watches;

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::clock::Clock;
use crate::config::{Config, StoreKind};
use crate::store::Store;
use crate::store::postgres::PgStore;
use crate::store::sqlite::SqliteStore;

pub use daemon::run;
pub(crate) use keys::keyring;
pub use lanes::account;
pub use listeners::Listening;
pub use receipts::{ReceiptBook, file_parked, write_receipts};
pub use rules::templates;

/// The configured store; connects when it is first asked for something.
///
/// # Errors
/// When its URL cannot be used.
pub fn open_store(config: &Config) -> Result<Arc<dyn Store>> {
    match &config.store.kind {
        StoreKind::Postgres(url) => {
            let store = PgStore::at(url, config.store.connections).context("store.url")?;
            Ok(Arc::new(store))
        }
        StoreKind::Sqlite(file) => {
            Ok(Arc::new(SqliteStore::open(file, Clock::system()).context("store.url")?))
        }
    }
}
