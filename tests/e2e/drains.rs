//! SIGTERM again and again in one campaign: nobody is lost, nobody mailed twice, nobody in doubt.

use campaignd_loadtest::smtp::{Keep, Options};
use serde_json::json;

use crate::harness::chance::{dice, moments};
use crate::harness::daemon::Daemon;
use crate::harness::shop::{Shop, campaign};

const PEOPLE: usize = 30_000;
const STOPS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_stops_leave_nobody_in_doubt() {
    let moments = moments(&mut dice(), STOPS, 0..PEOPLE as u64 * 19 / 20);
    let options = Options { keep: Keep::Envelopes, ..Options::default() };
    let mut shop = Shop::at_sink(options, "").await;
    shop.people(PEOPLE).await;
    shop.submit(campaign("all", json!({}))).await;
    let mut at = Vec::new();
    for moment in moments {
        shop.taken(moment).await;
        at.push(shop.sink.counts().messages);
        shop.daemon.process.sigterm();
        let ended = shop.daemon.process.ended().await;
        assert!(ended.success(), "{ended}: {}", shop.daemon.process.log());
        shop.daemon = Daemon::start(&shop.setup).await;
    }
    println!("asked to stop when the server had taken {at:?}");
    let reckoning = shop.reckoning("all", PEOPLE).await;
    reckoning.assert_law();
    assert_eq!(reckoning.unknown(), 0);
}
