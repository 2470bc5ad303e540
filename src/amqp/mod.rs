//! The way to RabbitMQ: dialling, the topology, confirmed publishing, events out, dead letters.
//!
//! A connection is never repaired: on its first error everything on it is dropped and dialled anew. Nothing
//! here is published without a confirm from the broker, and nothing is taken off a queue before that
//! confirm.

pub mod broker;
pub mod dead;
pub mod events;
pub mod letter;
pub mod publish;
mod secured;
pub mod topology;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use broker::{Broker, BrokerError, Observe, SessionEnd};
pub use events::{EventPublisher, OutEvent, Outbox, OutboxAway};
pub use publish::publish_job;
pub use topology::{Topology, WorkQueue};
