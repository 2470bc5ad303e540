//! One queue's consumer: groups of deliveries to verdicts, verdicts to settlements.
//!
//! Groups are settled one after another in the queue's order, so that one acknowledgement covers a whole
//! group. While the store is away the group in hand is held unacknowledged and offered again; the prefetch
//! count then keeps the rest in the queue. Nothing is ever handed back by `basic.nack`: RabbitMQ 3 counts
//! that towards the delivery limit, and it would let a later job overtake an earlier one. What is unsettled
//! goes back, in order, when the channel closes.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::{Channel, Consumer};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Accept, Observe, Received, Settled, StoreAway, UNREADABLE, Verdict, conflict, read};
use crate::amqp::BrokerError;
use crate::amqp::broker::Pauses;
use crate::amqp::letter;
use crate::amqp::publish::to_queue;
use crate::model::access::Actor;

/// Between two attempts at what holds up a group.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct QueueConsumer<'a> {
    pub(super) queue: String,
    /// Deliveries that are accepted in one call, at most.
    pub(super) group: usize,
    pub(super) accept: &'a dyn Accept,
    pub(super) observe: &'a dyn Observe,
    /// In confirm mode, and on a connection of its own: the broker stops reading from publishers when it
    /// runs short of memory, and acknowledgements must still get through then.
    pub(super) letters: Channel,
    pub(super) dead: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the broker cancelled the consumer of `{0}`: the queue was deleted, or its node went away")]
    Cancelled(String),
    #[error("the channel of `{0}` was lost while its jobs were held")]
    Lost(String),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// A delivery and its body, which outlives the reading: a dead letter carries it on.
struct Held {
    delivery: Delivery,
    body: Bytes,
}

/// What is to be done about one delivery.
struct Judgement {
    kind: &'static str,
    result: Received,
    /// Why it goes to the dead letters; `None` where it is durable.
    error: Option<String>,
}

