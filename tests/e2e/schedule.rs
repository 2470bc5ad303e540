//! Not before `send_at`, not after `expires_at`.

use std::collections::BTreeSet;
use std::time::Duration;

use campaignd::model::CampaignStatus;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::harness::mail::ClockSink;
use crate::harness::shop::{Shop, campaign, mailbox, message};
use crate::services::wait::eventually;

fn seconds(at: Timestamp) -> f64 {
    at.as_nanosecond() as f64 / 1e9
}

fn later(span: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(span)
}

#[tokio::test]
async fn nothing_goes_before_its_time() {
    let clock = ClockSink::start(Duration::ZERO).await;
    let shop = Shop::with_clock(&clock, &[]).await;
    shop.people(20).await;
    let send_at = later(3);
    shop.submit(campaign("later", json!({"send_at": send_at.to_string()}))).await;
    let to = json!({"address": "someone@example.org"});
    shop.submit(message("m-1", to, json!({"send_at": send_at.to_string(), "data": {"name": "You"}}))).await;
    assert_eq!(shop.books.status("later").await, Some(CampaignStatus::Scheduled));
    let fates = shop.books.finished("later").await;
    assert_eq!(fates.values().filter(|fate| *fate == "accepted").count(), 20);
    let arrivals = eventually("the message, too", async || {
        let arrivals = clock.arrivals();
        (arrivals.len() == 21).then_some(arrivals)
    })
    .await;
    assert!(arrivals.iter().all(|(at, _)| *at >= seconds(send_at)), "{arrivals:?}");
}

#[tokio::test]
async fn what_has_not_gone_in_time_expires() {
    let clock = ClockSink::start(Duration::ZERO).await;
    let shop = Shop::with_clock(&clock, &[]).await;
    shop.people(200).await;
    let expires_at = later(4);
    shop.submit(campaign("short", json!({"rate": "20/s", "expires_at": expires_at.to_string()}))).await;
    let fates = shop.books.finished("short").await;
    let arrivals = clock.arrivals();
    let late: Vec<_> = arrivals.iter().filter(|(at, _)| *at > seconds(expires_at) + 2.0).collect();
    assert!(late.is_empty(), "{late:?}");
    let reached: BTreeSet<_> = arrivals.into_iter().map(|(_, to)| to).collect();
    assert!(!reached.is_empty() && fates.len() == 200);
    for (id, fate) in fates {
        let expected = if reached.contains(&mailbox(&id)) { "accepted" } else { "expired/campaign_expired" };
        assert_eq!(fate, expected, "{id}");
    }
}
