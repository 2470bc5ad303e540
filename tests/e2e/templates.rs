//! A campaign keeps the template of its start, whatever happens to the files.

use serde_json::json;

use crate::harness::shop::{HELLO, Shop, campaign, mailbox};
use crate::services::wait::eventually;

const RELOADED: &str = "were read again";

async fn reload(shop: &mut Shop, answer: &str) {
    let before = shop.daemon.process.log().matches(answer).count();
    shop.daemon.process.sighup();
    eventually("the reload", async || {
        (shop.daemon.process.log().matches(answer).count() > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reload_changes_what_comes_after() {
    let mut shop = Shop::open("").await;
    shop.people(60).await;
    shop.submit(campaign("old", json!({"rate": "20/s"}))).await;
    shop.mails(5).await;
    shop.setup.write("templates/hello/template.toml", &HELLO.replace("Hello", "Good day"));
    reload(&mut shop, RELOADED).await;
    assert!(shop.sink.mails().len() < 60, "the campaign still runs");
    shop.submit(campaign("new", json!({"audience": {"contacts": ["P1"]}}))).await;
    shop.books.finished("new").await;
    // A restart reads the files again, too.
    shop.restart().await;
    shop.books.finished("old").await;
    let mails = shop.sink.mails();
    assert_eq!(mails.len(), 61);
    let (new, old): (Vec<_>, Vec<_>) = mails
        .iter()
        .partition(|mail| mail.header("subject").is_some_and(|text| text.starts_with("Good day")));
    assert_eq!((old.len(), new.len()), (60, 1));
    assert_eq!(new[0].to, [mailbox("P1")]);
}

#[tokio::test]
async fn a_reload_of_what_is_broken_changes_nothing() {
    let mut shop = Shop::open("").await;
    shop.people(1).await;
    shop.setup.write("templates/hello/template.toml", "[email]\nsubject = \"{{#if}\"\n");
    reload(&mut shop, "the reload changed nothing").await;
    shop.submit(campaign("still", json!({}))).await;
    shop.books.finished("still").await;
    assert_eq!(shop.sink.mails()[0].header("subject"), Some("Hello Name P1"));
}

#[tokio::test]
async fn a_reload_changes_the_rates() {
    let mut shop = Shop::open("").await;
    shop.setup.configure("channels.email", "rate = \"1/m\"");
    reload(&mut shop, RELOADED).await;
    shop.people(30).await;
    shop.submit(campaign("waits", json!({}))).await;
    eventually("planning", async || {
        (shop.books.tally("waits").await.get("planned") == Some(&30)).then_some(())
    })
    .await;
    let config = std::fs::read_to_string(shop.setup.path().join("config.toml")).unwrap();
    shop.setup.write("config.toml", &config.replace("rate = \"1/m\"", "rate = \"100/s\""));
    reload(&mut shop, RELOADED).await;
    shop.books.finished("waits").await;
    assert_eq!(shop.reached().len(), 30);
}
