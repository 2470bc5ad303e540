//! A campaign's rate as its mail server sees it, by the kernel's clock at the socket.

use std::time::Duration;

use serde_json::json;

use crate::harness::daemon::Setup;
use crate::harness::mail::{ClockSink, RecordingSink};
use crate::harness::shop::{Shop, campaign};

const RATE: f64 = 50.0;
const BURST: f64 = 5.0;
const MAILS: usize = 1_200;

async fn times(answer_after: Duration) -> Vec<f64> {
    let clock = ClockSink::start(answer_after).await;
    let unused = RecordingSink::start().await;
    let setup = Setup::without_broker(clock.address(), "").await;
    let shop = Shop::with(setup, unused).await;
    shop.people(MAILS).await;
    shop.submit(campaign("slow", json!({"rate": "50/s"}))).await;
    let fates = shop.books.finished("slow").await;
    assert!(fates.len() == MAILS && fates.values().all(|fate| fate == "accepted"));
    let times = clock.times();
    assert_eq!(times.len(), MAILS);
    times
}

/// How far the fullest window is above what it may hold.
fn excess(times: &[f64]) -> f64 {
    // A bucket that leaks at the rate: the law over all windows at once.
    let (mut level, mut last, mut worst) = (0.0_f64, 0.0, 0.0_f64);
    for time in times {
        level = (level - (time - last) * RATE).max(0.0) + 1.0;
        last = *time;
        worst = worst.max(level);
    }
    worst - BURST
}

fn assert_rate(times: &[f64]) {
    let excess = excess(times);
    assert!(excess <= 1e-3, "a window holds {excess:.2} mails more than {RATE}/s and {BURST} allow");
    let (first, last) = (times.first().unwrap(), times.last().unwrap());
    let reached = (times.len() as f64 - 1.0) / (last - first);
    assert!(reached >= 0.98 * RATE, "only {reached:.2} mails/s");
}

#[tokio::test]
async fn no_window_holds_more_than_the_rate_and_the_run_reaches_it() {
    assert_rate(&times(Duration::ZERO).await);
}

#[tokio::test]
async fn a_server_that_answers_late_changes_nothing() {
    assert_rate(&times(Duration::from_millis(70)).await);
}

#[test]
fn the_fullest_window_is_found() {
    assert!(excess(&[0.0, 0.0, 0.0, 0.0, 0.0]) <= 0.0);
    assert!((excess(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.01]) - 0.5).abs() < 1e-9);
    assert!(excess(&(0..500).map(|n| f64::from(n) / RATE).collect::<Vec<_>>()) <= 0.0);
}
