//! What people do while PostgreSQL is away: answered, kept on the disk, and counted once when it is back, whatever dies
//! meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use futures_util::future::join_all;
use hyper::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::consume::Listener;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::http::{KeptAlive, get};
use crate::harness::instance::Instance;
use crate::harness::mail::{Mail, RecordingSink};
use crate::harness::shop::{ONLY_PEOPLE, Shop, campaign, write_templates};
use crate::services::wait::eventually;

const PEOPLE: usize = 1_000;
/// Those who act while PostgreSQL hangs; the others, while it is gone.
const FROZEN: usize = 100;
/// One in so many unsubscribes.
const LEAVE: usize = 4;
const CONNECTIONS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_outlive_the_store_and_the_daemon_and_count_once() {
    let (instance, sink) = tokio::join!(Instance::start(), RecordingSink::start());
    let mut shop = Shop::with(Setup::on(&instance, sink.address(), ONLY_PEOPLE), sink).await;
    let listener = Listener::start(&shop.setup.amqp_url, "campaignd.events").await;
    let mails = sent(&shop, PEOPLE).await;
    let (frozen, gone) = mails.split_at(FROZEN);

    // Whether PostgreSQL took what it was given before it froze, nobody knows.
    instance.freeze("postgres").await;
    act(&shop, frozen).await;
    instance.thaw("postgres").await;
    until_recorded(&shop, FROZEN).await;

    instance.down("postgres").await;
    let began = Instant::now();
    let requests = act(&shop, gone).await;
    println!("{requests} requests answered in {:?} without PostgreSQL", began.elapsed());
    println!("spooled: {} bytes", metric(&shop, "campaignd_event_spool_bytes").await);
    assert_eq!(metric(&shop, "campaignd_events_dropped_total").await, 0.0);
    shop.daemon.process.sigkill();
    shop.daemon.process.ended().await;
    instance.up("postgres").await;

    // It dies in the middle of handing them over, too.
    shop.daemon = Daemon::begin(&shop.setup);
    until_recorded(&shop, FROZEN + 1).await;
    shop.daemon.process.sigkill();
    shop.daemon.process.ended().await;
    println!("killed again with {} of {PEOPLE} opens recorded", recorded(&shop).await);
    shop.daemon = Daemon::start(&shop.setup).await;
    until_recorded(&shop, PEOPLE).await;
    eventually("an empty spool", async || segments(&shop).is_empty().then_some(())).await;

    assert_counted_once(&shop).await;
    assert_heard(&listener).await;
}

/// Everyone's mail, in the order of their numbers.
async fn sent(shop: &Shop, people: usize) -> Vec<Mail> {
    shop.people(people).await;
    shop.submit(campaign("spring", json!({}))).await;
    shop.books.finished("spring").await;
    let mut mails = shop.mails(people).await;
    mails.sort_by_key(|mail| number(&mail.to[0]));
    mails
}

/// Each opens and clicks, and some unsubscribe; everybody is answered as if nothing were amiss.
async fn act(shop: &Shop, mails: &[Mail]) -> usize {
    let requests: Vec<(Method, String, u16)> = mails.iter().flat_map(requests).collect();
    let answers = requests.chunks(requests.len().div_ceil(CONNECTIONS)).map(async |requests| {
        let mut client = KeptAlive::to(shop.setup.public);
        for (method, url, expected) in requests {
            let answer = client.send(method.clone(), shop.path(url)).await.expect("an answer");
            assert_eq!(answer.status(), *expected, "{method} {url}");
        }
    });
    join_all(answers).await;
    requests.len()
}

fn requests(mail: &Mail) -> Vec<(Method, String, u16)> {
    let mut requests = vec![(Method::GET, mail.pixel(), 200), (Method::GET, mail.links()[1].clone(), 302)];
    if leaves(&mail.to[0]) {
        requests.push((Method::POST, unsubscribe_link(mail), 200));
    }
    requests
}

fn leaves(who: &str) -> bool {
    number(who).is_multiple_of(LEAVE)
}

/// In an address or an id: `p7@example.com`, `P7`.
fn number(who: &str) -> usize {
    who.split('@').next().unwrap().trim_start_matches(['p', 'P']).parse().expect("a number")
}

fn unsubscribe_link(mail: &Mail) -> String {
    let header = mail.header("list-unsubscribe").expect("List-Unsubscribe");
    header.trim_start_matches('<').trim_end_matches('>').to_owned()
}

async fn recorded(shop: &Shop) -> i64 {
    shop.books.report("spring").await.opens.expect("mails have pixels").total
}

/// Opens of at least `people`; an open is recorded with or before its click.
async fn until_recorded(shop: &Shop, people: usize) {
    eventually(&format!("{people} opens"), async || {
        (recorded(shop).await >= i64::try_from(people).unwrap()).then_some(())
    })
    .await;
}

