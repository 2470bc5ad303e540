//! Publishing, dead letters and events against a real RabbitMQ.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio_util::sync::CancellationToken;

use super::dead::{self, Pick};
use super::publish::{json, to_queue};
use super::testing::{Corner, Line, Log, eventually};
use super::{
    Broker, BrokerError, EventPublisher, OutEvent, Outbox, OutboxAway, SessionEnd, WorkQueue, letter,
    publish_job,
};

#[tokio::test]
async fn enqueueing_declares_what_is_missing() {
    let corner = Corner::bare().await;
    for queue in [WorkQueue::of("campaign"), WorkQueue::of("message")] {
        publish_job(&corner.broker, &corner.topology, queue, b"{}").await.unwrap();
    }
    let job = corner.take(&corner.jobs()).await;
    assert_eq!(job.properties.delivery_mode(), &Some(2));
    assert_eq!(job.properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(corner.take(&corner.messages()).await.data, b"{}");
    corner.leave().await;
}

#[tokio::test]
async fn a_message_that_no_queue_took_is_not_published() {
    let corner = Corner::bare().await;
    let published = to_queue(&corner.channel, &corner.jobs(), json(), b"{}").await;
    assert!(matches!(published, Err(BrokerError::NoQueue(_))), "{published:?}");
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    corner.channel.queue_declare(ShortString::from(corner.jobs()), options, full).await.unwrap();
    to_queue(&corner.channel, &corner.jobs(), json(), b"{}").await.unwrap();
    let published = to_queue(&corner.channel, &corner.jobs(), json(), b"{}").await;
    assert!(matches!(published, Err(BrokerError::NotTaken(_))), "{published:?}");
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_an_error_that_names_it() {
    let broker = Broker::parse("amqp://news:hush@127.0.0.1:1/%2f").unwrap();
    let error = broker.dial("test").await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(!format!("{error:?}").contains("hush"));
}

/// Letters `a`, `b`, `c` that came from the jobs queue, and `d` that came from nowhere.
async fn with_letters() -> Corner {
    let corner = Corner::declared().await;
    for id in ["a", "b", "c"] {
        let sender = BasicProperties::default().with_message_id(id.into());
        let properties = letter::properties(&sender, &corner.jobs(), "$.id: missing");
        let body = format!(r#"{{"type": "control", "id": "job-{id}"}}"#);
        corner.publish("", &corner.dead(), properties, body.as_bytes()).await;
    }
    let stray = BasicProperties::default().with_message_id("d".into());
    corner.publish("", &corner.dead(), stray, b"not JSON").await;
    corner
}

#[tokio::test]
async fn letters_are_listed_and_stay_in_order() {
    let corner = with_letters().await;
    for _ in 0..3 {
        // The broker takes unacknowledged letters back when the channel is gone, a moment after it closed.
        eventually("all letters", async || corner.ready(&corner.dead()).await == 4).await;
        let listing = dead::list(&corner.broker, &corner.topology, 3).await.unwrap();
        assert_eq!(listing.total, 4);
        let ids: Vec<_> = listing.letters.iter().map(|letter| letter.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        let first = &listing.letters[0];
        assert_eq!((first.kind.as_deref(), first.job.as_deref()), (Some("control"), Some("job-a")));
        assert_eq!((first.error.as_str(), first.queue.clone()), ("$.id: missing", Some(corner.jobs())));
    }
    corner.leave().await;
}

#[tokio::test]
async fn a_retried_letter_goes_back_to_its_queue() {
    let corner = with_letters().await;
    let pick = Pick::Ids(vec!["b".into(), "d".into()]);
    let handled = dead::retry(&corner.broker, &corner.topology, &pick).await.unwrap();
    assert_eq!(handled.done.len(), 1);
    assert_eq!(handled.kept.len(), 1);
    assert!(handled.kept[0].0.id == "d" && handled.kept[0].1.contains("no queue"), "{:?}", handled.kept);
    let job = corner.take(&corner.jobs()).await;
    assert_eq!(job.data, br#"{"type": "control", "id": "job-b"}"#);
    assert_eq!(job.properties.headers(), &None);

    eventually("three letters", async || corner.ready(&corner.dead()).await == 3).await;
    let handled = dead::retry(&corner.broker, &corner.topology, &Pick::All).await.unwrap();
    assert_eq!((handled.done.len(), handled.kept.len()), (2, 1));
    eventually("one letter", async || corner.ready(&corner.dead()).await == 1).await;
    assert_eq!(corner.ready(&corner.jobs()).await, 2);
    corner.leave().await;
}

#[tokio::test]
async fn a_discarded_letter_is_gone() {
    let corner = with_letters().await;
    let pick = Pick::Ids(vec!["a".into(), "nobody".into()]);
    let handled = dead::discard(&corner.broker, &corner.topology, &pick).await.unwrap();
    assert_eq!(handled.done.len(), 1);
    eventually("three letters", async || corner.ready(&corner.dead()).await == 3).await;
    let handled = dead::discard(&corner.broker, &corner.topology, &Pick::All).await.unwrap();
    assert_eq!(handled.done.len(), 3);
    assert_eq!(dead::list(&corner.broker, &corner.topology, 9).await.unwrap().total, 0);
    corner.leave().await;
}

/// An outbox in memory.
#[derive(Default)]
struct FakeOutbox {
    away: AtomicBool,
    rows: Mutex<Vec<OutEvent>>,
}

impl FakeOutbox {
    fn with(ids: std::ops::Range<i64>) -> Arc<Self> {
        let row =
            |id| OutEvent { id, routing_key: "email.opened".into(), payload: Bytes::from(id.to_string()) };
        Arc::new(FakeOutbox { rows: Mutex::new(ids.map(row).collect()), ..FakeOutbox::default() })
    }

    fn is_empty(&self) -> bool {
        self.rows.lock().unwrap().is_empty()
    }
}

#[async_trait]
impl Outbox for FakeOutbox {
    async fn take(&self, most: usize) -> Result<Vec<OutEvent>, OutboxAway> {
        if self.away.load(Ordering::SeqCst) {
            return Err(OutboxAway);
        }
        Ok(self.rows.lock().unwrap().iter().take(most).cloned().collect())
    }

    async fn done(&self, ids: &[i64]) -> Result<(), OutboxAway> {
        self.rows.lock().unwrap().retain(|row| !ids.contains(&row.id));
        Ok(())
    }
}

struct Publishing {
    log: Arc<Log>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Publishing {
    fn start(corner: &Corner, broker: Broker, outbox: &Arc<FakeOutbox>) -> Self {
        let log = Arc::new(Log::default());
        let publisher = EventPublisher {
            broker,
            topology: corner.topology.clone(),
            outbox: Arc::clone(outbox) as _,
            observe: Arc::clone(&log) as _,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(publisher.run(stop.clone()));
        Publishing { log, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// A queue of our own that gets the e-mail events.
async fn subscriber(corner: &Corner) -> String {
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let queue = corner.channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    corner
        .channel
        .queue_bind(
            queue.name().clone(),
            ShortString::from(corner.topology.events()),
            "email.*".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    queue.name().to_string()
}

#[tokio::test]
async fn the_outbox_is_published_in_order_and_emptied() {
    let corner = Corner::declared().await;
    let queue = subscriber(&corner).await;
    let outbox = FakeOutbox::with(0..2500);
    let unbound = OutEvent { id: 9999, routing_key: "sms.delivered".into(), payload: Bytes::from("{}") };
    outbox.rows.lock().unwrap().push(unbound);
    let publishing = Publishing::start(&corner, corner.broker.clone(), &outbox);
    eventually("an empty outbox", async || outbox.is_empty()).await;
    for (id, event) in corner.take_some(&queue, 2500).await.into_iter().enumerate() {
        assert_eq!(event.data, id.to_string().as_bytes());
        assert_eq!(event.properties.message_id().as_ref().unwrap().as_str(), id.to_string());
        assert_eq!(event.routing_key.as_str(), "email.opened");
    }
    assert_eq!(corner.ready(&queue).await, 0);
    publishing.stop().await;
    corner.leave().await;
}

#[tokio::test]
async fn events_survive_a_cut_connection_and_an_outbox_that_goes_away() {
    let corner = Corner::declared().await;
    let queue = subscriber(&corner).await;
    let (outbox, line) = (FakeOutbox::with(0..1), Line::open().await);
    let publishing = Publishing::start(&corner, line.broker(), &outbox);
    eventually("the first event", async || corner.ready(&queue).await == 1).await;
    line.cut();
    // Idle, it notices by itself.
    eventually("a lost session", async || publishing.log.ends() == [SessionEnd::Lost]).await;
    outbox.away.store(true, Ordering::SeqCst);
    outbox.rows.lock().unwrap().extend(FakeOutbox::with(1..10).rows.lock().unwrap().drain(..));
    eventually("a second session", async || publishing.log.sessions() == 2).await;
    outbox.away.store(false, Ordering::SeqCst);
    eventually("all events", async || corner.ready(&queue).await == 10).await;
    publishing.stop().await;
    assert!(outbox.is_empty());
    corner.leave().await;
}

#[tokio::test]
async fn a_stop_empties_the_outbox_first() {
    let corner = Corner::declared().await;
    let queue = subscriber(&corner).await;
    let outbox = FakeOutbox::with(0..0);
    let publishing = Publishing::start(&corner, corner.broker.clone(), &outbox);
    eventually("a session", async || publishing.log.sessions() == 1).await;
    outbox.rows.lock().unwrap().extend(FakeOutbox::with(0..3000).rows.lock().unwrap().drain(..));
    publishing.stop().await;
    assert!(outbox.is_empty());
    assert_eq!(corner.ready(&queue).await, 3000);
    corner.leave().await;
}
