//! The audit log: rows that are added and, when they are old, pruned; the schema itself refuses anything else.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use crate::model::audit::Deed;

#[async_trait]
pub trait Audit: Send + Sync {
    /// Adds deeds, at the store's time.
    async fn audit(&self, deeds: &[Deed]) -> Result<()>;

    /// The log, newest first.
    async fn audit_log(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>>;

    /// Forgets what is older than `days`, which the schema takes from [`KEPT_DAYS`] on. Returns how many.
    async fn prune_audit(&self, days: u32) -> Result<u64>;
}

/// Days for which the schema lets nobody delete a row.
pub const KEPT_DAYS: u32 = 30;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    pub since: Option<Timestamp>,
    /// An external id: deeds about this contact alone.
    pub contact: Option<String>,
    /// The `number` of the last record seen.
    pub before: Option<i64>,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    pub number: i64,
    pub at: Timestamp,
    pub who: String,
    pub action: String,
    pub subject: Option<String>,
    /// The keyed hash of an external id, in hex.
    pub contact: Option<String>,
    /// SHA-256 of a job's content, in hex.
    pub content: Option<String>,
    pub ending: String,
    pub detail: Option<String>,
}
