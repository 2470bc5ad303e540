//! The audit log, page by page.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::request::{Query, limit};
use super::{Refusal, Shared};
use crate::store::audit::{AuditQuery, AuditRecord};

pub(super) const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    since: Option<Timestamp>,
    /// An external id.
    contact: Option<String>,
    /// `next_before` of the page before.
    before: Option<i64>,
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Page {
    audit: Vec<AuditRecord>,
    /// `None` on the last page.
    next_before: Option<i64>,
}

/// Newest first.
pub(super) async fn list(
    State(store): State<Shared>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page>, Refusal> {
    let limit = limit(paging.limit, DEFAULT_LIMIT)?;
    let Paging { since, contact, before, .. } = paging;
    // One row more than asked for tells whether there is another page.
    let mut audit = store.audit_log(&AuditQuery { since, contact, before, limit: limit + 1 }).await?;
    let more = audit.len() > limit as usize;
    audit.truncate(limit as usize);
    let next_before = audit.last().filter(|_| more).map(|last| last.number);
    Ok(Json(Page { audit, next_before }))
}
