//! A campaign's rate as its mail server sees it, by the kernel's clock at the socket.

use std::time::Duration;

use serde_json::json;

use crate::harness::mail::ClockSink;
use crate::harness::shop::{Shop, campaign};

/// `N/s` with this burst, for so many mails.
pub(crate) struct Pace {
    pub(crate) rate: u32,
    pub(crate) burst: u32,
    pub(crate) mails: usize,
}

async fn times(pace: &Pace, answer_after: Duration) -> Vec<f64> {
    let clock = ClockSink::start(answer_after).await;
    let shop = Shop::with_clock(&clock, &[]).await;
    shop.people(pace.mails).await;
    shop.submit(campaign("slow", json!({"rate": format!("{}/s", pace.rate)}))).await;
    let fates = shop.books.finished("slow").await;
    assert!(fates.len() == pace.mails && fates.values().all(|fate| fate == "accepted"));
    let times: Vec<f64> = clock.arrivals().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times.len(), pace.mails);
    times
}

/// How far the fullest window is above what it may hold.
fn excess(times: &[f64], pace: &Pace) -> f64 {
    // A bucket that leaks at the rate: the law over all windows at once.
    let (mut level, mut last, mut worst) = (0.0_f64, 0.0, 0.0_f64);
    for time in times {
        level = (level - (time - last) * f64::from(pace.rate)).max(0.0) + 1.0;
        last = *time;
        worst = worst.max(level);
    }
    worst - f64::from(pace.burst)
}

pub(crate) fn assert_law(times: &[f64], pace: &Pace) {
    let excess = excess(times, pace);
    assert!(excess <= 1e-3, "a window holds {excess:.2} mails more than {}/s allow", pace.rate);
}

/// In the best ten seconds: a machine that other tests keep busy may stop for a moment, and what that costs is lost for good.
fn assert_reached(times: &[f64], pace: &Pace) {
    let stretch = 10 * pace.rate as usize;
    let shortest = times.windows(stretch + 1).map(|times| times[stretch] - times[0]).fold(f64::MAX, f64::min);
    let reached = stretch as f64 / shortest;
    assert!(reached >= 0.98 * f64::from(pace.rate), "only {reached:.2} of {} mails/s", pace.rate);
}

#[tokio::test]
async fn no_window_holds_more_than_the_rate_and_the_run_reaches_it() {
    let pace = Pace { rate: 50, burst: 5, mails: 1_200 };
    let times = times(&pace, Duration::ZERO).await;
    assert_law(&times, &pace);
    assert_reached(&times, &pace);
}

#[tokio::test]
async fn a_server_that_answers_late_changes_nothing() {
    let pace = Pace { rate: 50, burst: 5, mails: 300 };
    assert_law(&times(&pace, Duration::from_millis(70)).await, &pace);
}

#[tokio::test]
async fn a_burst_of_one_keeps_mails_apart() {
    let pace = Pace { rate: 14, burst: 1, mails: 70 };
    assert_law(&times(&pace, Duration::ZERO).await, &pace);
}

#[tokio::test]
async fn many_connections_share_one_rate() {
    let pace = Pace { rate: 400, burst: 40, mails: 2_000 };
    assert_law(&times(&pace, Duration::from_millis(20)).await, &pace);
}

#[test]
fn the_fullest_window_is_found() {
    let pace = Pace { rate: 50, burst: 5, mails: 0 };
    assert!(excess(&[0.0; 5], &pace) <= 0.0);
    assert!((excess(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.01], &pace) - 0.5).abs() < 1e-9);
    assert!(excess(&(0..500).map(|n| f64::from(n) / 50.0).collect::<Vec<_>>(), &pace) <= 0.0);
}
