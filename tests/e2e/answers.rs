//! What the mail server answers to one recipient is that recipient's alone; so is what a template lacks.

use serde_json::{Value, json};

use crate::harness::daemon::Setup;
use crate::harness::mail::RecordingSink;
use crate::harness::shop::{Shop, campaign, person};

#[tokio::test]
async fn refusals_are_final_and_delays_are_tried_again() {
    let sink = RecordingSink::start().await;
    let setup = Setup::without_broker(sink.address(), "").await;
    setup.configure("channels.email", "retry = [\"200ms\", \"300ms\"]");
    let shop = Shop::with(setup, sink).await;
    let names = ["REJECT", "DEFER", "BUSY", "FINE-1", "FINE-2"];
    let people: Vec<Value> = names.into_iter().map(person).collect();
    shop.submit(json!({"type": "contacts", "id": "people", "upsert": people})).await;
    shop.submit(campaign("answers", json!({}))).await;
    let fates = shop.books.finished("answers").await;
    let expected = [
        ("BUSY", "failed/retries_exhausted"),
        ("DEFER", "accepted"),
        ("FINE-1", "accepted"),
        ("FINE-2", "accepted"),
        ("REJECT", "rejected/unknown_recipient"),
    ];
    assert!(fates.iter().map(|(id, fate)| (id.as_str(), fate.as_str())).eq(expected), "{fates:?}");
    assert_eq!(shop.reached().len(), 3);
    let rejected = shop.books.explain("answers", "REJECT").await;
    assert!(rejected.attempts_made[0].detail.contains("no such mailbox"), "{rejected:?}");
    let deferred = shop.books.explain("answers", "DEFER").await;
    assert_eq!(deferred.delivery.attempts, 2);
    assert!(deferred.attempts_made[0].detail.contains("try again later"), "{deferred:?}");
    assert_eq!(shop.books.explain("answers", "BUSY").await.delivery.attempts, 3);
}

#[tokio::test]
async fn a_missing_variable_is_named_and_the_others_go() {
    let shop = Shop::open("").await;
    let nameless = json!({"external_id": "NAMELESS",
        "addresses": [{"channel": "email", "address": "x@example.com", "consent": true}]});
    let people = json!([person("P1"), nameless, person("P2")]);
    shop.submit(json!({"type": "contacts", "id": "people", "upsert": people})).await;
    shop.submit(campaign("names", json!({}))).await;
    let fates = shop.books.finished("names").await;
    assert_eq!(fates["NAMELESS"], "failed/render_error");
    assert_eq!((fates["P1"].as_str(), fates["P2"].as_str()), ("accepted", "accepted"));
    let explained = shop.books.explain("names", "NAMELESS").await;
    assert!(explained.attempts_made[0].detail.contains("name"), "{explained:?}");
    assert_eq!(shop.reached().len(), 2);
}
