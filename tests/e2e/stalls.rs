//! A daemon that stands still for so long that another takes over its work, and then runs on.

use campaignd_loadtest::smtp::{Keep, Options};
use serde_json::json;

use crate::harness::chance::dice;
use crate::harness::daemon::Daemon;
use crate::harness::shop::{Shop, campaign};
use crate::services::wait::eventually;

const PEOPLE: usize = 20_000;
const WINDOW: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_daemon_sends_after_it_was_taken_for_dead_is_sent_once_and_counted() {
    let moment = dice().u64(1_000..PEOPLE as u64 / 2);
    let options = Options { keep: Keep::Envelopes, ..Options::default() };
    let mut shop = Shop::at_sink(options, &format!("unknown_window = {WINDOW}")).await;
    let second = shop.setup.beside(shop.sink.addr());
    let other = Daemon::start(&second).await;
    shop.people(PEOPLE).await;
    shop.submit(campaign("all", json!({}))).await;
    shop.taken(moment).await;
    shop.daemon.process.freeze();
    eventually("that the other takes over", async || {
        other.process.log().contains("took over from a daemon").then_some(())
    })
    .await;
    let before = shop.books.tally("all").await;
    shop.daemon.process.thaw();
    // It has no leases any more: it records what it knows, and leaves the rest to a fresh start.
    assert_eq!(shop.daemon.process.ended().await.code(), Some(1));
    let reckoning = shop.reckoning("all", PEOPLE).await;
    println!("stood still after {moment} mails; taken over: {before:?}");
    reckoning.assert_law();
    assert!(reckoning.unknown() <= WINDOW, "{}", reckoning.unknown());
}
