//! Who goes first where a channel's rate is shared: campaigns in turn, urgent messages before all.

use std::time::Duration;

use serde_json::json;

use crate::harness::mail::ClockSink;
use crate::harness::shop::{Shop, campaign, message};
use crate::services::wait::eventually;

const RATE: (&str, &str) = ("channels.email", "rate = \"40/s\"");

#[tokio::test]
async fn two_campaigns_share_a_channel() {
    let clock = ClockSink::start(Duration::ZERO).await;
    let shop = Shop::with_clock(&clock, &[RATE]).await;
    let recipients = |campaign: &str| {
        let one = |n: usize| json!({"address": format!("{campaign}-{n}@example.org"), "data": {"name": "X"}});
        json!({"recipients": (0..120).map(one).collect::<Vec<_>>(), "consent": true})
    };
    shop.submit(campaign("a", json!({"audience": recipients("a")}))).await;
    eventually("the first mails of a", async || (clock.arrivals().len() >= 5).then_some(())).await;
    let begin = clock.arrivals().len();
    shop.submit(campaign("b", json!({"audience": recipients("b")}))).await;
    shop.books.finished("a").await;
    shop.books.finished("b").await;
    let arrivals = clock.arrivals();
    assert_eq!(arrivals.len(), 240);
    let first_b = arrivals.iter().position(|(_, to)| to.starts_with("b-")).unwrap();
    assert!(first_b < begin + 60, "b waits for a: it began at the {first_b}th mail");
    let both = &arrivals[first_b..first_b + 100];
    let of_b = both.iter().filter(|(_, to)| to.starts_with("b-")).count();
    assert!((40..=60).contains(&of_b), "{of_b} of 100 mails were b's");
}

#[tokio::test]
async fn an_urgent_message_overtakes_a_campaign() {
    let clock = ClockSink::start(Duration::ZERO).await;
    let shop = Shop::with_clock(&clock, &[RATE]).await;
    shop.people(200).await;
    shop.submit(campaign("bulk", json!({}))).await;
    eventually("the campaign's first mails", async || (clock.arrivals().len() >= 10).then_some(())).await;
    let to = json!({"address": "urgent@example.org"});
    shop.submit(message("m-1", to, json!({"data": {"name": "You"}}))).await;
    let before = clock.arrivals().len();
    shop.books.finished("bulk").await;
    let arrivals = clock.arrivals();
    let place = arrivals.iter().position(|(_, to)| to == "urgent@example.org").expect("the message");
    assert!(
        place < before + 40,
        "the message was the {place}th mail of {}, handed in at {before}",
        arrivals.len()
    );
}
