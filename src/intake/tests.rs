//! Intake against a real RabbitMQ: settlement, a store that goes away, sessions that end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicNackOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Accept, Intake, Observe, Received, Settled, StoreAway, Verdict};
use crate::amqp::testing::{Corner, Line, Log, eventually};
use crate::amqp::{Broker, SessionEnd};
use crate::model::access::Actor;
use crate::model::job::{InvalidJob, MAX_JOB_BYTES, ReadJob};

/// A store in memory whose verdict a job's id decides.
struct FakeStore {
    away: AtomicBool,
    offers: AtomicUsize,
    ids: Mutex<Vec<String>>,
    /// Each offer takes one.
    permits: Semaphore,
}

impl Default for FakeStore {
    fn default() -> Self {
        FakeStore {
            away: AtomicBool::new(false),
            offers: AtomicUsize::new(0),
            ids: Mutex::default(),
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }
}

impl FakeStore {
    fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap().clone()
    }

    fn offers(&self) -> usize {
        self.offers.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Accept for FakeStore {
    async fn accept(&self, jobs: Vec<ReadJob>, who: &Actor) -> Result<Vec<Verdict>, StoreAway> {
        assert_eq!(who.as_str(), "rabbitmq");
        self.offers.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreAway);
        }
        let mut ids = self.ids.lock().unwrap();
        Ok(jobs
            .iter()
            .map(|read| match read.job.id() {
                "conflict" => Verdict::Conflict,
                "invalid" => Verdict::Invalid(InvalidJob::at("$.template", "no template `x`")),
                id if ids.iter().any(|known| known == id) => Verdict::Known,
                id => {
                    ids.push(id.to_owned());
                    Verdict::New { warnings: Vec::new() }
                }
            })
            .collect())
    }
}

#[derive(Default)]
struct Counts {
    received: Mutex<HashMap<(&'static str, Received), usize>>,
    settled: Mutex<HashMap<Settled, usize>>,
}

impl Counts {
    fn settled(&self, result: Settled) -> usize {
        self.settled.lock().unwrap().get(&result).copied().unwrap_or_default()
    }
}

impl Observe for Counts {
    fn received(&self, kind: &'static str, result: Received) {
        *self.received.lock().unwrap().entry((kind, result)).or_default() += 1;
    }

