//! SMPP: long messages in parts, a full window, a provider that throttles, and connections that end in mid-run.

use std::collections::HashMap;
use std::time::Duration;

use campaignd::model::CampaignStatus;
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::smpp::{Ids, Options, Smsc};
use campaignd_loadtest::sms::segments;
use serde_json::json;

use super::{TextShop, billed, disorder, id, in_time, name, phone};
use crate::harness::books::Fates;

const PEOPLE: usize = 2_000;
const WINDOW: usize = 20;
const BINDS: usize = 2;
const TEMPLATE: &str =
    "[sms]\ntext = \"{{name}}, all is 20 % off this week in the garden shop. Reply STOP to opt out.\"\n";

fn text(i: usize) -> String {
    format!("{}, all is 20 % off this week in the garden shop. Reply STOP to opt out.", name(i))
}

/// The number as the SMSC has it.
fn number(i: usize) -> String {
    phone(i).trim_start_matches('+').to_owned()
}

/// Those whom the SMSC refuses, with its status, and what that is to us.
const REFUSED: [(usize, &str, &str); 3] = [
    (6, "0x0B", "rejected/unknown_recipient"),
    (9, "0x0A", "rejected/message_refused"),
    (13, "0xFE", "rejected/recipient_refused"),
];
/// Those whom the message does not reach, or of whom nobody knows.
const UNDELIVERED: [(usize, &str, &str); 6] = [
    (29, "UNDELIV", "bounced/recipient_refused"),
    (37, "EXPIRED", "bounced/temporary_failure"),
    (49, "REJECTD", "bounced/policy_refused"),
    (53, "DELETED", "bounced/policy_refused"),
    (57, "ACCEPTD", "accepted"),
    (61, "UNKNOWN", "accepted"),
];
/// The SMSC throttles three times and is in trouble once: all of them are tried again.
const AGAIN: [(u64, &str); 4] = [(200, "0x58"), (700, "0x58"), (701, "0x14"), (1_100, "0x08")];

fn options(faults: impl IntoIterator<Item = Rule>) -> Options {
    let refused = REFUSED.map(|(i, code, _)| Rule::to(number(i)).code(code));
    let undelivered = UNDELIVERED.map(|(i, code, _)| Rule::to(number(i)).receipt(code));
    let defaults = Options::default();
    Options {
        window: WINDOW,
        ids: Ids::HexThenDecimal,
        rules: refused.into_iter().chain(undelivered).chain(faults).collect(),
        receipts: Plan { answer_within: Duration::from_secs(20), ..disorder(defaults.receipts) },
        ..Options::default()
    }
}

async fn open(smsc: &Smsc) -> TextShop {
    let accounts = format!(
        "[channels.sms]\nproviders = [\"carrier\"]\nretry = [\"100ms\", \"300ms\", \"1s\"]\n[providers.carrier]\n\
         kind = \"smpp\"\nhost = \"127.0.0.1\"\nport = {}\nsystem_id = \"user\"\npassword = \"pass\"\nfrom = \"SHOP\"\n\
         window = {WINDOW}\nbinds = {BINDS}\nhex_ids = true\ntimeout = \"60s\"\n",
        smsc.addr().port()
    );
    TextShop::open(&accounts, TEMPLATE, PEOPLE).await
}

