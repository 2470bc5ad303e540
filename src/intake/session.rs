//! The daemon's standing order for jobs: one session with RabbitMQ after another, for ever.

use std::sync::Arc;
use std::time::Instant;

use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, Consumer};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::consumer::{Ended, QueueConsumer};
use super::{Accept, Observe};
use crate::amqp::broker::{Pauses, close};
use crate::amqp::publish::confirming;
use crate::amqp::{self, Broker, BrokerError, SessionEnd, Topology, WorkQueue};

/// Urgent messages accepted in one commit, at most.
const MESSAGES_A_GROUP: usize = 250;

/// Takes jobs from RabbitMQ until it is stopped.
pub struct Intake {
    pub broker: Broker,
    pub topology: Topology,
    /// Bulk jobs held at once, at least 1. Each has up to 16 MiB. The same in all daemons: what one hands
    /// back, RabbitMQ queues behind what was handed back earlier and is not yet held again.
    pub jobs_prefetch: u16,
    /// Urgent messages held at once, at least 1; twice a group keeps the next one at hand.
    pub messages_prefetch: u16,
    pub accept: Arc<dyn Accept>,
    pub observe: Arc<dyn Observe>,
    pub link: Arc<dyn amqp::Observe>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("broker", &self.broker).finish_non_exhaustive()
    }
}

impl Intake {
    /// Returns after `stop`: what is in hand is settled (unless the store is away), the rest goes back to
    /// the queues in its order.
    pub async fn run(self, stop: CancellationToken) {
        let mut pauses = Pauses::redial();
        loop {
            let Some(opened) = stop.run_until_cancelled(Session::open(&self)).await else { return };
            let end = match opened {
                Ok(session) => {
                    info!(broker = %self.broker, "taking jobs from RabbitMQ");
                    self.link.connected(true);
                    let began = Instant::now();
                    let end = session.serve(&self, &stop).await;
                    pauses.reset_after(began.elapsed());
                    end
                }
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "no session with RabbitMQ; jobs wait there"
                    );
                    SessionEnd::NotConnected
                }
            };
            self.link.connected(false);
            self.link.session_ended(end);
            if stop.run_until_cancelled(tokio::time::sleep(pauses.next())).await.is_none() {
                return;
            }
        }
    }
}

/// Everything of one session; dropped as a whole.
struct Session {
    consuming: Connection,
    publishing: Connection,
    jobs: Consumer,
    messages: Consumer,
}

impl Session {
    async fn open(intake: &Intake) -> Result<Self, BrokerError> {
        let consuming = intake.broker.dial("campaignd jobs").await?;
        let publishing = intake.broker.dial("campaignd dead letters").await?;
        intake.topology.declare(&consuming).await?;
        let jobs = consume(&consuming, &intake.topology.queue(WorkQueue::Jobs), intake.jobs_prefetch).await?;
        let queue = intake.topology.queue(WorkQueue::Messages);
        let messages = consume(&consuming, &queue, intake.messages_prefetch).await?;
        Ok(Session { consuming, publishing, jobs, messages })
    }

    async fn serve(self, intake: &Intake, stop: &CancellationToken) -> SessionEnd {
        let Session { consuming, publishing, jobs, messages } = self;
        match both(intake, &publishing, jobs, messages, stop).await {
            Ok(()) => {
                close(consuming).await;
                close(publishing).await;
                SessionEnd::Shutdown
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the session with RabbitMQ ended");
                match error {
                    Ended::Cancelled(_) => SessionEnd::Cancelled,
                    Ended::Lost(_) | Ended::Broker(_) => SessionEnd::Lost,
                }
            }
        }
    }
}

/// Serves both queues; the first that fails drops the other, whose work in hand the broker will deliver
/// again.
async fn both(
    intake: &Intake,
    publishing: &Connection,
    jobs: Consumer,
    messages: Consumer,
    stop: &CancellationToken,
) -> Result<(), Ended> {
    let consumer = async |queue: WorkQueue, group: usize| -> Result<_, BrokerError> {
        Ok(QueueConsumer {
            queue: intake.topology.queue(queue),
            group,
            accept: intake.accept.as_ref(),
            observe: intake.observe.as_ref(),
            letters: confirming(publishing).await?,
            dead: intake.topology.dead(),
        })
    };
    let bulk = consumer(WorkQueue::Jobs, 1).await?;
    let urgent = consumer(WorkQueue::Messages, MESSAGES_A_GROUP).await?;
    tokio::try_join!(bulk.run(jobs, stop), urgent.run(messages, stop))?;
    Ok(())
}

/// A channel a queue, since the prefetch count is the only bound on what lapin buffers.
async fn consume(connection: &Connection, queue: &str, prefetch: u16) -> Result<Consumer, BrokerError> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(prefetch.max(1), BasicQosOptions::default()).await?;
    let (queue, tag) = (ShortString::from(queue), ShortString::default());
    Ok(channel.basic_consume(queue, tag, BasicConsumeOptions::default(), FieldTable::default()).await?)
}