    fn settled(&self, result: Settled) {
        *self.settled.lock().unwrap().entry(result).or_default() += 1;
    }
}

/// A running intake and what it is connected to.
struct Running {
    store: Arc<FakeStore>,
    counts: Arc<Counts>,
    log: Arc<Log>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(corner: &Corner, broker: Broker, store: FakeStore) -> Self {
        let (store, counts, log) = (Arc::new(store), Arc::new(Counts::default()), Arc::new(Log::default()));
        let intake = Intake {
            broker,
            topology: corner.topology.clone(),
            jobs_prefetch: 4,
            messages_prefetch: 200,
            accept: Arc::clone(&store) as _,
            observe: Arc::clone(&counts) as _,
            link: Arc::clone(&log) as _,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(intake.run(stop.clone()));
        Running { store, counts, log, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn control(id: impl std::fmt::Display) -> String {
    format!(r#"{{"type": "control", "id": "{id}", "campaign": "spring", "action": "pause"}}"#)
}

#[tokio::test]
async fn jobs_are_accepted_in_order_and_acknowledged() {
    let corner = Corner::declared().await;
    let running = Running::start(&corner, corner.broker.clone(), FakeStore::default());
    let exchange = corner.topology.exchange().to_owned();
    for id in 0..20 {
        let body = control(id);
        corner.publish(&exchange, "jobs", BasicProperties::default(), body.as_bytes()).await;
    }
    corner.send(&corner.jobs(), &control(0)).await;
    eventually("21 acknowledgements", async || running.counts.settled(Settled::Acked) == 21).await;
    assert_eq!(running.store.ids(), (0..20).map(|id| id.to_string()).collect::<Vec<_>>());
    let received = running.counts.received.lock().unwrap().clone();
    assert_eq!(received[&("control", Received::Accepted)], 20);
    assert_eq!(received[&("control", Received::Known)], 1);
    let log = Arc::clone(&running.log);
    running.stop().await;
    assert_eq!(log.ends(), [SessionEnd::Shutdown]);
    assert_eq!(*log.connected.lock().unwrap(), [true, false]);
    assert_eq!((corner.ready(&corner.jobs()).await, corner.ready(&corner.dead()).await), (0, 0));
    corner.leave().await;
}

#[tokio::test]
async fn messages_are_accepted_in_groups() {
    let corner = Corner::declared().await;
    for id in 0..300 {
        corner.send(&corner.messages(), &control(id)).await;
    }
    let store = FakeStore { permits: Semaphore::new(0), ..FakeStore::default() };
    let running = Running::start(&corner, corner.broker.clone(), store);
    eventually("as many in flight as the prefetch allows", async || {
        corner.ready(&corner.messages()).await == 100
    })
    .await;
    running.store.permits.add_permits(1000);
    eventually("300 acknowledgements", async || running.counts.settled(Settled::Acked) == 300).await;
    assert_eq!(running.store.ids(), (0..300).map(|id| id.to_string()).collect::<Vec<_>>());
    assert!(running.store.offers() < 300, "{} offers", running.store.offers());
    running.stop().await;
    assert_eq!(corner.ready(&corner.messages()).await, 0);
    corner.leave().await;
}

#[tokio::test]
async fn what_can_never_be_accepted_is_dead_lettered_whole() {
    let corner = Corner::declared().await;
    let running = Running::start(&corner, corner.broker.clone(), FakeStore::default());
    let wrong_type = r#"{"type": "campaign", "id": "c", "channel": "email", "purpose": "service", "template": "t",
        "audience": {"segment": {"all": [{"tag": 7}]}}}"#;
    let huge = format!(r#"{{"type": "{}"}}"#, " ".repeat(MAX_JOB_BYTES));
    let cases = [
        ("{\"type\": \"contr", "$: not JSON"),
        ("\u{0}\u{1}", "$: not JSON"),
        (wrong_type, "$.audience.segment.all[0]"),
        (&control("conflict"), "$.id: conflict: another control job"),
        (&control("invalid"), "$.template: no template `x`"),
        (&huge, "$: a job has at most 16 MiB"),
    ];
    for queue in [corner.jobs(), corner.messages()] {
        for (body, error) in &cases {
            let mut headers = FieldTable::default();
            let copies = vec![AMQPValue::LongString(corner.topology.events().into())];
            headers.insert("CC".into(), AMQPValue::FieldArray(copies.into()));
            headers.insert("x-campaignd-error".into(), AMQPValue::LongString("forged".into()));
            let sender = BasicProperties::default()
                .with_content_type("application/json; charset=utf-8".into())
                .with_message_id("m-1".into())
                .with_expiration("600000".into())
                .with_headers(headers);
            corner.publish("", &queue, sender, body.as_bytes()).await;
            let letter = corner.take(&corner.dead()).await;
            assert!(letter.data == body.as_bytes(), "the body of {error} is not the original");
            let properties = &letter.properties;
            assert_eq!(
                properties.content_type().as_ref().unwrap().as_str(),
                "application/json; charset=utf-8"
            );
            assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "m-1");
            assert_eq!(properties.expiration(), &None);
            let headers = properties.headers().clone().unwrap();
            let header = |name: &str| match headers.inner().get(name) {
                Some(AMQPValue::LongString(text)) => text.to_string(),
                other => panic!("{name} is {other:?}"),
            };
            assert!(header("x-campaignd-error").starts_with(error), "{}", header("x-campaignd-error"));
            assert_eq!(header("x-campaignd-queue"), queue);
        }
        corner.send(&queue, &control(&queue)).await;
    }
    eventually("the sound ones behind them", async || running.counts.settled(Settled::Acked) == 2).await;
    assert_eq!(running.counts.settled(Settled::DeadLettered), 12);
    let received = running.counts.received.lock().unwrap().clone();
    assert_eq!(received[&("unreadable", Received::Invalid)], 8);
    assert_eq!(received[&("control", Received::Conflict)], 2);
    assert_eq!(running.log.sessions(), 1);
    running.stop().await;
    assert_eq!((corner.ready(&corner.jobs()).await, corner.ready(&corner.dead()).await), (0, 0));
    corner.leave().await;
}

#[tokio::test]
async fn while_the_store_is_away_jobs_are_held_and_none_is_handed_back() {
    let corner = Corner::declared().await;
    let store = FakeStore { away: AtomicBool::new(true), ..FakeStore::default() };
    let running = Running::start(&corner, corner.broker.clone(), store);
    for id in 0..3 {
        corner.send(&corner.jobs(), &control(id)).await;
    }
    eventually("several offers", async || running.store.offers() >= 4).await;
    assert_eq!(corner.ready(&corner.jobs()).await, 0, "a handed back job would be ready or counted");
    running.store.away.store(false, Ordering::SeqCst);
    eventually("3 acknowledgements", async || running.counts.settled(Settled::Acked) == 3).await;
    assert_eq!(running.store.ids(), ["0", "1", "2"]);
    assert_eq!(running.log.sessions(), 1);
    running.stop().await;
    assert_eq!((corner.ready(&corner.jobs()).await, corner.ready(&corner.dead()).await), (0, 0));
    corner.leave().await;
}

#[tokio::test]
async fn a_stop_settles_what_is_in_hand_and_leaves_the_rest_in_order() {
    let corner = Corner::declared().await;
    for id in 0..6 {
        corner.send(&corner.jobs(), &control(id)).await;
    }
    let store = FakeStore { permits: Semaphore::new(0), ..FakeStore::default() };
    let running = Running::start(&corner, corner.broker.clone(), store);
    eventually("the first offer", async || running.store.offers() == 1).await;
    running.stop.cancel();
    running.store.permits.add_permits(1);
    running.task.await.unwrap();
    assert_eq!(running.store.ids(), ["0"]);
    assert_eq!(running.counts.settled(Settled::Acked), 1);
    for (id, left) in (1..6).zip(corner.take_some(&corner.jobs(), 5).await) {
        assert_eq!(left.data, control(id).as_bytes());
    }
    corner.leave().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_store_that_is_away() {
    let corner = Corner::declared().await;
    let store = FakeStore { away: AtomicBool::new(true), ..FakeStore::default() };
    let running = Running::start(&corner, corner.broker.clone(), store);
    corner.send(&corner.jobs(), &control("held")).await;
    eventually("an offer", async || running.store.offers() >= 1).await;
    running.stop().await;
    assert_eq!(corner.take(&corner.jobs()).await.data, control("held").as_bytes());
    corner.leave().await;
}

#[tokio::test]
async fn a_cut_connection_is_dialled_again() {
    let corner = Corner::declared().await;
    let line = Line::open().await;
    let running = Running::start(&corner, line.broker(), FakeStore::default());
    for id in 0..3 {
        eventually("a session", async || running.log.sessions() == id + 1).await;
        corner.send(&corner.jobs(), &control(id)).await;
        eventually("the job", async || running.store.ids().len() == id + 1).await;
        line.cut();
    }
    eventually("three lost sessions", async || running.log.ends() == [SessionEnd::Lost; 3]).await;
    running.stop().await;
    corner.leave().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_while_the_store_is_away_is_given_up() {
    let corner = Corner::declared().await;
    let line = Line::open().await;
    let store = FakeStore { away: AtomicBool::new(true), ..FakeStore::default() };
    let running = Running::start(&corner, line.broker(), store);
    corner.send(&corner.jobs(), &control("held")).await;
    eventually("an offer", async || running.store.offers() >= 1).await;
    line.cut();
    eventually("the next session", async || running.log.sessions() == 2).await;
    running.store.away.store(false, Ordering::SeqCst);
    eventually("the acknowledgement", async || running.counts.settled(Settled::Acked) == 1).await;
    assert_eq!(running.store.ids(), ["held"]);
    running.stop().await;
    assert_eq!(corner.ready(&corner.jobs()).await, 0);
    corner.leave().await;
}

#[tokio::test]
async fn a_deleted_queue_is_declared_again() {
    let corner = Corner::declared().await;
    let running = Running::start(&corner, corner.broker.clone(), FakeStore::default());
    eventually("a session", async || running.log.sessions() == 1).await;
    corner.delete_queue(&corner.messages()).await;
    eventually("a second session", async || running.log.sessions() == 2).await;
    assert_eq!(running.log.ends(), [SessionEnd::Cancelled]);
    corner.send(&corner.messages(), &control("later")).await;
    eventually("the job", async || running.store.ids() == ["later"]).await;
    running.stop().await;
    corner.leave().await;
}

#[tokio::test]
async fn a_queue_that_exists_otherwise_is_used_as_it_is() {
    let corner = Corner::bare().await;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    corner
        .channel
        .queue_declare(ShortString::from(corner.jobs()), options, FieldTable::default())
        .await
        .unwrap();
    let running = Running::start(&corner, corner.broker.clone(), FakeStore::default());
    eventually("a session", async || running.log.sessions() == 1).await;
    corner
        .publish(corner.topology.exchange(), "jobs", BasicProperties::default(), control("a").as_bytes())
        .await;
    eventually("the acknowledgement", async || running.counts.settled(Settled::Acked) == 1).await;
    assert_eq!(running.store.ids(), ["a"]);
    running.stop().await;
    corner.leave().await;
}

#[tokio::test]
async fn a_letter_that_the_broker_does_not_take_is_tried_again() {
    let corner = Corner::bare().await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    corner.channel.queue_declare(ShortString::from(corner.dead()), options, full).await.unwrap();
    corner.send(&corner.dead(), "in the way").await;
    let running = Running::start(&corner, corner.broker.clone(), FakeStore::default());
    eventually("a session", async || running.log.sessions() == 1).await;
    corner.send(&corner.jobs(), "no job").await;
    corner.send(&corner.jobs(), &control("behind it")).await;
    eventually("both held", async || {
        corner.ready(&corner.jobs()).await == 0 && !running.counts.received.lock().unwrap().is_empty()
    })
    .await;
    assert_eq!(corner.take(&corner.dead()).await.data, b"in the way");
    assert_eq!(corner.take(&corner.dead()).await.data, b"no job");
    eventually("the job behind it", async || running.store.ids() == ["behind it"]).await;
    assert_eq!(running.log.sessions(), 1);
    running.stop().await;
    corner.leave().await;
}

#[tokio::test]
async fn a_job_that_is_never_answered_ends_among_the_dead() {
    let corner = Corner::declared().await;
    corner.send(&corner.messages(), &control("poison")).await;
    let queue = ShortString::from(corner.messages());
    eventually("the delivery limit", async || {
        match corner.channel.basic_get(queue.clone(), BasicGetOptions::default()).await.unwrap() {
            Some(message) => {
                let back = BasicNackOptions { requeue: true, ..Default::default() };
                assert!(message.delivery.nack(back).await.unwrap());
                false
            }
            None => corner.ready(&corner.dead()).await == 1,
        }
    })
    .await;
    let listing = crate::amqp::dead::list(&corner.broker, &corner.topology, 10).await.unwrap();
    assert_eq!(listing.letters[0].queue, Some(corner.messages()));
    assert!(listing.letters[0].error.contains("delivered too often"), "{}", listing.letters[0].error);
    corner.leave().await;
}
