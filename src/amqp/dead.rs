//! The dead-letter queue for an operator: look, retry, discard.
//!
//! Letters are fetched without being taken; what is neither retried nor discarded goes back when the
//! channel closes. Retrying is at-least-once: a crash between the confirm and the acknowledgement leaves
//! the letter as well, and the job's id makes the second one harmless. While one call runs, another sees an
//! empty queue.

use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};
use serde::Serialize;

use super::broker::{Broker, BrokerError, close};
use super::letter::{Letter, carried};
use super::publish::{confirming, to_queue};
use super::topology::Topology;

/// Which letters: every one, or those of these ids ([`Letter::id`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    All,
    Ids(Vec<String>),
}

impl Pick {
    fn takes(&self, letter: &Letter) -> bool {
        match self {
            Pick::All => true,
            Pick::Ids(ids) => ids.contains(&letter.id),
        }
    }
}

/// The head of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    pub total: u32,
    pub letters: Vec<Letter>,
}

/// What `retry` or `discard` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Handled {
    pub done: Vec<Letter>,
    /// Picked, but still in the queue, each with the reason.
    pub kept: Vec<(Letter, String)>,
}

/// The first `limit` letters, left where they are.
///
/// # Errors
/// The broker is away, or has no dead-letter queue.
pub async fn list(broker: &Broker, topology: &Topology, limit: usize) -> Result<Listing, BrokerError> {
    let desk = Desk::open(broker, topology).await?;
    let mut letters = Vec::new();
    while letters.len() < limit.min(desk.total as usize)
        && let Some((letter, _)) = desk.fetch().await?
    {
        letters.push(letter);
    }
    let total = desk.total;
    close(desk.connection).await;
    Ok(Listing { total, letters })
}

/// Sends letters back to the queues that they came from, and takes them off once the broker has confirmed
/// them there.
///
/// # Errors
/// The broker broke off; what was confirmed until then is retried, and may still be in the queue as well.
pub async fn retry(broker: &Broker, topology: &Topology, pick: &Pick) -> Result<Handled, BrokerError> {
    let desk = Desk::open(broker, topology).await?;
    let mut handled = Handled::default();
    for _ in 0..desk.total {
        let Some((letter, delivery)) = desk.fetch().await? else { break };
        if !pick.takes(&letter) {
            continue;
        }
        match desk.send_back(&letter, &delivery).await {
            Ok(()) => {
                delivery.ack(BasicAckOptions::default()).await?;
                handled.done.push(letter);
            }
            Err(error @ BrokerError::Broken(_)) => return Err(error),
            Err(error) => handled.kept.push((letter, error.to_string())),
        }
    }
    close(desk.connection).await;
    Ok(handled)
}

/// Takes letters off the queue for good.
///
/// # Errors
/// The broker broke off; some may be gone already.
pub async fn discard(broker: &Broker, topology: &Topology, pick: &Pick) -> Result<Handled, BrokerError> {
    let desk = Desk::open(broker, topology).await?;
    let mut handled = Handled::default();
    for _ in 0..desk.total {
        let Some((letter, delivery)) = desk.fetch().await? else { break };
        if pick.takes(&letter) {
            delivery.ack(BasicAckOptions::default()).await?;
            handled.done.push(letter);
        }
    }
    close(desk.connection).await;
    Ok(handled)
}

/// One look through the queue, at most as long as the queue was at its beginning: a retried job that dies
/// again is not retried again.
struct Desk {
    connection: Connection,
    letters: Channel,
    outgoing: Channel,
    dead: String,
    total: u32,
}

impl Desk {
    async fn open(broker: &Broker, topology: &Topology) -> Result<Self, BrokerError> {
        let connection = broker.dial("campaignd dead letters").await?;
        let dead = topology.dead();
        let Some(total) = length(&connection, &dead).await? else { return Err(BrokerError::NoQueue(dead)) };
        let letters = connection.create_channel().await?;
        let outgoing = confirming(&connection).await?;
        Ok(Desk { connection, letters, outgoing, dead, total })
    }

    async fn fetch(&self) -> Result<Option<(Letter, Delivery)>, BrokerError> {
        let queue = ShortString::from(self.dead.as_str());
        let fetched = self.letters.basic_get(queue, BasicGetOptions::default()).await?;
        Ok(fetched.map(|message| (Letter::read(&message.delivery), message.delivery)))
    }

    async fn send_back(&self, letter: &Letter, delivery: &Delivery) -> Result<(), BrokerError> {
        let queue = letter.queue.as_deref().unwrap_or_default();
        // Asked beforehand, because lapin logs the whole body of a message that comes back.
        if length(&self.connection, queue).await?.is_none() {
            return Err(BrokerError::NoQueue(queue.to_owned()));
        }
        to_queue(&self.outgoing, queue, carried(&delivery.properties), &delivery.data).await
    }
}

/// How many messages a queue holds ready; `None` where there is no such queue.
async fn length(connection: &Connection, queue: &str) -> Result<Option<u32>, BrokerError> {
    let Ok(name) = ShortString::try_new(queue) else { return Ok(None) };
    if queue.is_empty() {
        // AMQP takes an empty name for the channel's latest queue.
        return Ok(None);
    }
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    match channel.queue_declare(name, options, FieldTable::default()).await {
        Ok(queue) => {
            channel.close(200, ShortString::from("counted")).await?;
            Ok(Some(queue.message_count()))
        }
        Err(error) if error.is_amqp_soft_error() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
