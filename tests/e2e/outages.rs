//! RabbitMQ and PostgreSQL go away and come back; the daemon stays, and nothing is lost or sent twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campaignd::model::CampaignStatus;
use campaignd_loadtest::smtp::{Keep, Options, Sink};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::harness::books::Books;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::http::get;
use crate::harness::instance::Instance;
use crate::harness::mail::RecordingSink;
use crate::harness::publish::{Stream, publish};
use crate::harness::shop::{HELLO, HELLO_HTML, Shop, campaign, message};
use crate::services::wait::eventually;

#[tokio::test]
async fn services_come_and_go() {
    let (instance, sink) = tokio::join!(Instance::start(), RecordingSink::start());
    let setup = Setup::on(&instance, sink.address(), "");
    setup.write("templates/hello/template.toml", HELLO);
    setup.write("templates/hello/email.html.hbs", HELLO_HTML);

    // RabbitMQ is not there at the start: the daemon waits for it, and works with what comes by HTTP.
    instance.down("rabbitmq").await;
    let daemon = Daemon::begin(&setup);
    eventually("an answer", async || get(setup.admin, "/healthz").await.ok()).await;
    let shop = Shop { daemon, books: Books::of(&setup.store_url), sink, setup };
    shop.people(800).await;
    shop.submit(campaign("by-http", json!({"audience": {"contacts": ["P1", "P2"]}}))).await;
    shop.books.finished("by-http").await;
    assert_eq!(get(shop.setup.admin, "/readyz").await.unwrap().status(), 503);
    instance.up("rabbitmq").await;
    let mut shop = shop;
    shop.daemon.ready(&shop.setup).await;

    // PostgreSQL crashes in the middle of a campaign.
    let job = campaign("long", json!({"rate": "100/s"})).to_string();
    assert_eq!(publish(&shop.setup.amqp_url, &["--routing-key", "campaignd.jobs"], &job).await, Ok(1));
    shop.mails(50).await;
    instance.crash("postgres").await;
    assert!(shop.sink.mails().len() < 800, "it crashed in the middle");
    instance.up("postgres").await;

    // RabbitMQ crashes meanwhile, and takes jobs again when it is back.
    instance.crash("rabbitmq").await;
    instance.up("rabbitmq").await;
    let job = campaign("after", json!({"audience": {"contacts": ["P3"]}})).to_string();
    assert_eq!(publish(&shop.setup.amqp_url, &["--routing-key", "campaignd.jobs"], &job).await, Ok(1));
    eventually("the job", async || shop.books.status("after").await).await;
    shop.books.finished("after").await;
    let fates = shop.books.finished("long").await;
    assert!(
        fates.len() == 800 && fates.values().all(|fate| fate == "accepted"),
        "{:?}",
        shop.books.tally("long").await
    );
    assert_eq!(shop.sink.mails().len(), 803);
}

const PEOPLE: usize = 30_000;
const RATE: &str = "rate = \"100/s\"\n";
/// How long RabbitMQ is frozen; the fault itself, not a wait for anything.
const FROZEN: Duration = Duration::from_secs(60);

/// A campaign to `P1` to `P30000` that lasts as long as the faults do, while other systems go on publishing.
struct Ordeal {
    shop: Shop<Sink>,
    instance: Instance,
    messages: Stream,
    campaigns: Stream,
}

impl Ordeal {
    async fn begin() -> Ordeal {
        let instance = Instance::start().await;
        let options = Options { keep: Keep::Envelopes, ..Options::default() };
        let sink = Sink::start("127.0.0.1:0", options).await.expect("a free port");
        let setup = Setup::on(&instance, sink.addr(), "");
        setup.configure("channels.email", RATE);
        let shop = Shop::with(setup, sink).await;
        shop.people(PEOPLE).await;
        let job = campaign("long", json!({})).to_string();
        assert_eq!(publish(&shop.setup.amqp_url, &["--routing-key", "campaignd.jobs"], &job).await, Ok(1));
        shop.taken(50).await;
        let (messages, campaigns) = streams(&shop, "before");
        Ordeal { shop, instance, messages, campaigns }
    }

    /// Mails and confirms after a fault, in mid-campaign.
    async fn goes_on(&self, after: &str) {
        let taken = self.shop.sink.counts().messages;
        self.shop.taken(taken + 20).await;
        self.messages.goes_on().await;
        self.campaigns.goes_on().await;
        assert_eq!(self.shop.books.status("long").await, Some(CampaignStatus::Running), "{after}");
        let (messages, campaigns) = (self.messages.confirmed(), self.campaigns.confirmed());
        let taken = self.shop.sink.counts().messages;
        println!(
            "goes on after {after}: {taken} mails, {messages} messages and {campaigns} campaigns confirmed"
        );
    }

    async fn postgres_restarts(&self) {
        for crash in [false, true] {
            if crash {
                self.instance.crash("postgres").await;
            } else {
                self.instance.down("postgres").await;
            }
            self.instance.up("postgres").await;
            self.goes_on(if crash { "a crash of PostgreSQL" } else { "a restart of PostgreSQL" }).await;
        }
    }

    async fn rabbitmq_restarts(&self) {
        for crash in [false, true] {
            if crash {
                self.instance.crash("rabbitmq").await;
            } else {
                self.instance.down("rabbitmq").await;
            }
            let taken = self.shop.sink.counts().messages;
            self.shop.taken(taken + 20).await;
            self.instance.up("rabbitmq").await;
            self.goes_on(if crash { "a crash of RabbitMQ" } else { "a restart of RabbitMQ" }).await;
        }
    }

