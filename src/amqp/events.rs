//! Events out: rows of the outbox to the topic exchange, at least once, in the outbox's order.
//!
//! A row is done only when the broker has confirmed it; a crash between the two publishes it again under
//! the same message id. An event that nobody is bound to is confirmed and gone: who wants events binds a
//! queue first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{Channel, ChannelState, Confirmation, Connection, ErrorKind};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::broker::{Broker, BrokerError, Observe, Pauses, SessionEnd, close};
use super::publish::{confirming, json};
use super::topology::Topology;

/// Confirms are awaited in windows: 42 times faster than one by one.
const WINDOW: usize = 1000;

/// How often an empty outbox is looked at.
const POLL: Duration = Duration::from_millis(200);

/// One row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutEvent {
    /// Never used for another event; becomes the AMQP message id.
    pub id: i64,
    /// `<channel>.<event>`, at most 255 bytes.
    pub routing_key: String,
    /// JSON.
    pub payload: Bytes,
}

/// The outbox cannot be reached now; what it holds stays there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is away")]
pub struct OutboxAway;

/// Where durable events wait. One publisher at a time reads it; two would publish doubles, never lose.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// The oldest rows, at most `most`, left in place until they are done; none where it is empty.
    async fn take(&self, most: usize) -> Result<Vec<OutEvent>, OutboxAway>;

    /// Removes rows that the broker has confirmed.
    async fn done(&self, ids: &[i64]) -> Result<(), OutboxAway>;
}

/// Publishes the outbox until it is stopped.
pub struct EventPublisher {
    pub broker: Broker,
    pub topology: Topology,
    pub outbox: Arc<dyn Outbox>,
    pub observe: Arc<dyn Observe>,
}

impl std::fmt::Debug for EventPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventPublisher").field("broker", &self.broker).finish_non_exhaustive()
    }
}

/// What one look into the outbox brought.
enum Step {
    /// Everything that was taken went out: there may be more.
    Sent,
    /// The outbox is empty.
    Idle,
    /// The store or the broker refused something.
    Stuck,
}

impl EventPublisher {
    /// Dials for ever. When stopped it first empties the outbox, as far as store and broker let it.
    pub async fn run(self, stop: CancellationToken) {
        let mut pauses = Pauses::redial();
        loop {
            let Some(opened) = stop.run_until_cancelled(self.open()).await else { return };
            let end = match opened {
                Ok((connection, channel)) => {
                    self.observe.connected(true);
                    let began = Instant::now();
                    let end = self.serve(connection, &channel, &stop).await;
                    pauses.reset_after(began.elapsed());
                    end
                }
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "no session with RabbitMQ; events wait in the outbox"
                    );
                    SessionEnd::NotConnected
                }
            };
            self.observe.connected(false);
            self.observe.session_ended(end);
            if stop.run_until_cancelled(tokio::time::sleep(pauses.next())).await.is_none() {
                return;
            }
        }
    }

    async fn open(&self) -> Result<(Connection, Channel), BrokerError> {
        let connection = self.broker.dial("campaignd events").await?;
        self.topology.declare(&connection).await?;
        let channel = confirming(&connection).await?;
        Ok((connection, channel))
    }

    async fn serve(&self, connection: Connection, channel: &Channel, stop: &CancellationToken) -> SessionEnd {
        let mut stuck = Pauses::new(POLL, Duration::from_secs(5));
        loop {
            let pause = match self.step(channel).await {
                Ok(Step::Stuck) => stuck.next(),
                Ok(Step::Sent) => {
                    stuck.reset();
                    continue;
                }
                Ok(Step::Idle) => {
                    stuck.reset();
                    POLL
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "the session for events ended");
                    return SessionEnd::Lost;
                }
            };
            if stop.is_cancelled() {
                break;
            }
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        close(connection).await;
        SessionEnd::Shutdown
    }

    async fn step(&self, channel: &Channel) -> Result<Step, lapin::Error> {
        let Ok(events) = self.outbox.take(WINDOW).await else {
            // The outbox tells why.
            debug!("the outbox is away; its events wait there");
            return Ok(Step::Stuck);
        };
        if events.is_empty() {
            // Nothing is written now, so a lost connection would not show by itself.
            return if channel.status().connected() {
                Ok(Step::Idle)
            } else {
                Err(ErrorKind::InvalidChannelState(ChannelState::Closed, "found closed while idle").into())
            };
        }
        let (confirmed, broken) = self.publish(channel, &events).await;
        if !confirmed.is_empty() && self.outbox.done(&confirmed).await.is_err() {
            debug!(events = confirmed.len(), "the outbox is away; these events will be published once more");
            return Ok(Step::Stuck);
        }
        match broken {
            Some(error) => Err(error),
            None if confirmed.len() == events.len() => Ok(Step::Sent),
            None => Ok(Step::Stuck),
        }
    }

    /// Ids that the broker confirmed, and the error that cut the window short.
    async fn publish(&self, channel: &Channel, events: &[OutEvent]) -> (Vec<i64>, Option<lapin::Error>) {
        let exchange = self.topology.events();
        let (mut waiting, mut broken) = (Vec::with_capacity(events.len()), None);
        for event in events {
            let Ok(key) = ShortString::try_new(event.routing_key.as_str()) else {
                error!(
                    event = event.id,
                    "its routing key is longer than AMQP's 255 bytes; it stays in the outbox"
                );
                continue;
            };
            let properties = json().with_message_id(ShortString::from(event.id.to_string()));
            let exchange = ShortString::from(exchange.as_str());
            let options = BasicPublishOptions::default();
            match channel.basic_publish(exchange, key, options, &event.payload, properties).await {
                Ok(confirm) => waiting.push((event.id, confirm)),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        let mut confirmed = Vec::with_capacity(waiting.len());
        for (id, confirm) in waiting {
            match confirm.await {
                Ok(Confirmation::Ack(_)) => confirmed.push(id),
                Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => {
                    warn!(event = id, "RabbitMQ did not take an event; it is tried again");
                }
                Err(error) => broken = Some(error),
            }
        }
        (confirmed, broken)
    }
}
