//! What tests against a real RabbitMQ share: a topology of their own, a look into queues, a line that can
//! be cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeleteOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use uuid::Uuid;

use super::broker::{Broker, Observe, SessionEnd, close};
use super::publish::confirming;
use super::topology::{Topology, WorkQueue};

const URL: &str = "CAMPAIGND_TEST_AMQP_URL";

fn url() -> String {
    std::env::var(URL).unwrap_or_else(|_| {
        panic!("{URL} is not set: these tests need a RabbitMQ, as amqp://guest:guest@127.0.0.1:5672/%2f")
    })
}

/// Waits until the condition holds; gives up after half a minute.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let patience = tokio::time::timeout(Duration::from_secs(30), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(patience.await.is_ok(), "waited in vain: {what}");
}

/// One test's corner of the broker.
pub(crate) struct Corner {
    pub(crate) broker: Broker,
    pub(crate) topology: Topology,
    pub(crate) connection: Connection,
    pub(crate) channel: Channel,
}

impl Corner {
    /// With nothing declared yet.
    pub(crate) async fn bare() -> Self {
        let broker = Broker::parse(&url()).unwrap();
        let connection = broker.dial("test").await.unwrap();
        let channel = confirming(&connection).await.unwrap();
        let topology = Topology::new(format!("test-{}", Uuid::now_v7()));
        Corner { broker, topology, connection, channel }
    }

    pub(crate) async fn declared() -> Self {
        let corner = Corner::bare().await;
        corner.topology.declare(&corner.connection).await.unwrap();
        corner
    }

    pub(crate) fn jobs(&self) -> String {
        self.topology.queue(WorkQueue::Jobs)
    }

    pub(crate) fn messages(&self) -> String {
        self.topology.queue(WorkQueue::Messages)
    }

    pub(crate) fn dead(&self) -> String {
        self.topology.dead()
    }

    pub(crate) async fn publish(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (exchange, key) = (ShortString::from(exchange), ShortString::from(key));
        let confirm = self.channel.basic_publish(exchange, key, options, body, properties).await.unwrap();
        let confirmation = confirm.await.unwrap();
        assert!(confirmation.is_ack() && confirmation.take_message().is_none());
    }

    pub(crate) async fn send(&self, queue: &str, body: &str) {
        self.publish("", queue, BasicProperties::default(), body.as_bytes()).await;
    }

    pub(crate) async fn take(&self, queue: &str) -> Delivery {
        self.take_some(queue, 1).await.remove(0)
    }

    /// The next messages, taken off the queue; by a consumer, since `basic.get` is refused where one is to
    /// be single.
    pub(crate) async fn take_some(&self, queue: &str, count: u16) -> Vec<Delivery> {
        let channel = self.connection.create_channel().await.unwrap();
        channel.basic_qos(count, BasicQosOptions::default()).await.unwrap();
        let (queue, tag) = (ShortString::from(queue), ShortString::default());
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(queue, tag, options, FieldTable::default()).await.unwrap();
        let taking = consumer.take(usize::from(count)).try_collect::<Vec<_>>();
        let taken = tokio::time::timeout(Duration::from_secs(30), taking).await;
        let taken = taken.expect("fewer messages came").unwrap();
        for delivery in &taken {
            assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
        }
        channel.close(200, ShortString::from("taken")).await.unwrap();
        taken
    }

    /// Messages that are ready: neither taken nor held by a consumer.
    pub(crate) async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = ShortString::from(queue);
        self.channel.queue_declare(queue, options, FieldTable::default()).await.unwrap().message_count()
    }

    pub(crate) async fn delete_queue(&self, queue: &str) {
        self.channel.queue_delete(ShortString::from(queue), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Leaves the broker as it was.
    pub(crate) async fn leave(self) {
        for queue in [self.jobs(), self.messages(), self.dead()] {
            self.delete_queue(&queue).await;
        }
        for exchange in [self.topology.exchange().to_owned(), self.topology.events()] {
            let options = ExchangeDeleteOptions::default();
            self.channel.exchange_delete(ShortString::from(exchange), options).await.unwrap();
        }
        close(self.connection).await;
    }
}

/// A TCP line to the broker that a test can cut.
pub(crate) struct Line {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<AbortHandle>>>,
    exchange: JoinHandle<()>,
}

impl Line {
    pub(crate) async fn open() -> Self {
        let uri: AMQPUri = url().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls: Arc<Mutex<Vec<AbortHandle>>> = Arc::default();
        let open = Arc::clone(&calls);
        let exchange = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let target = (uri.authority.host.clone(), uri.authority.port);
                let call = tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    // An error is the cut line itself.
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                });
                open.lock().unwrap().push(call.abort_handle());
            }
        });
        Line { address, calls, exchange }
    }

    pub(crate) fn broker(&self) -> Broker {
        let mut uri: AMQPUri = url().parse().unwrap();
        uri.authority.host = self.address.ip().to_string();
        uri.authority.port = self.address.port();
        Broker::parse(&uri.to_string()).unwrap()
    }

    /// Cuts every connection; new ones get through.
    pub(crate) fn cut(&self) {
        for call in self.calls.lock().unwrap().drain(..) {
            call.abort();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.exchange.abort();
        self.cut();
    }
}

/// Keeps what a session reports.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) connected: Mutex<Vec<bool>>,
    pub(crate) ends: Mutex<Vec<SessionEnd>>,
}

impl Log {
    /// How often a session was opened.
    pub(crate) fn sessions(&self) -> usize {
        self.connected.lock().unwrap().iter().filter(|connected| **connected).count()
    }

    pub(crate) fn ends(&self) -> Vec<SessionEnd> {
        self.ends.lock().unwrap().clone()
    }
}

impl Observe for Log {
    fn connected(&self, connected: bool) {
        self.connected.lock().unwrap().push(connected);
    }

    fn session_ended(&self, end: SessionEnd) {
        self.ends.lock().unwrap().push(end);
    }
}
