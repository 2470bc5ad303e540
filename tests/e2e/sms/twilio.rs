//! Twilio: a message a call, statuses that name their delivery, and a limit that counts segments.

use std::time::{Duration, Instant};

use campaignd::model::CampaignStatus;
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::sms::segments;
use campaignd_loadtest::twilio::{Options, Twilio};
use serde_json::json;

use super::{TextShop, billed, disorder, id, in_time, name, phone};

const PEOPLE: usize = 600;
const FROM: &str = "+15557122661";
const TEMPLATE: &str =
    "[sms]\ntext = \"{{name}}, all is 20 % off this week in the garden shop. Reply STOP to opt out.\"\n";
/// Segments a second, and at once.
const RATE: f64 = 150.0;
const BURST: f64 = 15.0;

fn text(i: usize) -> String {
    format!("{}, all is 20 % off this week in the garden shop. Reply STOP to opt out.", name(i))
}

/// Those whom the service refuses, with its code, and what that is to us.
const REFUSED: [(usize, &str, &str); 4] = [
    (7, "21211", "rejected/unknown_recipient"),
    (8, "21610", "rejected/recipient_refused"),
    (9, "21408", "rejected/recipient_refused"),
    (11, "21617", "rejected/message_refused"),
];
/// Those whom the message does not reach.
const UNDELIVERED: [(usize, &str, &str); 4] = [
    (30, "30005", "bounced/unknown_recipient"),
    (40, "30003", "bounced/temporary_failure"),
    (50, "30007", "bounced/policy_refused"),
    (60, "30004", "bounced/recipient_refused"),
];
/// Those in doubt: their calls were not taken, but nobody said so.
const DOUBTFUL: [(usize, &str); 2] = [(70, "unknown/connection_lost"), (80, "unknown/no_answer")];
/// One whose answer is lost, and one who is told to wait.
const LOST: usize = 90;
const SLOW: usize = 100;

fn options() -> Options {
    let refused = REFUSED.map(|(i, code, _)| Rule::to(phone(i)).code(code));
    let undelivered = UNDELIVERED.map(|(i, code, _)| Rule::to(phone(i)).receipt(code));
    let calls = [
        Rule::to(phone(70)).cut_before(),
        Rule::to(phone(80)).status(503),
        Rule::to(phone(LOST)).cut_after(),
        Rule::to(phone(SLOW)).code("20429").times(1),
    ];
    let defaults = Options::default();
    Options {
        rules: refused.into_iter().chain(undelivered).chain(calls).collect(),
        receipts: Plan { answer_within: Duration::from_secs(20), ..disorder(defaults.receipts) },
        ..Options::default()
    }
}

async fn open(service: &Twilio) -> TextShop {
    let accounts = format!(
        "[channels.sms]\nproviders = [\"carrier\"]\nretry = [\"100ms\", \"300ms\"]\nrate = \"{RATE}/s\"\n\
         [providers.carrier]\nkind = \"twilio\"\naccount_sid = \"ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n\
         auth_token = \"test_auth_token\"\nfrom = \"{FROM}\"\ntimeout = \"60s\"\nbase_url = \"http://{}\"\n",
        service.addr()
    );
    let shop = TextShop::open(&accounts, TEMPLATE, PEOPLE).await;
    service.callbacks().aim(shop.hook("carrier"));
    shop
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_settle_messages_and_the_limit_counts_segments() {
    let service = Twilio::start("127.0.0.1:0", options()).await.expect("a service");
    let shop = open(&service).await;
    let taken = PEOPLE - REFUSED.len() - DOUBTFUL.len();
    let begun = Instant::now();
    shop.campaign("spring", json!({"all": true}), json!({})).await;
    in_time("the messages", service.tally().received(taken as u64)).await;
    let seconds = begun.elapsed().as_secs_f64();
    let parts: u32 = service.tally().newest().iter().map(|message| segments(&message.body)).sum();
    assert!(f64::from(parts) <= seconds * RATE + BURST, "{parts} segments within {seconds} s");
    assert!(parts as usize > taken * 3 / 2, "many texts need several");
    shop.books.until("spring", CampaignStatus::Finished).await;

    let scripted = |i| REFUSED.iter().chain(&UNDELIVERED).find(|(of, ..)| *of == i).map(|(.., fate)| *fate);
    let doubtful = |i| DOUBTFUL.iter().find(|(of, _)| *of == i).map(|(_, fate)| *fate);
    let expected = shop.fates(|i| scripted(i).or_else(|| doubtful(i)).unwrap_or("delivered").to_owned());
    shop.settle("spring", &expected).await;
    for i in 1..=PEOPLE {
        let refused = REFUSED.iter().any(|(of, ..)| *of == i) || doubtful(i).is_some();
        assert_eq!(service.tally().to(&phone(i)), u32::from(!refused), "{i}");
    }
    let counts = service.tally().counts();
    assert_eq!((counts.messages, counts.repeated), (taken as u64, 0));
    // `sent` and how it ended, twice each.
    in_time("the receipts", service.callbacks().settled(|receipts| receipts.taken >= 4 * counts.messages))
        .await;
    shop.assert_fates("spring", &expected).await;
    shop.assert_report("spring", &expected, billed(&expected, text)).await;
    assert_eq!(shop.books.explain("spring", &id(SLOW)).await.delivery.attempts, 1, "to wait is no attempt");

    leaving_and_what_follows(&shop, &service).await;
}

async fn leaving_and_what_follows(shop: &TextShop, service: &Twilio) {
    for (i, words, gone) in [(200, "STOP", true), (210, "退订", true), (220, "When do you close?", false)] {
        assert!(service.reply(&phone(i), FROM, words).await);
        shop.assert_unsubscribed(i, gone).await;
    }
    let expected = [
        (7, "excluded/suppressed"),
        (8, "excluded/unsubscribed"),
        (30, "excluded/suppressed"),
        (90, "delivered"),
        (200, "excluded/unsubscribed"),
        (210, "excluded/unsubscribed"),
        (220, "delivered"),
    ];
    let audience = expected.map(|(i, _)| id(i));
    let expected = expected.map(|(i, fate)| (id(i), fate.to_owned())).into();
    shop.campaign("again", json!({"contacts": audience}), json!({})).await;
    // The lost answer's rule holds for each call to that number: its doubt ends with the receipt again.
    shop.settle("again", &expected).await;
    shop.books.until("again", CampaignStatus::Finished).await;
    shop.assert_report("again", &expected, billed(&expected, text)).await;

    shop.message("order-1", json!({"external_id": id(220)})).await;
    shop.message("order-2", json!({"address": "+4915112345678"})).await;
    shop.orders_delivered(2).await;
    assert_eq!(service.tally().to("+4915112345678"), 1);
}
