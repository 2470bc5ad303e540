//! Receipts of all providers into the store, in groups, whichever way they come.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};
use uuid::Uuid;

use crate::lifecycle::Shutdown;
use crate::model::Receipt;
use crate::model::receipt::About;
use crate::store::receipts::Filed;
use crate::store::{Error, Result, Store};
use crate::telemetry::{Metrics, Outage};

/// Receipts in one transaction, at most.
pub(super) const GROUP: usize = 500;
/// How long receipts wait before the store is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long references are kept: no provider is known to tell of a message after so long.
const KEPT: SignedDuration = SignedDuration::from_hours(14 * 24);
const PRUNE: Duration = Duration::from_secs(60);

/// Where receipts become durable, and are counted.
#[derive(Debug, Clone)]
pub struct ReceiptBook {
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
    /// Whether events go out to a broker.
    pub publish: bool,
}

impl ReceiptBook {
    /// Writes a group in one transaction. One that the store refuses is taken apart, so that one bad receipt does not
    /// hold the others up.
    ///
    /// # Errors
    /// The store is away; whatever was written by then does no harm when it is written again.
    pub(super) async fn write(&self, receipts: &[Receipt]) -> Result<()> {
        match self.resolve(receipts).await {
            Ok(known) => return self.record(&known).await,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) if receipts.len() == 1 => refused(&error),
            Err(_) => {
                for receipt in receipts {
                    Box::pin(self.write(std::slice::from_ref(receipt))).await?;
                }
            }
        }
        Ok(())
    }

    /// The receipts with their deliveries; what is not known yet is parked.
    async fn resolve<'r>(&self, receipts: &'r [Receipt]) -> Result<Cow<'r, [Receipt]>> {
        let named = receipts.iter().filter_map(|receipt| match &receipt.about {
            About::Reference { provider, reference } => Some((provider.clone(), reference.clone())),
            _ => None,
        });
        let named: Vec<(String, String)> = named.collect();
        if named.is_empty() {
            return Ok(Cow::Borrowed(receipts));
        }
        let mut deliveries = self.store.referenced(&named).await?.into_iter();
        let (mut known, mut early) = (Vec::with_capacity(receipts.len()), Vec::new());
        for receipt in receipts {
            match &receipt.about {
                About::Reference { .. } => match deliveries.next().flatten() {
                    Some(delivery) => {
                        known.push(Receipt { about: About::Delivery(delivery), ..receipt.clone() })
                    }
                    None => early.push(receipt.clone()),
                },
                _ => known.push(receipt.clone()),
            }
        }
        if !early.is_empty() {
            self.store.park(&early).await?;
            self.metrics.receipts.with_label_values(&["", "parked"]).inc_by(early.len() as u64);
        }
        Ok(Cow::Owned(known))
    }

    /// Records parked receipts whose deliveries are known by now. Returns how many there were.
    async fn record_parked(&self) -> Result<usize> {
        let receipts = self.store.parked(u32::try_from(GROUP).unwrap_or(u32::MAX)).await?;
        if receipts.is_empty() {
            return Ok(0);
        }
        self.record(&receipts).await?;
        let ids: Vec<Uuid> = receipts.iter().map(|receipt| receipt.id).collect();
        self.store.unpark(&ids).await?;
        Ok(receipts.len())
    }

    async fn record(&self, receipts: &[Receipt]) -> Result<()> {
        let timer = self.metrics.store_query_duration.with_label_values(&["receipts"]).start_timer();
        match self.store.record_receipts(receipts, self.publish).await {
            Ok(filed) => {
                timer.observe_duration();
                self.count(receipts, &filed);
                return Ok(());
            }
            Err(error) if error.is_transient() => return Err(error),
            Err(error) if receipts.len() == 1 => refused(&error),
            Err(_) => {
                for receipt in receipts {
                    Box::pin(self.record(std::slice::from_ref(receipt))).await?;
                }
            }
        }
        Ok(())
    }

    fn count(&self, receipts: &[Receipt], filed: &[Filed]) {
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (receipt, filed) in receipts.iter().zip(filed) {
            let labels = match filed {
                Filed::New { provider, delay } => {
                    if let Some(delay) = delay {
                        self.metrics.receipt_delay.observe(delay.as_secs_f64());
                    }
                    (provider.as_deref().unwrap_or_default(), receipt.news.as_str())
                }
                Filed::Repeated => ("", "repeated"),
                Filed::Stray => ("", "stray"),
            };
            *counts.entry(labels).or_default() += 1;
        }
        for ((provider, state), n) in counts {
            self.metrics.receipts.with_label_values(&[provider, state]).inc_by(n);
        }
    }
}

/// The store's words alone: what stands below them may quote the receipt.
fn refused(error: &Error) {
    error!("a receipt cannot be recorded: {error}");
}

/// Writes what comes until nobody is left who could bring any: providers go with their lanes, and bring what they still
/// know as they go.
pub async fn write_receipts(mut waiting: mpsc::Receiver<Receipt>, book: ReceiptBook, part: Shutdown) {
    let (mut group, outage) = (Vec::with_capacity(GROUP), Outage::new("receipts"));
    while waiting.recv_many(&mut group, GROUP).await > 0 {
        let _activity = part.activity(format!("{} receipts", group.len()));
        while let Err(error) = book.write(&group).await {
            outage.goes_on(&error);
            sleep(AGAIN).await;
        }
        outage.ends();
        group.clear();
    }
    part.asked().await;
}

/// Files what was parked as soon as it is known whose it is, and forgets what is too old, until the part is asked to end.
pub async fn file_parked(book: ReceiptBook, part: Shutdown) {
    let (mut pruned, outage) = (Instant::now(), Outage::new("parked receipts"));
    while !part.is_asked() {
        match book.record_parked().await {
            Ok(GROUP) => continue,
            Ok(_) => outage.ends(),
            Err(error) => outage.goes_on(&error),
        }
        if pruned.elapsed() >= PRUNE {
            pruned = Instant::now();
            if let Err(error) = book.store.forget_references(KEPT).await {
                warn!(error = &error as &dyn std::error::Error, "old references are forgotten later");
            }
        }
        tokio::select! {
            () = part.asked() => {}
            () = sleep(AGAIN) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::receipt::News;
    use crate::model::{CampaignNo, ContactNo, DeliveryKey};
    use crate::provider::Receipts;
    use crate::store::Admin;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn what_providers_bring_as_they_go_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(
            SqliteStore::open(&folder.path().join("campaignd.db"), crate::clock::Clock::system()).unwrap(),
        );
        store.migrate().await.unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let book = ReceiptBook { store, metrics: metrics.clone(), publish: false };
        let part = Shutdown::new("tracking");
        let (receipts, waiting) = Receipts::new(10);
        let writer = tokio::spawn(write_receipts(waiting, book, part.clone()));
        part.ask();
        for contact in 0..3 {
            let delivery =
                DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(contact), occurrence: 0 };
            let id = Receipt::id("sandbox", &delivery.to_string(), "delivered");
            let about = About::Delivery(delivery);
            let receipt =
                Receipt { id, about, at: jiff::Timestamp::now(), news: News::Delivered, detail: None };
            assert!(receipts.bring(receipt).await, "somebody reads");
        }
        drop(receipts);
        writer.await.unwrap();
        assert_eq!(metrics.receipts.with_label_values(&["", "stray"]).get(), 3);
    }
}
