//! What the e-mail service behind a relay tells later: mail goes by SMTP with a label, events come back by HTTP.

use std::time::{SystemTime, UNIX_EPOCH};

use campaignd_loadtest::mailhooks::mailgun;
use serde_json::{Value, json};

use crate::harness::daemon::Setup;
use crate::harness::http::post;
use crate::harness::mail::RecordingSink;
use crate::harness::shop::{Shop, campaign, mailbox};

const HOOK: &str = "[providers.relay.hook]\nkind = \"mailgun\"\nsigning_key = \"key-test\"\n";

/// What the service says of `P1`, `P2` and so on.
fn events() -> [Value; 3] {
    [
        json!({"event": "delivered"}),
        json!({"event": "failed", "severity": "permanent", "reason": "bounce",
               "delivery-status": {"code": 550, "message": "5.1.1 no such user"}}),
        json!({"event": "complained"}),
    ]
}

async fn told(shop: &Shop, signing_key: &str, id: &str, mut event: Value) -> u16 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mail = shop.sink.mails().into_iter().find(|mail| mail.to == [mailbox(id)]).unwrap();
    let label: Value = serde_json::from_str(mail.header("X-Mailgun-Variables").unwrap()).unwrap();
    event["id"] = json!(format!("event-{id}"));
    event["timestamp"] = json!(now);
    event["recipient"] = json!(mailbox(id));
    event["user-variables"] = label;
    let call = mailgun(signing_key, now.try_into().unwrap(), &format!("{id:a>50}"), &event);
    let body = String::from_utf8(call.body).unwrap();
    post(shop.setup.public, "/hooks/relay", &body).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_events_of_a_service_settle_its_mail() {
    let sink = RecordingSink::start().await;
    let setup = Setup::embedded(sink.address(), HOOK);
    let shop = Shop::with(setup, sink).await;
    shop.people(3).await;
    shop.submit(campaign("spring", json!({}))).await;
    shop.books.finished("spring").await;
    for (event, id) in events().into_iter().zip(["P1", "P2", "P3"]) {
        assert_eq!(told(&shop, "key-forged", id, event.clone()).await, 406);
        for _ in 0..2 {
            assert_eq!(told(&shop, "key-test", id, event.clone()).await, 200);
        }
    }
    let fates = shop.books.fates("spring").await;
    let fates: Vec<_> = fates.iter().map(|(id, fate)| (id.as_str(), fate.as_str())).collect();
    assert_eq!(fates, [("P1", "delivered"), ("P2", "bounced/unknown_recipient"), ("P3", "accepted")]);
    shop.books.assert_balanced("spring").await;

    // A dead address and one who complained get nothing more.
    shop.submit(campaign("summer", json!({}))).await;
    let fates = shop.books.finished("summer").await;
    let fates: Vec<_> = fates.iter().map(|(id, fate)| (id.as_str(), fate.as_str())).collect();
    let left_out = "excluded/suppressed";
    assert_eq!(fates, [("P1", "accepted"), ("P2", left_out), ("P3", left_out)]);
}
