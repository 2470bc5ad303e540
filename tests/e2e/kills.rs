//! SIGKILL again and again in one campaign: nobody is lost, and the doubtful are few. With `hold` they are named and nobody
//! is mailed twice; with `resend` they are mailed again.

use campaignd_loadtest::smtp::{Keep, Options, Sink};
use serde_json::json;

use crate::harness::chance::{dice, moments};
use crate::harness::daemon::Daemon;
use crate::harness::reckoning::Reckoning;
use crate::harness::shop::{Shop, campaign};

const PEOPLE: usize = 100_000;
const KILLS: usize = 20;
const WINDOW: usize = 200;

/// Kills the daemon at random moments of a campaign and starts it again, each time; what became of everyone.
async fn killed(on_unknown: &str) -> (Shop<Sink>, Reckoning) {
    let moments = moments(&mut dice(), KILLS, 0..PEOPLE as u64 * 19 / 20);
    let options = Options { keep: Keep::Envelopes, ..Options::default() };
    let channel = format!("unknown_window = {WINDOW}\non_unknown = \"{on_unknown}\"");
    let mut shop = Shop::at_sink(options, &channel).await;
    shop.people(PEOPLE).await;
    shop.submit(campaign("all", json!({}))).await;
    let mut at = Vec::new();
    for moment in moments {
        shop.taken(moment).await;
        shop.daemon.process.sigkill();
        shop.daemon.process.ended().await;
        at.push(shop.sink.counts().messages);
        // Not waited for: the next moment may be one of its start.
        shop.daemon = Daemon::begin(&shop.setup);
    }
    println!("{on_unknown}: killed when the server had taken {at:?}");
    let reckoning = shop.reckoning("all", PEOPLE).await;
    (shop, reckoning)
}

/// How many each rescue found in doubt and made `what` of, as the log tells it: no more than a window.
fn assert_doubts(log: &str, what: &str) {
    let label = format!("rescued.{what}=");
    let found = log.split(&label).skip(1);
    let counts = found.map(|rest| rest.split_whitespace().next().expect("a word").parse().expect("a number"));
    let counts: Vec<usize> = counts.collect();
    println!("in doubt by rescue {counts:?}, {} of {} allowed", counts.iter().sum::<usize>(), KILLS * WINDOW);
    assert!(counts.iter().any(|n| *n > 0) && counts.iter().all(|n| *n <= WINDOW), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nobody_and_double_nobody() {
    let (shop, reckoning) = killed("hold").await;
    reckoning.assert_law();
    assert_doubts(&shop.daemon.process.log(), "unknown");
    assert!(reckoning.unknown() <= KILLS * WINDOW);
}

/// Who may have it gets it again: the other side of the same doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_leave_nobody_in_doubt_where_doubts_are_sent_again() {
    let (shop, reckoning) = killed("resend").await;
    println!("{reckoning}");
    let again = reckoning.mails - PEOPLE;
    println!("{again} mails too many to {} people", reckoning.doubled.len());
    assert!(reckoning.lost.is_empty() && reckoning.denied.is_empty(), "{:?}", reckoning.lost);
    assert_eq!(reckoning.tally, [("accepted".to_owned(), PEOPLE as i64)].into());
    assert_doubts(&shop.daemon.process.log(), "resent");
    assert!(again <= KILLS * WINDOW);
}
