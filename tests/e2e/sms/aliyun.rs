//! Aliyun: many numbers a call, where a bad one spoils the call; and one number a call, where receipts settle doubts.

use std::collections::BTreeSet;
use std::time::Duration;

use campaignd::model::CampaignStatus;
use campaignd_loadtest::aliyun::{Aliyun, Options};
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::http::form;
use campaignd_loadtest::script::Rule;
use serde_json::json;

use super::{TextShop, billed, disorder, id, name, phone};
use crate::harness::books::Fates;

const SECRET: &str = "0123456789abcdef";
const PEOPLE: usize = 1_500;
/// One in the call whose answer is lost, far from all who are refused.
const LOST: usize = 1_400;

/// What the service has approved, and how it reads to a recipient.
const APPROVED: &str = "${name}，春季大促全场八折，详情请到店咨询，拒收请回复R";
const TEMPLATE: &str = r#"[sms]
text = "【商店】{{name}}，春季大促全场八折，详情请到店咨询，拒收请回复R"
aliyun = { sign_name = "商店", template_code = "SMS_1", params = { name = "{{name}}" } }
"#;

fn text(i: usize) -> String {
    format!("【商店】{}", APPROVED.replace("${name}", &name(i)))
}

/// The number as the service has it.
fn number(i: usize) -> String {
    phone(i).trim_start_matches("+86").to_owned()
}

/// Those whom the service refuses, with its code, and what that is to us.
const REFUSED: [(usize, &str, &str); 4] = [
    (7, "isv.MOBILE_NUMBER_ILLEGAL", "rejected/unknown_recipient"),
    (8, "isv.MOBILE_NUMBER_ILLEGAL", "rejected/unknown_recipient"),
    (640, "isv.DOMESTIC_NUMBER_NOT_SUPPORTED", "rejected/recipient_refused"),
    (1_203, "isv.BLACK_KEY_CONTROL_LIMIT", "rejected/message_refused"),
];
/// Those whose carrier does not deliver: every code of theirs that is known, and one that is not.
const UNDELIVERED: [(usize, &str, &str); 18] = [
    (30, "MK:0001", "bounced/unknown_recipient"),
    (31, "CB:0001", "bounced/unknown_recipient"),
    (32, "MI:0073", "bounced/unknown_recipient"),
    (33, "MI:0210", "bounced/unknown_recipient"),
    (40, "MK:0005", "bounced/recipient_refused"),
    (41, "MK:0013", "bounced/recipient_refused"),
    (42, "EXPIRED", "bounced/recipient_refused"),
    (43, "MK:0010", "bounced/recipient_refused"),
    (44, "MK:0023", "bounced/recipient_refused"),
    (45, "XX:9999", "bounced/recipient_refused"),
    (50, "MBBLACK", "bounced/recipient_refused"),
    (51, "DBBLACK", "bounced/recipient_refused"),
    (52, "DB:0144", "bounced/recipient_refused"),
    (53, "TDBLACK", "bounced/recipient_refused"),
    (60, "IB:0008", "bounced/temporary_failure"),
    (61, "MI:0061", "bounced/temporary_failure"),
    (70, "MK:0115", "bounced/message_refused"),
    (71, "KEYWORD", "bounced/message_refused"),
];
/// What a row of those codes means for the next campaign: dead numbers and those who opted out are left out.
const LEFT_OUT: [(usize, &str); 8] = [
    (30, "excluded/suppressed"),
    (31, "excluded/suppressed"),
    (32, "excluded/suppressed"),
    (33, "excluded/suppressed"),
    (50, "excluded/unsubscribed"),
    (51, "excluded/unsubscribed"),
    (52, "excluded/unsubscribed"),
    (53, "excluded/unsubscribed"),
];

fn service(rules: Vec<Rule>) -> Options {
    let defaults = Options::default();
    Options {
        templates: [("SMS_1".to_owned(), APPROVED.to_owned())].into(),
        rules,
        // A busy machine may take longer than the service's 0.7 s.
        receipts: Plan { answer_within: Duration::from_secs(20), ..disorder(defaults.receipts) },
        ..Options::default()
    }
}

fn batches() -> Options {
    let refused = REFUSED.map(|(i, code, _)| Rule::to(number(i)).code(code));
    let undelivered = UNDELIVERED.map(|(i, code, _)| Rule::to(number(i)).receipt(code));
    let calls = [
        Rule::nth(3).code("isp.SYSTEM_ERROR"),
        Rule::nth(4).code("Throttling.User"),
        Rule::to(number(LOST)).cut_after(),
    ];
    service(refused.into_iter().chain(undelivered).chain(calls).collect())
}

/// One whose answer is lost, and one whose request is: a receipt settles the first doubt and not the second.
fn singly() -> Options {
    service(vec![Rule::to(number(110)).cut_after(), Rule::to(number(120)).cut_before()])
}

