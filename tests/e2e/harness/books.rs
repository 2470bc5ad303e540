//! The ledger as the store itself tells it, read beside the daemon by a client of our own.

use std::collections::BTreeMap;
use std::sync::Arc;

use campaignd::clock::Clock;
use campaignd::model::{CampaignStatus, Reason, State};
use campaignd::report::{self, Report};
use campaignd::store::Store;
use campaignd::store::postgres::PgStore;
use campaignd::store::reports::{DeliveryQuery, DeliveryRecord, Explanation};
use campaignd::store::sqlite::SqliteStore;

use crate::services::wait::eventually;

/// What became of each contact, or how many there are of it: `accepted`, `excluded/no_consent`, ...
pub type Fates = BTreeMap<String, String>;
pub type Tally = BTreeMap<String, i64>;

#[derive(Debug)]
pub struct Books {
    pub store: Arc<dyn Store>,
}

impl Books {
    pub fn of(store_url: &str) -> Books {
        let store: Arc<dyn Store> = match store_url.strip_prefix("sqlite:") {
            Some(file) => {
                Arc::new(SqliteStore::open(file.as_ref(), Clock::system()).expect("a store's file"))
            }
            None => Arc::new(PgStore::new(store_url, 2).expect("a store's URL")),
        };
        Books { store }
    }

    pub async fn status(&self, campaign: &str) -> Option<CampaignStatus> {
        self.store.campaign(campaign).await.expect("the store").map(|campaign| campaign.status)
    }

    /// Waits until a campaign has this status.
    pub async fn until(&self, campaign: &str, status: CampaignStatus) {
        eventually(&format!("{campaign}: {status}"), async || {
            (self.status(campaign).await == Some(status)).then_some(())
        })
        .await;
    }

    /// Waits for the campaign's end, as long as it goes on, and checks the law of the ledger.
    pub async fn finished(&self, campaign: &str) -> Fates {
        self.ended(campaign, CampaignStatus::Finished).await;
        self.settled(campaign).await
    }

    /// The same for a campaign that was cancelled.
    pub async fn cancelled(&self, campaign: &str) -> Fates {
        self.ended(campaign, CampaignStatus::Cancelled).await;
        self.settled(campaign).await
    }

    /// Waits for the campaign's end, as long as it goes on. Receipts may still come and move what it sent.
    pub async fn ended(&self, campaign: &str, status: CampaignStatus) {
        let mut settled = None;
        loop {
            let (now, ended) = eventually(&format!("{campaign} goes on"), async || {
                let record = self.store.campaign(campaign).await.ok()??;
                let ended = record.status == status && record.finished_at.is_some();
                (ended || settled != Some(record.settled)).then_some((record.settled, ended))
            })
            .await;
            settled = Some(now);
            if ended {
                return;
            }
        }
    }

    async fn settled(&self, campaign: &str) -> Fates {
        self.assert_balanced(campaign).await;
        let fates = self.fates(campaign).await;
        assert!(fates.values().all(|fate| fate != "planned"), "{fates:?}");
        fates
    }

    /// Counters and rows say the same, and every final state that needs one has a reason.
    pub async fn assert_balanced(&self, campaign: &str) {
        let report = self.report(campaign).await;
        assert_eq!(report.targeted, report.states.values().sum::<i64>());
        let counted = self.store.counts(campaign).await.expect("the store").expect("a campaign").states;
        let counted = tally(counted.into_iter().filter(|(_, _, n)| *n != 0));
        let rows = tally(self.store.count_rows(campaign).await.expect("the store"));
        assert_eq!(counted, rows, "counters and rows of {campaign}");
        for row in self.deliveries(campaign).await {
            let wants_reason = !matches!(row.state, State::Planned | State::Accepted | State::Delivered);
            assert_eq!(row.reason.is_some(), wants_reason, "{row:?}");
        }
    }

    pub async fn tally(&self, campaign: &str) -> Tally {
        tally(self.store.count_rows(campaign).await.expect("the store"))
    }

    /// By external id; a second row of the same contact is named `ID#2`, and so on.
    pub async fn fates(&self, campaign: &str) -> Fates {
        let mut fates = Fates::new();
        for row in self.deliveries(campaign).await {
            let id = row.external_id.unwrap_or_else(|| "erased".to_owned());
            let key = (1..).map(|n| if n == 1 { id.clone() } else { format!("{id}#{n}") });
            let free = key.into_iter().find(|key| !fates.contains_key(key)).expect("there are many numbers");
            fates.insert(free, name(row.state, row.reason));
        }
        fates
    }

    pub async fn deliveries(&self, campaign: &str) -> Vec<DeliveryRecord> {
        let mut all = Vec::new();
        let mut query = DeliveryQuery { limit: 10_000, ..DeliveryQuery::default() };
        loop {
            let page = self.store.deliveries(campaign, &query).await.expect("the store");
            let Some(last) = page.last() else { return all };
            query.after = Some(last.cursor);
            all.extend(page);
        }
    }

    pub async fn explain(&self, campaign: &str, contact: &str) -> Explanation {
        let rows = self.store.explain(campaign, contact).await.expect("the store");
        rows.into_iter().next().unwrap_or_else(|| panic!("{contact} is not in {campaign}"))
    }

    pub async fn report(&self, campaign: &str) -> Report {
        let report = report::load(&*self.store, campaign).await.expect("the store");
        report.unwrap_or_else(|| panic!("there is no campaign {campaign}"))
    }

    pub async fn contact(&self, external_id: &str) -> campaignd::store::contacts::ContactRecord {
        self.store.contact(external_id).await.expect("the store").expect("a contact")
    }
}

fn name(state: State, reason: Option<Reason>) -> String {
    match reason {
        Some(reason) => format!("{state}/{reason}"),
        None => state.to_string(),
    }
}

fn tally(counts: impl IntoIterator<Item = (State, Option<Reason>, i64)>) -> Tally {
    counts.into_iter().map(|(state, reason, n)| (name(state, reason), n)).collect()
}
