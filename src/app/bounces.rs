//! Bounces by mail, from their listener and their maildir into the store.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use tokio::net::TcpListener;

use super::listeners::bind_to;
use super::receipts::{GROUP, ReceiptBook};
use crate::bounce::{Book, Kind, Lmtp, Maildir, Reader, Unavailable};
use crate::config;
use crate::lifecycle::{Shutdown, Supervisor};
use crate::model::Receipt;
use crate::store::Error;
use crate::telemetry::Outage;
use crate::token::Keyring;

/// From one look into the maildir to the next.
const EVERY: Duration = Duration::from_secs(5);

/// # Errors
/// When the address cannot be had; the message names the key.
pub(super) async fn listen(settings: &config::Bounces) -> Result<Option<TcpListener>> {
    match settings.lmtp {
        Some(address) => bind_to("bounces.lmtp", "lmtp", address).await.map(Some),
        None => Ok(None),
    }
}

/// Starts what `settings` name, as activities of `part`.
pub(super) fn start(
    settings: &config::Bounces,
    listener: Option<TcpListener>,
    keyring: &Arc<Keyring>,
    book: ReceiptBook,
    supervisor: &Supervisor,
    part: &Shutdown,
) {
    let reader = Reader::new(keyring.clone(), settings.message_ids);
    let book: Arc<dyn Book> = Arc::new(Bounces { book, outage: Outage::new("bounces") });
    if let Some(listener) = listener {
        let (server, stop) = (Lmtp { reader: reader.clone(), book: book.clone() }, part.clone());
        supervisor.spawn("bounces.lmtp", part, async {
            server.run(listener, stop).await;
            Ok::<(), Error>(())
        });
    }
    if let Some(path) = settings.maildir.clone() {
        let (maildir, stop) = (Maildir { path, reader, book, every: EVERY }, part.clone());
        supervisor.spawn("bounces.maildir", part, async {
            maildir.run(stop).await;
            Ok::<(), Error>(())
        });
    }
}

#[derive(Debug)]
struct Bounces {
    book: ReceiptBook,
    outage: Outage,
}

#[async_trait]
impl Book for Bounces {
    async fn file(&self, receipts: Vec<Receipt>) -> Result<(), Unavailable> {
        for group in receipts.chunks(GROUP) {
            self.book.write(group).await.map_err(|error| {
                self.outage.goes_on(&error);
                Unavailable
            })?;
        }
        self.outage.ends();
        Ok(())
    }

    fn took(&self, kind: Kind) {
        self.book.metrics.returned_mails.with_label_values(&[kind.as_str()]).inc();
    }
}
