//! Jobs in: from RabbitMQ and over HTTP to whoever makes them durable.
//!
//! A job is acknowledged once it is durable and not before; one that never can be is dead-lettered
//! (RabbitMQ) or refused (HTTP) with the reason and its JSON path. Nothing is dropped, nothing loops. Knows
//! neither store nor templates.

mod consumer;
pub mod http;
pub mod session;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::Job;
use crate::model::access::Actor;
use crate::model::job::{InvalidJob, ReadJob};

pub use session::Intake;

/// Bodies up to this size are read on the spot; larger ones would hold up the other tasks of their thread.
const READ_IN_PLACE: usize = 64 * 1024;

/// What became of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Durable now. Warnings are shown to the caller and logged: they hold no addresses and no secrets.
    New { warnings: Vec<String> },
    /// The same content came before; nothing changed.
    Known,
    /// Another content came before under this type and id.
    Conflict,
    /// Refused by a rule that needs configuration or templates.
    Invalid(InvalidJob),
}

/// The store cannot be reached now; the same jobs may be accepted later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store is away")]
pub struct StoreAway;

/// Makes jobs durable.
#[async_trait]
pub trait Accept: Send + Sync {
    /// Accepts the jobs that `who` brings in their order and returns exactly one verdict a job, in the same order. The call
    /// may be dropped at any await and its jobs offered again: what it did until then must be repeatable.
    ///
    /// # Errors
    /// [`StoreAway`]: no verdict is known, all jobs will be offered again.
    async fn accept(&self, jobs: Vec<ReadJob>, who: &Actor) -> Result<Vec<Verdict>, StoreAway>;
}

/// How one job fared; the label `result` of `jobs_received_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Received {
    Accepted,
    Known,
    Conflict,
    Invalid,
}

impl Received {
    pub fn as_str(self) -> &'static str {
        match self {
            Received::Accepted => "accepted",
            Received::Known => "known",
            Received::Conflict => "conflict",
            Received::Invalid => "invalid",
        }
    }
}

/// What RabbitMQ was told about one delivery; the label `result` of `settled_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    Acked,
    /// Safe among the dead letters, then acknowledged.
    DeadLettered,
    /// The connection was gone: the broker delivers it again, and its id makes that harmless.
    AckFailed,
}

impl Settled {
    pub fn as_str(self) -> &'static str {
        match self {
            Settled::Acked => "acked",
            Settled::DeadLettered => "dead_lettered",
            Settled::AckFailed => "ack_failed",
        }
    }
}

/// Told what comes in; the metrics listen here.
pub trait Observe: Send + Sync {
    /// `kind` is the job's type, or `unreadable`.
    fn received(&self, kind: &'static str, result: Received);
    fn settled(&self, result: Settled);
}

/// The metric label of a body that names no type we know.
const UNREADABLE: &str = "unreadable";

/// Why a job is refused for good.
fn conflict(kind: &str) -> InvalidJob {
    InvalidJob::at(
        "$.id",
        format!("conflict: another {kind} job with this id but other content came before; use a new id"),
    )
}

/// Reads a body off the runtime's threads where it is large. One that breaks the reader is as invalid as
/// any other: were it to break the process, it would come back and break the next.
async fn read(body: &Bytes) -> Result<ReadJob, InvalidJob> {
    if body.len() <= READ_IN_PLACE {
        return Job::read(body);
    }
    let body = body.clone();
    match tokio::task::spawn_blocking(move || Job::read(&body)).await {
        Ok(read) => read,
        Err(_) => Err(InvalidJob::at("$", "reading this job failed; please report it as a bug")),
    }
}
