//! A flood of jobs half of which are broken: the good ones are sent once each, each broken one is kept with its reason.

use std::collections::BTreeMap;

use campaignd_loadtest::smtp::{Keep, Options, Sink};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use serde_json::json;

use crate::harness::chance::dice;
use crate::harness::daemon::Setup;
use crate::harness::shop::{ONLY_PEOPLE, Shop, campaign, message};
use crate::services::wait::eventually;

const GOOD: usize = 10_000;
const BAD: usize = 10_000;
const QUEUES: [&str; 2] = ["campaignd.messages", "campaignd.jobs"];
/// Publishes whose confirms are awaited together.
const WINDOW: usize = 500;

fn good(n: usize) -> Vec<u8> {
    let to = json!({"address": format!("m{n}@example.com")});
    message(&format!("m{n}"), to, json!({"data": {"name": "Anna"}})).to_string().into_bytes()
}

/// A job that is wrong in one of many ways, and what its reason must name.
fn bad(n: usize, dice: &mut fastrand::Rng) -> (Vec<u8>, &'static str) {
    let id = format!("bad{n}");
    let to = || json!({"address": format!("{id}@example.com")});
    let whole = message(&id, to(), json!({})).to_string();
    let with = |more| message(&id, to(), more).to_string().into_bytes();
    match n % 16 {
        0 => (whole.as_bytes()[..dice.usize(1..whole.len())].to_vec(), "$"),
        1 => (Vec::new(), "$"),
        2 => ((0..dice.usize(1..200)).map(|_| dice.u8(128..)).collect(), "$"),
        3 => (whole.replace("Name", "\u{0}").replace("hello", "\\ud800").into_bytes(), "$"),
        4 => (format!("{whole}{whole}").into_bytes(), "$"),
        5 => (vec![b'['; dice.usize(1_000..100_000)], "$"),
        6 => (json!([id]).to_string().into_bytes(), "$"),
        7 => (json!({"type": "sermon", "id": id}).to_string().into_bytes(), "$.type"),
        8 => (json!({"type": "message"}).to_string().into_bytes(), "$: missing field"),
        9 => (with(json!({"id": n})), "$.id"),
        10 => (with(json!({"colour": "red"})), "$.colour"),
        11 => (with(json!({"template": "missing"})), "$.template"),
        12 => (with(json!({"channel": "fax"})), "$.channel"),
        13 => (with(json!({"to": {}})), "$.to"),
        14 => (campaign(&id, json!({"rate": "fast"})).to_string().into_bytes(), "$.rate"),
        _ => {
            let segment = json!({"audience": {"segment": {"all": [{"tag": 7}]}}});
            (campaign(&id, segment).to_string().into_bytes(), "$.audience.segment.all[0]")
        }
    }
}

/// Good and bad in turn, so that each has broken neighbours; every fourth pair goes to the bulk queue.
async fn publish(channel: &Channel, bad: &[Vec<u8>]) {
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let jobs: Vec<(&str, Vec<u8>)> = (0..GOOD)
        .zip(bad)
        .flat_map(|(n, bad)| {
            let queue = QUEUES[usize::from(n % 4 == 0)];
            [(queue, good(n)), (queue, bad.clone())]
        })
        .collect();
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    for window in jobs.chunks(WINDOW) {
        let mut confirms = Vec::with_capacity(WINDOW);
        for (queue, body) in window {
            let sent = channel.basic_publish("".into(), (*queue).into(), options, body, properties.clone());
            confirms.push(sent.await.unwrap());
        }
        for confirm in confirms {
            assert!(confirm.await.unwrap().is_ack());
        }
    }
}

fn header(letter: &Delivery, name: &str) -> String {
    match letter.properties.headers().as_ref().and_then(|headers| headers.inner().get(name)) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Each bad body comes once, with a reason that names the place.
async fn assert_all_dead(channel: &Channel, bad: &BTreeMap<Vec<u8>, (usize, &str)>) {
    let (tag, options) = ("".into(), BasicConsumeOptions { no_ack: true, ..Default::default() });
    let mut letters =
        channel.basic_consume("campaignd.dead".into(), tag, options, FieldTable::default()).await.unwrap();
    let mut left: BTreeMap<&[u8], usize> = bad.iter().map(|(body, (n, _))| (body.as_slice(), *n)).collect();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..BAD {
        let letter = eventually("a dead letter", async || letters.next().await).await.unwrap();
        let error = header(&letter, "x-campaignd-error");
        let (_, place) = bad.get(&letter.data).unwrap_or_else(|| panic!("a good job died: {error}"));
        assert!(error.contains(place), "{place}: {error}");
        assert!(QUEUES.contains(&header(&letter, "x-campaignd-queue").as_str()));
        let (body, times) = left.remove_entry(letter.data.as_slice()).expect("no letter comes twice");
        if times > 1 {
            left.insert(body, times - 1);
        }
        *reasons.entry((*place).to_owned()).or_default() += 1;
    }
    println!("{BAD} dead letters by the place that they name: {reasons:?}");
    assert!(left.is_empty());
}

async fn waiting(channel: &Channel, queue: &str) -> u32 {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap().message_count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_good_are_sent_and_the_bad_are_kept_with_their_reasons() {
    let options = Options { keep: Keep::Envelopes, ..Options::default() };
    let sink = Sink::start("127.0.0.1:0", options).await.unwrap();
    let setup = Setup::new(sink.addr(), ONLY_PEOPLE).await;
    let shop = Shop::with(setup, sink).await;
    let mut dice = dice();
    let bad: Vec<_> = (0..BAD).map(|n| bad(n, &mut dice)).collect();
    let (bodies, places): (Vec<_>, Vec<_>) = bad.into_iter().unzip();
    let mut expected: BTreeMap<Vec<u8>, (usize, &str)> = BTreeMap::new();
    for (body, place) in bodies.iter().zip(places) {
        expected.entry(body.clone()).or_insert((0, place)).0 += 1;
    }
    let connection = lapin::Connection::connect(&shop.setup.amqp_url, Default::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    publish(&channel, &bodies).await;

    assert_all_dead(&channel, &expected).await;
    shop.taken(GOOD as u64).await;
    shop.books.assert_balanced("orders").await;
    assert_eq!(shop.books.tally("orders").await, BTreeMap::from([("accepted".to_owned(), GOOD as i64)]));
    let mut reached: Vec<String> = shop.sink.messages().into_iter().flat_map(|mail| mail.to).collect();
    reached.sort();
    let mut wanted: Vec<String> = (0..GOOD).map(|n| format!("m{n}@example.com")).collect();
    wanted.sort();
    assert!(reached == wanted, "each good one once: {} mails", reached.len());
    for queue in QUEUES.into_iter().chain(["campaignd.dead"]) {
        assert_eq!(waiting(&channel, queue).await, 0, "{queue} is empty");
    }
    println!("{GOOD} good jobs sent once each");
}
