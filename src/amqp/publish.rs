//! Publishing that is believed only when the broker confirms it, and the publisher behind `enqueue`.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use uuid::Uuid;

use super::broker::{Broker, BrokerError, close};
use super::topology::{Topology, WorkQueue};

/// AMQP's delivery mode that survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// Properties of everything we publish: durable, and JSON.
pub(crate) fn json() -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(ShortString::from("application/json"))
}

/// A channel on which the broker confirms each message.
pub(crate) async fn confirming(connection: &Connection) -> Result<Channel, BrokerError> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Puts one message into one queue and returns once the broker has made it safe. One at a time on a
/// channel: lapin hands a returned message to whichever confirm comes next.
///
/// # Errors
/// [`BrokerError::NoQueue`] where no queue has that name, [`BrokerError::NotTaken`] where the broker refuses,
/// [`BrokerError::Broken`] where the answer is not known.
pub(crate) async fn to_queue(
    channel: &Channel,
    queue: &str,
    properties: BasicProperties,
    body: &[u8],
) -> Result<(), BrokerError> {
    let key = ShortString::try_new(queue).map_err(|_| BrokerError::NoQueue(queue.to_owned()))?;
    // Without `mandatory` the broker confirms a message that no queue took.
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let confirm = channel.basic_publish(ShortString::default(), key, options, body, properties).await?;
    match confirm.await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => Err(BrokerError::NoQueue(queue.to_owned())),
        Confirmation::Nack(_) | Confirmation::NotRequested => Err(BrokerError::NotTaken(queue.to_owned())),
    }
}

/// Enqueues one job: declares what is missing, publishes, waits for the confirm. Does not look into the body.
///
/// # Errors
/// The broker is away or refuses; the job is then not enqueued, except after [`BrokerError::Broken`], which
/// leaves it open: enqueueing the same job again is safe.
pub async fn publish_job(
    broker: &Broker,
    topology: &Topology,
    queue: WorkQueue,
    body: &[u8],
) -> Result<(), BrokerError> {
    let connection = broker.dial("campaignd enqueue").await?;
    topology.declare(&connection).await?;
    let channel = confirming(&connection).await?;
    let properties = json().with_message_id(ShortString::from(Uuid::now_v7().to_string()));
    to_queue(&channel, &topology.queue(queue), properties, body).await?;
    close(connection).await;
    Ok(())
}