/// Counters, rows of events and what contacts say: each once.
async fn assert_counted_once(shop: &Shop) {
    let (everyone, left) = (PEOPLE as i64, (PEOPLE / LEAVE) as i64);
    let report = eventually("all clicks and unsubscribes", async || {
        let report = shop.books.report("spring").await;
        (report.clicks.total >= everyone && report.unsubscribes >= left).then_some(report)
    })
    .await;
    let opens = report.opens.unwrap();
    assert_eq!((opens.unique, opens.total, opens.machine), (everyone, everyone, 0));
    assert_eq!((report.clicks.unique, report.clicks.total, report.clicks.machine), (everyone, everyone, 0));
    assert_eq!(report.unsubscribes, left);
    let series = report.series.iter().fold((0, 0), |sum, hour| (sum.0 + hour.opens, sum.1 + hour.clicks));
    assert_eq!(series, (everyone, everyone));
    for number in 1..=PEOPLE {
        let id = format!("P{number}");
        let contact = shop.books.contact(&id).await;
        assert_eq!((contact.engagement.opens, contact.engagement.clicks), (1, 1), "{id}");
        assert_eq!(contact.addresses[0].unsubscribed_at.is_some(), leaves(&id), "{id}");
    }
    shop.books.assert_balanced("spring").await;
}

/// Each event went out, always with the same id.
async fn assert_heard(listener: &Listener) {
    let wanted = 2 * PEOPLE + PEOPLE / LEAVE;
    let heard = eventually("every event on RabbitMQ", async || {
        let mut heard: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for (_, body) in listener.heard() {
            let text = |key: &str| body[key].as_str().expect("text").to_owned();
            if ["opened", "clicked", "unsubscribed"].contains(&body["event"].as_str().unwrap()) {
                heard.entry((text("external_id"), text("event"))).or_default().insert(text("id"));
            }
        }
        (heard.len() == wanted).then_some(heard)
    })
    .await;
    assert!(heard.values().all(|ids| ids.len() == 1), "{heard:?}");
}

fn segments(shop: &Shop) -> Vec<String> {
    let folder = fs::read_dir(shop.setup.path().join("data/spool")).expect("the spool");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    names.filter(|name| name != "lock").collect()
}

/// The sum over all labels.
async fn metric(shop: &Shop, name: &str) -> f64 {
    let page = get(shop.setup.admin, "/metrics").await.expect("an answer").into_body();
    let lines = page.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_promises_nothing_and_people_reach_their_pages() {
    let (instance, sink) = tokio::join!(Instance::start(), RecordingSink::start());
    let more = format!("{ONLY_PEOPLE}spool_limit = \"4KiB\"\n");
    let shop = Shop::with(Setup::on(&instance, sink.address(), &more), sink).await;
    let mails = sent(&shop, 40).await;

    instance.down("postgres").await;
    for mail in &mails {
        assert_eq!(shop.follow(&mail.pixel()).await.0, 200);
        assert_eq!(shop.follow(&mail.links()[1]).await.0, 302);
    }
    let dropped = metric(&shop, "campaignd_events_dropped_total").await;
    let spooled = metric(&shop, "campaignd_events_spooled_total").await;
    println!("of 80 events {spooled} were spooled and {dropped} dropped");
    assert!(spooled > 0.0 && spooled + dropped == 80.0);
    assert!(metric(&shop, "campaignd_event_spool_bytes").await <= 4096.0);
    let mut client = KeptAlive::to(shop.setup.public);
    let link = unsubscribe_link(&mails[0]);
    let refusal = client.send(Method::POST, shop.path(&link)).await.unwrap();
    assert_eq!((refusal.status().as_u16(), &refusal.headers()["retry-after"]), (503, &"30".parse().unwrap()));

    // The mail provider comes again, as RFC 8058's one click does, until it is taken.
    instance.up("postgres").await;
    eventually("the unsubscribe", async || {
        let answer = client.send(Method::POST, shop.path(&link)).await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    let report = eventually("what was spooled", async || {
        let report = shop.books.report("spring").await;
        let events = report.opens.unwrap().total + report.clicks.total;
        (events as f64 >= spooled && report.unsubscribes == 1).then_some(report)
    })
    .await;
    assert_eq!((report.opens.unwrap().total + report.clicks.total) as f64, spooled);
}

#[tokio::test]
async fn two_daemons_do_not_share_a_spool() {
    let sink = RecordingSink::start().await;
    let setup = Setup::without_broker(sink.address(), "").await;
    let shop = Shop::with(setup, sink).await;
    let spool = shop.setup.path().join("data/spool");
    let beside = shop.setup.beside(shop.sink.address());
    write_templates(&beside);
    beside.write(
        "config.toml",
        &format!(
            "{}[tracking]\nspool = \"{}\"\n",
            fs::read_to_string(beside.path().join("config.toml")).unwrap(),
            spool.display()
        ),
    );
    let mut second = Daemon::begin(&beside);
    assert_eq!(second.process.ended().await.code(), Some(1));
    let log = second.process.log();
    assert!(log.contains("belongs to a daemon that runs; give each daemon its own folder"), "{log}");
}
