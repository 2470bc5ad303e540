//! Pause, resume and cancel: in effect within two seconds, and everyone is accounted for.

use std::collections::BTreeSet;

use campaignd::model::CampaignStatus;
use jiff::Timestamp;
use serde_json::json;

use crate::harness::mail::ClockSink;
use crate::harness::shop::{Shop, campaign, mailbox};
use crate::services::wait::eventually;

const PEOPLE: usize = 200;

/// A campaign that takes some seconds and has begun.
async fn begun() -> (ClockSink, Shop) {
    let clock = ClockSink::start(std::time::Duration::ZERO).await;
    let shop = Shop::with_clock(&clock, &[]).await;
    shop.people(PEOPLE).await;
    shop.submit(campaign("slow", json!({"rate": "40/s"}))).await;
    eventually("ten mails", async || (clock.arrivals().len() >= 10).then_some(())).await;
    (clock, shop)
}

fn now() -> f64 {
    Timestamp::now().as_nanosecond() as f64 / 1e9
}

/// Long enough after `moment` to see that nothing comes any more.
async fn well_after(moment: f64) {
    eventually("three seconds later", async || (now() > moment + 3.0).then_some(())).await;
}

#[tokio::test]
async fn a_paused_campaign_rests_until_it_is_resumed() {
    let (clock, shop) = begun().await;
    shop.control("c-1", "slow", "pause").await;
    let paused = now();
    shop.books.until("slow", CampaignStatus::Paused).await;
    well_after(paused).await;
    let resumed = now();
    shop.control("c-2", "slow", "resume").await;
    shop.books.until("slow", CampaignStatus::Running).await;

    let fates = shop.books.finished("slow").await;
    assert!(fates.len() == PEOPLE && fates.values().all(|fate| fate == "accepted"), "{fates:?}");
    let arrivals = clock.arrivals();
    let meanwhile = arrivals.iter().filter(|(at, _)| *at > paused + 2.0 && *at < resumed);
    assert_eq!(meanwhile.count(), 0, "mails of a paused campaign");
    let whom: BTreeSet<_> = arrivals.iter().map(|(_, to)| to).collect();
    assert_eq!((arrivals.len(), whom.len()), (PEOPLE, PEOPLE), "everyone once");
}

#[tokio::test]
async fn a_cancelled_campaign_ends_and_accounts_for_everyone() {
    let (clock, shop) = begun().await;
    shop.control("c-1", "slow", "cancel").await;
    let cancelled = now();
    let fates = shop.books.cancelled("slow").await;
    well_after(cancelled).await;
    let arrivals = clock.arrivals();
    assert!(arrivals.iter().all(|(at, _)| *at <= cancelled + 2.0), "mails of a cancelled campaign");
    assert_eq!(fates.len(), PEOPLE);
    let reached: BTreeSet<String> = arrivals.into_iter().map(|(_, to)| to).collect();
    for (id, fate) in fates {
        let expected =
            if reached.contains(&mailbox(&id)) { "accepted" } else { "cancelled/campaign_cancelled" };
        assert_eq!(fate, expected, "{id}");
    }
}

/// The messages that wait between the ledger and a slow server are stopped, too.
#[tokio::test]
async fn a_pause_reaches_what_waits_for_a_slow_server() {
    let clock = ClockSink::start(std::time::Duration::from_millis(100)).await;
    let shop = Shop::with_clock(&clock, &[("channels.email", "concurrency = 1")]).await;
    shop.people(PEOPLE).await;
    shop.submit(campaign("slow", json!({}))).await;
    eventually("five mails", async || (clock.arrivals().len() >= 5).then_some(())).await;
    shop.control("c-1", "slow", "pause").await;
    let paused = now();
    well_after(paused).await;
    let late = clock.arrivals().iter().filter(|(at, _)| *at > paused + 2.0).count();
    assert_eq!(late, 0, "of {}", clock.arrivals().len());
    shop.books.assert_balanced("slow").await;
}

/// One connection of a server that answers after 100 ms carries one message in 90 ms at most.
#[tokio::test]
async fn a_slow_server_is_sent_to_over_many_connections() {
    let clock = ClockSink::start(std::time::Duration::from_millis(100)).await;
    let shop = Shop::with_clock(&clock, &[("channels.email", "concurrency = 32")]).await;
    shop.people(300).await;
    shop.submit(campaign("slow", json!({}))).await;
    shop.books.finished("slow").await;
    let arrivals: Vec<f64> = clock.arrivals().iter().map(|(at, _)| *at).collect();
    assert_eq!(arrivals.len(), 300);
    let at_once = |from: &f64| arrivals.iter().filter(|at| (*from..from + 0.09).contains(at)).count();
    let most = arrivals.iter().map(at_once).max().unwrap();
    assert!(most >= 10, "at most {most} connections at once");
}