impl QueueConsumer<'_> {
    /// Returns `Ok` when stopped, with the group in hand settled unless the store is away.
    pub(super) async fn run(&self, consumer: Consumer, stop: &CancellationToken) -> Result<(), Ended> {
        // A group is whatever has arrived while the one before was made durable: no timer, no added delay.
        // The stream is never polled again after its end: lapin's would be pending for ever.
        let mut groups = consumer.ready_chunks(self.group);
        loop {
            let group = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                group = groups.next() => group,
            };
            let Some(group) = group else { return Err(Ended::Cancelled(self.queue.clone())) };
            let mut held = Vec::with_capacity(group.len());
            for delivery in group {
                let mut delivery = delivery.map_err(BrokerError::from)?;
                let body = Bytes::from(std::mem::take(&mut delivery.data));
                held.push(Held { delivery, body });
            }
            let Some(judgements) = self.judge_when_possible(&held, stop).await? else { return Ok(()) };
            if !self.settle(&held, &judgements, stop).await? {
                return Ok(());
            }
        }
    }

    /// Offers the group until the store has an answer; `None` where we are stopped before that.
    async fn judge_when_possible(
        &self,
        held: &[Held],
        stop: &CancellationToken,
    ) -> Result<Option<Vec<Judgement>>, Ended> {
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            match self.judge(held).await {
                Ok(judgements) => return Ok(Some(judgements)),
                Err(StoreAway) => {
                    // Whoever accepts jobs tells why.
                    debug!(queue = %self.queue, held = held.len(), "the store is away; these jobs are held and tried again");
                }
            }
            if !self.wait(pauses.next(), held, stop).await? {
                return Ok(None);
            }
        }
    }

    /// Waits while jobs are held; `false` where we are stopped meanwhile.
    async fn wait(&self, pause: Duration, held: &[Held], stop: &CancellationToken) -> Result<bool, Ended> {
        let waited = stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some();
        // The broker closes a channel that holds a delivery for half an hour; it delivers all of them again.
        if held.iter().any(|held| held.delivery.acker.poisoned()) {
            return Err(Ended::Lost(self.queue.clone()));
        }
        Ok(waited)
    }

    async fn judge(&self, held: &[Held]) -> Result<Vec<Judgement>, StoreAway> {
        let (mut kinds, mut jobs) = (Vec::with_capacity(held.len()), Vec::with_capacity(held.len()));
        for held in held {
            kinds.push(read(&held.body).await.map(|read| {
                let kind = read.job.kind();
                jobs.push(read);
                kind
            }));
        }
        let expected = jobs.len();
        let verdicts =
            if jobs.is_empty() { Vec::new() } else { self.accept.accept(jobs, &Actor::rabbitmq()).await? };
        assert_eq!(verdicts.len(), expected, "one verdict a job: an unjudged job must not be acknowledged");
        let mut verdicts = verdicts.into_iter();
        let judgements = kinds.into_iter().filter_map(|kind| match kind {
            Ok(kind) => verdicts.next().map(|verdict| self.judgement(kind, verdict)),
            Err(invalid) => Some(Judgement {
                kind: UNREADABLE,
                result: Received::Invalid,
                error: Some(invalid.to_string()),
            }),
        });
        Ok(judgements.collect())
    }

    fn judgement(&self, kind: &'static str, verdict: Verdict) -> Judgement {
        let (result, error) = match verdict {
            Verdict::New { warnings } => {
                for warning in warnings {
                    warn!(queue = %self.queue, kind, %warning, "accepted with a warning");
                }
                (Received::Accepted, None)
            }
            Verdict::Known => (Received::Known, None),
            Verdict::Conflict => (Received::Conflict, Some(conflict(kind).to_string())),
            Verdict::Invalid(invalid) => (Received::Invalid, Some(invalid.to_string())),
        };
        Judgement { kind, result, error }
    }

    /// Letters first, then one acknowledgement for the group: everything before it on this channel is
    /// settled already. A crash in between delivers the group again; jobs are then known, and a dead one
    /// has a second letter. `false` where we are stopped before all letters are out.
    async fn settle(
        &self,
        held: &[Held],
        judgements: &[Judgement],
        stop: &CancellationToken,
    ) -> Result<bool, Ended> {
        for (one, judgement) in held.iter().zip(judgements) {
            self.observe.received(judgement.kind, judgement.result);
            let Some(error) = &judgement.error else { continue };
            let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
            while !self.dead_letter(one, error).await? {
                if !self.wait(pauses.next(), held, stop).await? {
                    return Ok(false);
                }
            }
            warn!(
                queue = %self.queue, kind = judgement.kind, result = judgement.result.as_str(),
                "a job was dead-lettered; `campaignd dead list` says why"
            );
        }
        self.acknowledge(held, judgements).await;
        Ok(true)
    }

    /// `false` where the broker does not take the letter now. Ending the session over that would have it
    /// count a failed delivery of every job that is held.
    async fn dead_letter(&self, held: &Held, error: &str) -> Result<bool, Ended> {
        let properties = letter::properties(&held.delivery.properties, &self.queue, error);
        match to_queue(&self.letters, &self.dead, properties, &held.body).await {
            Ok(()) => Ok(true),
            Err(BrokerError::NotTaken(dead)) => {
                warn!(queue = %self.queue, dead, "RabbitMQ takes no dead letter now; the job is held, the letter tried again");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn acknowledge(&self, held: &[Held], judgements: &[Judgement]) {
        let Some(last) = held.last() else { return };
        let acked = match last.delivery.ack(BasicAckOptions { multiple: true }).await {
            Ok(acked) => acked,
            Err(error) => {
                debug!(queue = %self.queue, %error, "the acknowledgement did not get through");
                false
            }
        };
        for judgement in judgements {
            self.observe.settled(match (acked, &judgement.error) {
                (false, _) => Settled::AckFailed,
                (true, None) => Settled::Acked,
                (true, Some(_)) => Settled::DeadLettered,
            });
        }
    }
}