    /// Long enough for each call to have timed out; no connection breaks.
    async fn postgres_freezes(&mut self) {
        self.instance.freeze("postgres").await;
        self.notices("postgres").await;
        self.instance.thaw("postgres").await;
        self.shop.daemon.ready(&self.shop.setup).await;
        self.goes_on("a frozen PostgreSQL").await;
    }

    async fn notices(&self, service: &str) {
        eventually(&format!("that it notices: {service}"), async || {
            let ready = get(self.shop.setup.admin, "/readyz").await.ok()?;
            (ready.status() == 503).then_some(())
        })
        .await;
    }

    async fn rabbitmq_freezes(&mut self) {
        let thaws = Instant::now() + FROZEN;
        self.instance.freeze("rabbitmq").await;
        self.notices("rabbitmq").await;
        let taken = self.shop.sink.counts().messages;
        self.shop.taken(taken + 20).await;
        sleep_until(thaws).await;
        self.instance.thaw("rabbitmq").await;
        self.shop.daemon.ready(&self.shop.setup).await;
        self.goes_on("a minute of a frozen RabbitMQ").await;
    }

    /// What RabbitMQ itself throws away with a queue nobody can save: the queues are empty when they are deleted.
    async fn queues_are_deleted(self) -> (Shop<Sink>, Instance) {
        let Ordeal { shop, instance, messages, campaigns } = self;
        let confirmed = (messages.end().await, campaigns.end().await);
        let connection = lapin::Connection::connect(&shop.setup.amqp_url, Default::default()).await.unwrap();
        for queue in ["campaignd.messages", "campaignd.jobs"] {
            let channel = connection.create_channel().await.unwrap();
            eventually("an empty queue", async || {
                let declared = channel.queue_declare(queue.into(), PASSIVE, FieldTable::default()).await;
                (declared.unwrap().message_count() == 0).then_some(())
            })
            .await;
        }
        all_sent(&shop, "before", confirmed).await;
        for queue in ["campaignd.messages", "campaignd.jobs"] {
            let channel = connection.create_channel().await.unwrap();
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        }
        let (messages, campaigns) = streams(&shop, "after");
        let ordeal = Ordeal { shop, instance, messages, campaigns };
        ordeal.goes_on("the deletion of both queues").await;
        let Ordeal { shop, instance, messages, campaigns } = ordeal;
        let confirmed = (messages.end().await, campaigns.end().await);
        all_sent(&shop, "after", confirmed).await;
        (shop, instance)
    }
}

const PASSIVE: QueueDeclareOptions = QueueDeclareOptions {
    passive: true,
    durable: false,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

/// Messages and small campaigns, each to someone of its own.
fn streams(shop: &Shop<Sink>, name: &str) -> (Stream, Stream) {
    let to = json!({"address": format!("{name}-m@N@@example.com")});
    let job = message(&format!("{name}-m@N@"), to, json!({"data": {"name": "Anna"}}));
    let messages = Stream::start(&shop.setup.amqp_url, "messages", "0.05", &job);
    let recipients = json!([{"address": format!("{name}-c@N@@example.com"), "data": {"name": "Bo"}}]);
    let audience = json!({"audience": {"recipients": recipients, "consent": true}});
    let job = campaign(&format!("{name}-c@N@"), audience);
    (messages, Stream::start(&shop.setup.amqp_url, "jobs", "1", &job))
}

/// Each confirmed job has its mail.
async fn all_sent(shop: &Shop<Sink>, name: &str, (messages, campaigns): (usize, usize)) {
    let letters = [("m", messages), ("c", campaigns)];
    let wanted =
        letters.iter().flat_map(|(kind, n)| (1..=*n).map(move |i| format!("{name}-{kind}{i}@example.com")));
    let wanted: BTreeSet<String> = wanted.collect();
    eventually("a mail for each confirmed job", async || {
        let taken: BTreeSet<String> = shop.sink.messages().into_iter().flat_map(|mail| mail.to).collect();
        wanted.is_subset(&taken).then_some(())
    })
    .await;
    for i in 1..=campaigns {
        let fates = shop.books.finished(&format!("{name}-c{i}")).await;
        assert!(fates.len() == 1 && fates.values().all(|fate| fate == "accepted"), "{fates:?}");
    }
    println!("{name}: {messages} messages and {campaigns} campaigns confirmed, all sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_around_it_the_campaign_goes_on_and_confirmed_jobs_are_sent_once() {
    let mut ordeal = Ordeal::begin().await;
    ordeal.postgres_restarts().await;
    ordeal.postgres_freezes().await;
    ordeal.rabbitmq_restarts().await;
    ordeal.rabbitmq_freezes().await;
    let (mut shop, _instance) = ordeal.queues_are_deleted().await;

    // The rest at full speed.
    let config = std::fs::read_to_string(shop.setup.path().join("config.toml")).unwrap();
    shop.setup.write("config.toml", &config.replacen(RATE, "", 1));
    shop.daemon.process.sighup();
    let reckoning = shop.reckoning("long", PEOPLE).await;
    reckoning.assert_law();
    assert_eq!(reckoning.unknown(), 0);
    shop.books.assert_balanced("orders").await;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for to in shop.sink.messages().into_iter().flat_map(|mail| mail.to) {
        *times.entry(to).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "{:?}", times.iter().find(|(_, times)| **times > 1));
}
