//! Receipts of all providers into the store, in groups.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{error, warn};

use crate::lifecycle::Shutdown;
use crate::model::Receipt;
use crate::store::Store;

/// Receipts in one transaction, at most.
const GROUP: usize = 500;
/// How long receipts wait before the store is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Writes what comes until the part is asked to end and nothing waits.
pub(super) async fn write_receipts(
    mut waiting: mpsc::Receiver<Receipt>,
    store: Arc<dyn Store>,
    publish: bool,
    part: Shutdown,
) {
    let mut group = Vec::with_capacity(GROUP);
    loop {
        tokio::select! {
            biased;
            n = waiting.recv_many(&mut group, GROUP), if !(waiting.is_closed() && waiting.is_empty()) => if n == 0 { continue },
            () = part.asked() => return,
        }
        let _activity = part.activity(format!("{} receipts", group.len()));
        while let Err(error) = write(&*store, &group, publish).await {
            warn!(error = &error as &dyn std::error::Error, "receipts wait for the store");
            sleep(AGAIN).await;
        }
        group.clear();
    }
}

/// A group that the store refuses is taken apart, so that one bad receipt does not hold the others up.
async fn write(store: &dyn Store, receipts: &[Receipt], publish: bool) -> crate::store::Result<()> {
    match store.record_receipts(receipts, publish).await {
        Err(error) if !error.is_transient() && receipts.len() > 1 => {
            for receipt in receipts {
                Box::pin(write(store, std::slice::from_ref(receipt), publish)).await?;
            }
            Ok(())
        }
        Err(error) if !error.is_transient() => {
            error!(error = &error as &dyn std::error::Error, "a receipt cannot be recorded");
            Ok(())
        }
        other => other.map(drop),
    }
}