fn scripted(i: usize) -> Option<&'static str> {
    REFUSED.iter().chain(&UNDELIVERED).find(|(of, ..)| *of == i).map(|(.., fate)| *fate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_kept_and_what_is_throttled_goes_again() {
    let smsc = Smsc::start("127.0.0.1:0", options(AGAIN.map(|(nth, code)| Rule::nth(nth).code(code))))
        .await
        .unwrap();
    let shop = open(&smsc).await;
    shop.campaign("spring", json!({"all": true}), json!({})).await;
    shop.books.until("spring", CampaignStatus::Finished).await;
    let expected = shop.fates(|i| scripted(i).unwrap_or("delivered").to_owned());
    shop.settle("spring", &expected).await;
    everyone_once(&smsc, |i| !REFUSED.iter().any(|(of, ..)| *of == i));
    let messages = smsc.tally().newest();
    let parts: usize = messages.iter().map(|message| message.ids.len()).sum();
    // Every refusal is in the script: above the window the SMSC would have throttled.
    let refused: usize = REFUSED.iter().map(|(i, ..)| segments(&text(*i)) as usize).sum();
    assert_eq!((smsc.submitted(), smsc.unfinished()), ((parts + refused + AGAIN.len()) as u64, 0));
    let billed = billed(&expected, text);
    assert_eq!(parts as u64, billed);
    in_time("the receipts", smsc.settled(|receipts| receipts.taken >= 2 * billed)).await;
    shop.assert_fates("spring", &expected).await;
    shop.assert_report("spring", &expected, billed).await;

    leaving_and_what_follows(&shop, &smsc).await;
}

/// At the SMSC: nobody twice, and nobody missing whom it did not refuse.
fn everyone_once(smsc: &Smsc, taken: impl Fn(usize) -> bool) {
    for i in 1..=PEOPLE {
        assert_eq!(smsc.tally().to(&number(i)), u32::from(taken(i)), "{i}");
    }
    let counts = smsc.tally().counts();
    assert_eq!((counts.messages, counts.repeated), (counts.recipients, 0));
    let texts: HashMap<String, String> = (1..=PEOPLE).map(|i| (number(i), text(i))).collect();
    for message in smsc.tally().newest() {
        assert_eq!(message.text, texts[&message.destination], "parts are put together as they were");
    }
}

async fn leaving_and_what_follows(shop: &TextShop, smsc: &Smsc) {
    for (i, words, gone) in [(200, "STOP", true), (210, "退订", true), (220, "When do you close?", false)] {
        assert!(smsc.reply(&number(i), "SHOP", words).await);
        shop.assert_unsubscribed(i, gone).await;
    }
    let expected = [
        (6, "excluded/suppressed"),
        (40, "delivered"),
        (200, "excluded/unsubscribed"),
        (210, "excluded/unsubscribed"),
        (220, "delivered"),
    ];
    let audience = expected.map(|(i, _)| id(i));
    let expected = expected.map(|(i, fate)| (id(i), fate.to_owned())).into();
    shop.campaign("again", json!({"contacts": audience}), json!({})).await;
    shop.settle("again", &expected).await;
    shop.books.until("again", CampaignStatus::Finished).await;
    shop.assert_report("again", &expected, billed(&expected, text)).await;

    shop.message("order-1", json!({"external_id": id(220)})).await;
    shop.message("order-2", json!({"address": "+4915112345678"})).await;
    shop.orders_delivered(2).await;
    assert_eq!(smsc.tally().to("4915112345678"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_leave_a_window_in_doubt_and_nobody_twice() {
    let smsc = Smsc::start("127.0.0.1:0", options([Rule::nth(600).cut_after()])).await.unwrap();
    let shop = open(&smsc).await;
    shop.campaign("spring", json!({"all": true}), json!({})).await;
    in_time("the messages", smsc.tally().received(PEOPLE as u64 / 2)).await;
    smsc.cut();
    shop.books.until("spring", CampaignStatus::Finished).await;

    let told = shop.books.fates("spring").await;
    let doubtful: Fates = told.into_iter().filter(|(_, fate)| fate == "unknown/connection_lost").collect();
    assert!((1..=2 * BINDS * WINDOW).contains(&doubtful.len()), "{}", doubtful.len());
    let doubts = |i| doubtful.contains_key(&id(i));
    let expected = shop.fates(|i| match scripted(i) {
        _ if doubts(i) => "unknown/connection_lost".to_owned(),
        Some(fate) => fate.to_owned(),
        None => "delivered".to_owned(),
    });
    shop.settle("spring", &expected).await;
    for i in 1..=PEOPLE {
        let times = smsc.tally().to(&number(i));
        let refused = REFUSED.iter().any(|(of, ..)| *of == i);
        assert!(times == u32::from(!refused) || doubts(i) && times <= 1, "{i}: {times} times");
    }
    assert_eq!(smsc.tally().counts().repeated, 0);
    shop.assert_report("spring", &expected, billed(&expected, text)).await;
}
