//! Accepting jobs: durable before they are answered, once per type and id.

use async_trait::async_trait;
use serde_json::Value;

use super::Result;
use crate::model::contact::Problem;
use crate::model::job::Job;

#[async_trait]
pub trait Jobs: Send + Sync {
    /// Accepts the jobs in order, all in one transaction. One answer a job.
    ///
    /// `owner` leases the batches of messages to the daemon that accepts them, so that they go at once.
    async fn accept(&self, submissions: &[Submission], owner: Option<Incarnation>)
    -> Result<Vec<Acceptance>>;

    /// Forgets job ids that were accepted more than `days` ago.
    async fn prune_jobs(&self, days: u32) -> Result<u64>;
}

/// One start of one daemon: owns leases while its heart beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub i64);

/// A job that passed every check which needs no store.
#[derive(Debug, Clone)]
pub struct Submission {
    pub job: Job,
    pub content_hash: [u8; 32],
    /// The template of a campaign or a message, pinned as it is now.
    pub template: Option<PinnedTemplate>,
    /// The channel does not carry the job's purpose: everyone is excluded as `purpose_forbidden`.
    pub purpose_forbidden: bool,
    /// App ids that the job's providers reach; `None` where the channel has none.
    pub apps: Option<Vec<String>>,
}

/// A template's sources under the hash of their content, and the links that it tracks.
#[derive(Debug, Clone, PartialEq)]
pub struct PinnedTemplate {
    pub hash: [u8; 32],
    pub name: String,
    pub source: Value,
    pub links: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// Durable now. Warnings name what was left out, as an address that another contact owns.
    New { warnings: Vec<String> },
    /// Accepted before with the same content; nothing changed.
    Known,
    /// Accepted before with other content; nothing changed.
    Conflict,
    /// The store's contents forbid it, as a control of a campaign that does not exist.
    Invalid(Problem),
}
