//! Tencent Cloud: hundreds of numbers a call, each with a code of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use campaignd::model::CampaignStatus;
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::http::Request;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::tencent::{Options, Tencent};
use serde_json::{Value, json};

use super::{TextShop, billed, disorder, id, in_time, phone, shop};
use crate::harness::books::Fates;

const SECRET: &str = "0123456789abcdef";
const PEOPLE: usize = 2_000;
/// One in the call whose answer is lost, far from all who have another fate.
const LOST: usize = 1_200;

const APPROVED: &str = "春季大促，全场{1}，详情请到{2}门店咨询，拒收请回复R";
/// Calls share their parameters.
const TEMPLATE: &str = r#"[sms]
text = "【商店】春季大促，全场{{discount}}，详情请到{{shop}}门店咨询，拒收请回复R"
tencent = { sign_name = "商店", template_id = "1110", params = ["{{discount}}", "{{shop}}"] }
"#;

fn text(i: usize) -> String {
    format!("【商店】{}", APPROVED.replace("{1}", "八折").replace("{2}", shop(i)))
}

/// Those whom the service refuses, with its code, and what that is to us.
const REFUSED: [(usize, &str, &str); 4] = [
    (7, "InvalidParameterValue.IncorrectPhoneNumber", "rejected/unknown_recipient"),
    (8, "FailedOperation.PhoneNumberInBlacklist", "rejected/recipient_refused"),
    (640, "FailedOperation.ContainSensitiveWord", "rejected/message_refused"),
    (1_999, "InternalError.Timeout", "unknown/no_answer"),
];
/// Those whose carrier does not deliver.
const UNDELIVERED: [(usize, &str, &str); 4] = [
    (30, "MK:0001", "bounced/unknown_recipient"),
    (40, "EXPIRED", "bounced/recipient_refused"),
    (50, "MBBLACK", "bounced/recipient_refused"),
    (60, "IB:0008", "bounced/temporary_failure"),
];

fn options() -> Options {
    let refused = REFUSED.map(|(i, code, _)| Rule::to(phone(i)).code(code));
    let undelivered = UNDELIVERED.map(|(i, code, _)| Rule::to(phone(i)).receipt(code));
    let calls = [Rule::nth(2).code("RequestLimitExceeded"), Rule::to(phone(LOST)).cut_after()];
    let defaults = Options::default();
    Options {
        templates: [("1110".to_owned(), APPROVED.to_owned())].into(),
        rules: refused.into_iter().chain(undelivered).chain(calls).collect(),
        receipts: Plan { answer_within: Duration::from_secs(20), ..disorder(defaults.receipts) },
        ..Options::default()
    }
}

async fn open(service: &Tencent) -> TextShop {
    let accounts = format!(
        "[channels.sms]\nconcurrency = 4\nproviders = [\"carrier\"]\nretry = [\"100ms\", \"300ms\"]\n[providers.carrier]\n\
         kind = \"tencent\"\nsecret_id = \"AKIDtestSecretId\"\nsecret_key = \"testSecretKey\"\n\
         sdk_app_id = \"1400006666\"\nhook_secret = \"{SECRET}\"\ntimeout = \"60s\"\nbase_url = \"http://{}\"\n",
        service.addr()
    );
    let shop = TextShop::open(&accounts, TEMPLATE, PEOPLE).await;
    service.callbacks().aim(shop.hook(&format!("carrier/{SECRET}")));
    shop
}

/// The numbers of each call.
fn calls(service: &Tencent) -> Vec<BTreeSet<String>> {
    let numbers = |request: Request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        serde_json::from_value(body["PhoneNumberSet"].clone()).expect("numbers")
    };
    service.server().requests().into_iter().map(numbers).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_number_of_a_call_has_its_own_answer_and_receipt() {
    let service = Tencent::start("127.0.0.1:0", options()).await.expect("a service");
    let shop = open(&service).await;
    let offer = json!({"data": {"discount": "八折"}});
    shop.campaign("spring", json!({"all": true}), offer.clone()).await;
    shop.books.until("spring", CampaignStatus::Finished).await;

    let calls = calls(&service);
    // How many go in a call depends on how fast the machine is.
    let most = calls.iter().map(BTreeSet::len).max();
    assert!((Some(2)..=Some(200)).contains(&most), "many go in a call: {most:?}");
    let lost = calls.iter().rfind(|numbers| numbers.contains(&phone(LOST))).expect("a call");
    let scripted = |i| REFUSED.iter().chain(&UNDELIVERED).find(|(of, ..)| *of == i).map(|(.., fate)| *fate);
    let expected = shop.fates(|i| match scripted(i) {
        // The receipts name what only the lost answer told.
        _ if lost.contains(&phone(i)) => "unknown/connection_lost".to_owned(),
        Some(fate) => fate.to_owned(),
        None => "delivered".to_owned(),
    });
    shop.settle("spring", &expected).await;
    for i in 1..=PEOPLE {
        let refused = REFUSED.iter().any(|(of, ..)| *of == i);
        assert_eq!(service.tally().to(&phone(i)), u32::from(!refused), "{i}");
    }
    let counts = service.tally().counts();
    assert_eq!((counts.messages, counts.repeated), (counts.recipients, 0));
    in_time("the receipts", service.callbacks().settled(|receipts| receipts.taken >= 2 * counts.messages))
        .await;
    shop.assert_fates("spring", &expected).await;
    shop.assert_report("spring", &expected, billed(&expected, text)).await;

    leaving_and_what_follows(&shop, &service, &expected).await;
}

async fn leaving_and_what_follows(shop: &TextShop, service: &Tencent, before: &Fates) {
    for (i, words, gone) in [(200, "R", true), (210, "ｔｄ", true), (220, "几点关门？", false)] {
        assert!(service.reply(&phone(i), "商店", words).await);
        shop.assert_unsubscribed(i, gone).await;
    }
    let expected = [
        (7, "excluded/suppressed"),
        (8, "excluded/unsubscribed"),
        (30, "excluded/suppressed"),
        (50, "excluded/unsubscribed"),
        (200, "excluded/unsubscribed"),
        (210, "excluded/unsubscribed"),
        (220, "delivered"),
    ];
    // Of whoever was in the lost call nothing was learnt.
    let learnt = |(i, _): &(usize, &str)| !before[&id(*i)].starts_with("unknown");
    let expected: Fates =
        expected.into_iter().filter(learnt).map(|(i, fate)| (id(i), fate.to_owned())).collect();
    let audience: Vec<&String> = expected.keys().collect();
    let offer = json!({"data": {"discount": "八折"}});
    shop.campaign("again", json!({"contacts": audience}), offer).await;
    shop.books.until("again", CampaignStatus::Finished).await;
    shop.settle("again", &expected).await;
    shop.assert_report("again", &expected, billed(&expected, text)).await;

    shop.message("order-1", json!({"external_id": id(220)})).await;
    shop.message("order-2", json!({"external_id": id(200)})).await;
    shop.orders_delivered(2).await;
}
