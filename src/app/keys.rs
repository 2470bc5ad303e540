//! The keys of tracking tokens in this daemon, as the store has them. While the store is away the last reading counts:
//! then nothing is sent either, and what was sent before goes on working.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;
use tracing::info;

use crate::lifecycle::Shutdown;
use crate::store::{Error, Store};
use crate::token::Keyring;

/// How often the keys are read: often enough that every daemon knows a key long before the first one signs with it.
const READ: Duration = Duration::from_secs(10);

/// # Errors
/// When the store does not answer.
pub(crate) async fn keyring(store: &dyn Store) -> Result<Keyring> {
    let keys = store.tracking_keys().await.context("the keys of tracking tokens")?;
    Keyring::of(&keys).context("the store has no key for tracking tokens")
}

/// Keeps the ring as the store has it.
///
/// # Errors
/// When the store refuses.
pub(super) async fn follow(store: Arc<dyn Store>, ring: Arc<Keyring>, part: Shutdown) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = part.asked() => return Ok(()),
            () = sleep(READ) => {}
        }
        match store.tracking_keys().await {
            Ok(keys) => {
                if let Some(id) = ring.replace(&keys) {
                    info!("tracking key {id} signs from now on");
                }
            }
            // The store's own watch tells that it is away.
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
    }
}