async fn open(batches: &Aliyun, singly: &Aliyun) -> TextShop {
    let account = |name: &str, service: &Aliyun, single: bool| {
        format!(
            "[providers.{name}]\nkind = \"aliyun\"\naccess_key_id = \"testAccessKeyId\"\n\
             access_key_secret = \"testAccessKeySecret\"\nhook_secret = \"{SECRET}\"\nsingle = {single}\n\
             timeout = \"60s\"\nbase_url = \"http://{}\"\n",
            service.addr()
        )
    };
    let accounts = format!(
        "[channels.sms]\nconcurrency = 4\nproviders = [\"batches\"]\nretry = [\"100ms\", \"300ms\", \"1s\"]\n{}{}",
        account("batches", batches, false),
        account("singly", singly, true)
    );
    let shop = TextShop::open(&accounts, TEMPLATE, PEOPLE).await;
    batches.callbacks().aim(shop.hook(&format!("batches/{SECRET}")));
    singly.callbacks().aim(shop.hook(&format!("singly/{SECRET}")));
    shop
}

/// The numbers in the call that was taken without an answer.
fn in_doubt(service: &Aliyun) -> BTreeSet<String> {
    let mut calls = service.server().requests().into_iter().filter_map(|request| {
        let body = form::pairs(std::str::from_utf8(&request.body).ok()?)?;
        serde_json::from_str::<BTreeSet<String>>(form::value(&body, "PhoneNumberJson")?).ok()
    });
    let lost = calls.rfind(|numbers| numbers.contains(&number(LOST)));
    lost.unwrap_or_else(|| [number(LOST)].into())
}

fn scripted(i: usize) -> Option<&'static str> {
    REFUSED.iter().chain(&UNDELIVERED).find(|(of, ..)| *of == i).map(|(.., fate)| *fate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_bad_numbers_spoil_reach_everyone_once() {
    let service = Aliyun::start("127.0.0.1:0", batches()).await.expect("a service");
    let single = Aliyun::start("127.0.0.1:0", singly()).await.expect("a service");
    let shop = open(&service, &single).await;
    shop.campaign("spring", json!({"all": true}), json!({})).await;
    shop.books.until("spring", CampaignStatus::Finished).await;

    let doubtful = in_doubt(&service);
    let expected = shop.fates(|i| match scripted(i) {
        _ if doubtful.contains(&number(i)) => "unknown/connection_lost".to_owned(),
        Some(fate) => fate.to_owned(),
        None => "delivered".to_owned(),
    });
    shop.settle("spring", &expected).await;
    for i in 1..=PEOPLE {
        let refused = REFUSED.iter().any(|(of, ..)| *of == i) && !doubtful.contains(&number(i));
        assert_eq!(service.tally().to(&number(i)), u32::from(!refused), "{i}");
    }
    let counts = service.tally().counts();
    assert_eq!((counts.messages, counts.repeated), (counts.recipients, 0));
    let messages = service.tally().newest();
    let together = |call: &str| messages.iter().filter(|message| message.biz_id == call).count();
    // How many go in a call depends on how fast the machine is.
    let most = messages.iter().map(|message| together(&message.biz_id)).max();
    assert!((Some(2)..=Some(100)).contains(&most), "many go in a call: {most:?}");
    // Each receipt came at least twice; those that were not early at the second time too.
    service.callbacks().settled(|receipts| receipts.taken >= 2 * counts.messages).await;
    shop.assert_fates("spring", &expected).await;
    shop.assert_report("spring", &expected, billed(&expected, text)).await;

    assert_eq!(doubtful.len(), expected.values().filter(|fate| fate.starts_with("unknown")).count());
    leaving_and_what_follows(&shop, &service, &single).await;
}

async fn leaving_and_what_follows(shop: &TextShop, service: &Aliyun, single: &Aliyun) {
    for (i, words, gone) in [(200, "R", true), (210, "退订。", true), (220, "几点关门？", false)] {
        assert!(service.reply(&number(i), "1234", words).await);
        shop.assert_unsubscribed(i, gone).await;
    }
    shop.assert_unsubscribed(53, true).await;
    let others = [
        (7, "excluded/suppressed"),
        (40, "delivered"),
        (45, "delivered"),
        (60, "delivered"),
        (70, "delivered"),
        (110, "delivered"),
        (120, "unknown/connection_lost"),
        (200, "excluded/unsubscribed"),
        (210, "excluded/unsubscribed"),
        (220, "delivered"),
    ];
    let expected: Fates =
        others.iter().chain(&LEFT_OUT).map(|(i, fate)| (id(*i), (*fate).to_owned())).collect();
    let audience: Vec<&String> = expected.keys().collect();
    shop.campaign("again", json!({"contacts": audience}), json!({"provider": "singly"})).await;
    shop.books.until("again", CampaignStatus::Finished).await;
    shop.settle("again", &expected).await;
    shop.assert_report("again", &expected, billed(&expected, text)).await;
    assert_eq!((single.tally().counts().messages, single.tally().to(&number(110))), (6, 1));

    // What serves the contract still goes to whoever left; a new number becomes a contact.
    shop.message("order-1", json!({"external_id": id(200)})).await;
    shop.message("order-2", json!({"address": "+8615900000001"})).await;
    shop.orders_delivered(2).await;
}
