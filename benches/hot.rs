//! What every message costs beside stores and sockets, in instructions: the same on a busy machine as on a quiet one.
//!
//! `scripts/bench-instructions` runs it under valgrind; what it counted when is in `docs/performance.md`.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use campaignd::model::content::{Content, EmailContent};
use campaignd::model::job::Job;
use campaignd::model::{CampaignNo, Channel, ContactNo, DeliveryKey, LinkNo, segments};
use campaignd::render::mime::{self, Headers, Mailbox};
use campaignd::render::{Recipient, Registry, Template, Tracking};
use campaignd::token::{Key, Keyring, Kind};
use gungraun::prelude::*;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const LINKS: [LinkNo; 3] = [LinkNo(1), LinkNo(2), LinkNo(3)];
const DELIVERY: DeliveryKey =
    DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(345_678), occurrence: 0 };

fn keyring() -> Keyring {
    Keyring::new(Key::new(1, &[7; 32]), Vec::new())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

/// The template of the shop's spring sale, as it is shipped, and a contact.
struct Sale {
    template: Arc<Template>,
    keyring: Keyring,
    data: Map<String, Value>,
    attributes: Map<String, Value>,
}

fn sale() -> Sale {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let registry = Registry::load(&templates).unwrap_or_else(|problems| panic!("{problems:?}"));
    let products: Vec<Value> = ["Rake", "Seeds", "Pots"]
        .iter()
        .map(|title| json!({"title": title, "price": 12.5, "url": format!("https://shop.example/{title}")}))
        .collect();
    Sale {
        template: registry.get("spring-sale").expect("the spring sale"),
        keyring: keyring(),
        data: object(json!({"discount": "20 %", "currency": "EUR", "products": products})),
        attributes: object(json!({"name": "Mei", "city": "Chengdu", "tier": "gold"})),
    }
}

fn rendered(sale: &Sale, channel: Channel) -> Content {
    let recipient = Recipient {
        external_id: "C-345678",
        locale: None,
        timezone: Some("Asia/Shanghai"),
        attributes: &sale.attributes,
        own_data: None,
    };
    let tracking = Tracking {
        keyring: &sale.keyring,
        delivery: DELIVERY,
        public_url: "https://t.shop.example",
        opens: true,
        clicks: true,
        links: &LINKS,
    };
    let mut renderer = sale.template.renderer(channel, &sale.data).expect("a renderer");
    renderer.render(&recipient, &tracking).expect("a message")
}

fn email() -> (EmailContent, Mailbox) {
    let Content::Email(email) = rendered(&sale(), Channel::Email) else { panic!("no e-mail") };
    (email, "Shop <news@shop.example>".parse().expect("a mailbox"))
}

#[library_benchmark]
#[bench::email(args = (Channel::Email), setup = with_channel)]
#[bench::sms(args = (Channel::Sms), setup = with_channel)]
#[bench::push(args = (Channel::Push), setup = with_channel)]
fn render((sale, channel): (Sale, Channel)) -> Content {
    rendered(black_box(&sale), channel)
}

fn with_channel(channel: Channel) -> (Sale, Channel) {
    let sale = sale();
    // The first message of a template pays for what is built once.
    drop(rendered(&sale, channel));
    (sale, channel)
}

#[library_benchmark]
#[bench::whole_mail(setup = email)]
fn write_mime((email, from): (EmailContent, Mailbox)) -> bytes::Bytes {
    let headers = Headers {
        from: &from,
        reply_to: None,
        to: "mei@example.com",
        to_name: None,
        message_id: "12.345678.0@shop.example",
        date: Timestamp::UNIX_EPOCH,
        list_id: Some("news.shop.example"),
        feedback_id: Some("12:marketing:campaignd:shop.example"),
        unsubscribe: Some("https://t.shop.example/u/AQwABdGfAA"),
        unsubscribe_mailto: None,
        bulk: true,
        service: &[],
    };
    mime::message(black_box(&email), &headers).expect("a mail")
}

#[library_benchmark]
#[bench::constant_link(setup = keyring)]
fn mint_click(keyring: Keyring) -> String {
    let mut url = String::with_capacity(64);
    assert!(keyring.mint_click(black_box(DELIVERY), LinkNo(2), None, &mut url));
    url
}

fn click() -> (Keyring, String) {
    let keyring = keyring();
    let token = mint_click_of(&keyring);
    (keyring, token)
}

fn mint_click_of(keyring: &Keyring) -> String {
    let mut token = String::new();
    assert!(keyring.mint_click(DELIVERY, LinkNo(2), None, &mut token));
    token
}

#[library_benchmark]
#[bench::click(setup = click)]
fn verify((keyring, token): (Keyring, String)) -> bool {
    keyring.verify(Kind::Click, black_box(&token)).is_some()
}

#[library_benchmark]
#[bench::latin("Garden Shop: 20 % off for spring: https://shop.example/s Reply STOP to opt out")]
#[bench::chinese(
    "【花园商店】梅，春季特惠 20 %： https://shop.example/s 拒收请回复R，期待您的光临，全场包邮，限时三天，先到先得，售完为止。"
)]
fn count_segments(text: &str) -> u32 {
    segments::count(black_box(text))
}

/// A campaign's job that lists five hundred contacts.
fn job() -> Vec<u8> {
    let contacts: Vec<String> = (0..500).map(|n| format!("C-{n:06}")).collect();
    let job = json!({
        "type": "campaign", "id": "spring", "channel": "email", "purpose": "marketing", "template": "spring-sale",
        "audience": {"contacts": contacts},
    });
    job.to_string().into_bytes()
}

#[library_benchmark]
#[bench::of_500_contacts(setup = job)]
fn read_job(body: Vec<u8>) -> bool {
    Job::read(black_box(&body)).is_ok()
}

library_benchmark_group!(
    name = hot,
    benchmarks = [render, write_mime, mint_click, verify, count_segments, read_job]
);
main!(library_benchmark_groups = hot);
