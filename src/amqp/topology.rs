//! Exchanges, queues and bindings, and their declaration. What exists already is used as it is, never
//! changed or deleted.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};
use tracing::warn;

use super::broker::BrokerError;

/// Deliveries of one job until RabbitMQ takes it for poison and dead-letters it. RabbitMQ 3 counts every
/// return to the queue, also those of restarts and lost connections, so the limit stands far above what
/// operations cause.
const DELIVERY_LIMIT: i32 = 100;

/// No letter is lost for being looked at: RabbitMQ 4 drops at 20 where nothing is said, RabbitMQ 3 refuses
/// its `-1`.
const NO_DELIVERY_LIMIT: i32 = i32::MAX;

/// The two ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkQueue {
    /// Bulk work, in order.
    Jobs,
    /// Single, urgent messages, so that no bulk job delays them.
    Messages,
}

/// Names of everything we declare. The prefix is `campaignd`; tests take their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    prefix: String,
}

impl Default for Topology {
    fn default() -> Self {
        Topology::new("campaignd")
    }
}

impl Topology {
    /// `prefix` is the exchange's name and what all other names begin with; at most 200 bytes.
    pub fn new(prefix: impl Into<String>) -> Self {
        Topology { prefix: prefix.into() }
    }

    /// The direct exchange with the routing keys `jobs` and `messages`.
    pub fn exchange(&self) -> &str {
        &self.prefix
    }

    /// The topic exchange for events out, routing key `<channel>.<event>`.
    pub fn events(&self) -> String {
        format!("{}.events", self.prefix)
    }

    pub fn queue(&self, queue: WorkQueue) -> String {
        format!("{}.{}", self.prefix, queue.routing_key())
    }

    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// Declares whatever is missing.
    ///
    /// # Errors
    /// The connection broke, or something is neither there nor ours to declare.
    pub async fn declare(&self, connection: &Connection) -> Result<(), BrokerError> {
        exchange(connection, self.exchange(), ExchangeKind::Direct).await?;
        exchange(connection, &self.events(), ExchangeKind::Topic).await?;
        queue(connection, &self.dead(), letters()).await?;
        for work in [WorkQueue::Jobs, WorkQueue::Messages] {
            queue(connection, &self.queue(work), work.arguments(&self.dead())).await?;
            self.bind(connection, work).await?;
        }
        Ok(())
    }

    async fn bind(&self, connection: &Connection, work: WorkQueue) -> Result<(), BrokerError> {
        let queue = self.queue(work);
        let channel = connection.create_channel().await?;
        let bound = channel
            .queue_bind(
                ShortString::from(queue.as_str()),
                ShortString::from(self.exchange()),
                ShortString::from(work.routing_key()),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await;
        match bound {
            Ok(()) => Ok(channel.close(200, ShortString::from("bound")).await?),
            Err(error) if error.is_amqp_soft_error() => {
                warn!(%queue, %error, "the queue is not bound; jobs reach it through the default exchange only");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl WorkQueue {
    /// The key in the direct exchange, and the end of the queue's name.
    pub fn routing_key(self) -> &'static str {
        match self {
            WorkQueue::Jobs => "jobs",
            WorkQueue::Messages => "messages",
        }
    }

    /// Where a job of this type (`campaign`, `message`, ...) belongs.
    pub fn of(kind: &str) -> Self {
        if kind == "message" { WorkQueue::Messages } else { WorkQueue::Jobs }
    }

    fn arguments(self, dead: &str) -> FieldTable {
        let mut arguments = quorum(DELIVERY_LIMIT);
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(dead));
        // Otherwise the broker may lose a letter on its way: at-least-once demands reject-publish.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        if self == WorkQueue::Jobs {
            // A contacts job, its campaign and its pause keep their order, however many daemons there are.
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        arguments
    }
}

fn letters() -> FieldTable {
    quorum(NO_DELIVERY_LIMIT)
}

fn quorum(delivery_limit: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(delivery_limit));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

async fn exchange(connection: &Connection, name: &str, kind: ExchangeKind) -> Result<(), BrokerError> {
    declare(connection, name, |channel, passive| {
        let (name, kind) = (ShortString::from(name), kind.clone());
        async move {
            let options = ExchangeDeclareOptions { durable: true, passive, ..Default::default() };
            channel.exchange_declare(name, kind, options, FieldTable::default()).await
        }
    })
    .await
}

async fn queue(connection: &Connection, name: &str, arguments: FieldTable) -> Result<(), BrokerError> {
    declare(connection, name, |channel, passive| {
        let (name, arguments) = (ShortString::from(name), arguments.clone());
        async move {
            let options = QueueDeclareOptions { durable: true, passive, ..Default::default() };
            channel.queue_declare(name, options, arguments).await.map(drop)
        }
    })
    .await
}

/// A refusal closes the channel, so each declaration has one of its own, and a refused one is repeated
/// passively: the thing may exist with other arguments, or we may lack the right to configure it.
async fn declare<F>(
    connection: &Connection,
    name: &str,
    declare: impl Fn(Channel, bool) -> F,
) -> Result<(), BrokerError>
where
    F: Future<Output = lapin::Result<()>>,
{
    let channel = connection.create_channel().await?;
    match declare(channel.clone(), false).await {
        Ok(()) => Ok(channel.close(200, ShortString::from("declared")).await?),
        Err(error) if error.is_amqp_soft_error() => {
            let channel = connection.create_channel().await?;
            declare(channel.clone(), true).await?;
            warn!(name, %error, "used as it is, not as this version would declare it");
            Ok(channel.close(200, ShortString::from("used")).await?)
        }
        Err(error) => Err(error.into()),
    }
}
