//! A channel whose provider does not answer holds up nobody but itself.

use std::time::Duration;

use campaignd::model::CampaignStatus;
use campaignd_loadtest::faulty_http::{Action, Answer, Event};
use campaignd_loadtest::webhook::Receiver;
use serde_json::{Value, json};

use crate::harness::daemon::Setup;
use crate::harness::mail::RecordingSink;
use crate::harness::shop::{Shop, campaign};
use crate::services::wait::eventually;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PEOPLE: usize = 2_000;
/// Sessions of the slow channel, one message in each.
const SESSIONS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_goes_out_whole_while_another_channel_is_stuck() {
    let silent = |event: Event<'_>| match event {
        Event::Request(_) => Action::Late(Duration::from_secs(3_600), Answer::new(200, "")),
        _ => Action::Go,
    };
    let receiver = Receiver::start("127.0.0.1:0", SECRET, None, silent).await.unwrap();
    let slow = format!(
        "[channels.sms]\nproviders = \"slow\"\nconcurrency = {SESSIONS}\n\
         [providers.slow]\nkind = \"webhook\"\nchannel = \"sms\"\nurl = \"{}/\"\nsecret = \"{SECRET}\"\nbatch = 1\n\
         timeout = \"1h\"\n",
        receiver.server.url()
    );
    let sink = RecordingSink::start().await;
    let setup = Setup::without_broker(sink.address(), &slow).await;
    setup.write("templates/note/template.toml", "[sms]\ntext = \"Hello\"\n");
    let shop = Shop::with(setup, sink).await;
    let people: Vec<Value> = (1..=PEOPLE).map(person).collect();
    shop.submit(json!({"type": "contacts", "id": "people", "upsert": people})).await;

    shop.submit(json!({"type": "campaign", "id": "slow", "channel": "sms", "purpose": "service",
                       "template": "note", "audience": {"all": true}}))
        .await;
    eventually("a channel that is full", async || {
        (receiver.server.requests().len() == SESSIONS).then_some(())
    })
    .await;

    shop.submit(campaign("fast", json!({}))).await;
    let fates = shop.books.finished("fast").await;
    assert!(fates.len() == PEOPLE && fates.values().all(|fate| fate == "accepted"));
    assert_eq!(shop.reached().len(), PEOPLE);
    assert_eq!(receiver.server.requests().len(), SESSIONS, "nothing moved there meanwhile");
    assert_eq!(shop.books.status("slow").await, Some(CampaignStatus::Running));
    assert_eq!(shop.books.tally("slow").await, [("planned".to_owned(), PEOPLE as i64)].into());
}

fn person(i: usize) -> Value {
    json!({"external_id": format!("P{i}"), "attributes": {"name": format!("Name {i}")}, "addresses": [
        {"channel": "email", "address": format!("p{i}@example.com"), "consent": true},
        {"channel": "sms", "address": format!("+86138{i:08}"), "consent": true},
    ]})
}
