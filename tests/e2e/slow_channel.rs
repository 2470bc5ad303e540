//! A channel whose provider does not answer holds up nobody but itself.

use std::time::Duration;

use campaignd::model::CampaignStatus;
use campaignd_loadtest::faulty_http::{Action, Answer, Event};
use campaignd_loadtest::webhook::{Receiver, messages};
use serde_json::{Value, json};

use crate::harness::daemon::Setup;
use crate::harness::mail::RecordingSink;
use crate::harness::shop::{Shop, campaign};
use crate::services::wait::eventually;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PEOPLE: usize = 2_000;
/// Sessions of the slow channel, one message in each.
const SESSIONS: usize = 8;
/// People of the refused app; a window's worth of them at a time would wait for ten seconds.
const REFUSED: usize = 400;

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

/// Which app an address belongs to is known once its message is intended: one whose account is refused must not fill the
/// window for the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_whose_account_is_refused_holds_up_no_other_app() {
    let hears = |event: Event<'_>| match event {
        Event::Request(request) if request.target.starts_with("/refused") => {
            Action::Answer(Answer::new(403, "no such account"))
        }
        Event::Request(request) => {
            let messages = messages(request);
            let taken = messages.iter().map(|message| json!({"id": message["id"], "status": "accepted"}));
            let results: Vec<Value> = taken.collect();
            Action::Answer(Answer::new(200, json!({"results": results}).to_string()))
        }
        _ => Action::Go,
    };
    let receiver = Receiver::start("127.0.0.1:0", SECRET, None, hears).await.unwrap();
    let account = |app: &str| {
        format!(
            "[providers.{app}]\nkind = \"webhook\"\nchannel = \"push\"\napp = \"{app}\"\nurl = \"{}/{app}\"\n\
             secret = \"{SECRET}\"\n",
            receiver.server.url()
        )
    };
    let push = format!(
        "[channels.push]\nproviders = [\"refused\", \"works\"]\nunknown_window = 40\n{}{}",
        account("refused"),
        account("works")
    );
    let sink = RecordingSink::start().await;
    let setup = Setup::without_broker(sink.address(), &push).await;
    setup.write("templates/note/template.toml", "[push]\ntitle = \"Hello\"\nbody = \"Hello\"\n");
    let shop = Shop::with(setup, sink).await;
    let device = |i: usize| {
        let app = if i <= REFUSED { "refused" } else { "works" };
        json!({"external_id": format!("P{i}"),
               "addresses": [{"channel": "push", "address": format!("{i:064x}"), "app": app}]})
    };
    let people: Vec<Value> = (1..=REFUSED + 100).map(device).collect();
    shop.submit(json!({"type": "contacts", "id": "people", "upsert": people})).await;
    shop.submit(json!({"type": "campaign", "id": "both", "channel": "push", "purpose": "service",
        "template": "note", "audience": {"all": true}}))
        .await;
    let tally = eventually("the messages of the app that works", async || {
        let tally = shop.books.tally("both").await;
        (tally.get("accepted") == Some(&100)).then_some(tally)
    })
    .await;
    let waiting: i64 = tally.iter().filter(|(state, _)| *state != "accepted").map(|(_, n)| n).sum();
    assert_eq!(usize::try_from(waiting).unwrap(), REFUSED, "{tally:?}");
    assert!(
        tally.keys().all(|state| ["accepted", "planned", "sending"].contains(&state.as_str())),
        "{tally:?}"
    );
}
