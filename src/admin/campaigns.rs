//! Campaigns: the list, one of them, its controls and its report.

use std::fmt::Write;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::request::{Ids, Nothing, Query, limit};
use super::{Refusal, Shared, note};
use crate::model::access::Caller;
use crate::model::audit::{Deed, Ending};
use crate::model::{CampaignStatus, Control};
use crate::report::{self, Report};
use crate::store::campaigns::CampaignRecord;

pub(super) const DEFAULT_LIMIT: u32 = 50;

/// What a file's name carries as it is (RFC 8187, section 3.2.1, `attr-char`, less a few).
const NOT_IN_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    limit: Option<u32>,
    #[serde(default)]
    offset: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct List {
    campaigns: Vec<CampaignRecord>,
    /// `None` on the last page.
    next_offset: Option<u32>,
}

/// Newest first.
pub(super) async fn list(
    State(store): State<Shared>,
    Query(paging): Query<Paging>,
) -> Result<Json<List>, Refusal> {
    let limit = limit(paging.limit, DEFAULT_LIMIT)?;
    // One row more than asked for tells whether there is another page.
    let mut campaigns = store.campaigns(limit + 1, paging.offset).await?;
    let more = campaigns.len() > limit as usize;
    campaigns.truncate(limit as usize);
    let next_offset = more.then(|| paging.offset.saturating_add(limit));
    Ok(Json(List { campaigns, next_offset }))
}

pub(super) async fn one(
    State(store): State<Shared>,
    Ids([id]): Ids<1>,
    _: Query<Nothing>,
) -> Result<Json<CampaignRecord>, Refusal> {
    store.campaign(&id).await?.map(Json).ok_or_else(Refusal::no_campaign)
}

#[derive(Debug, Serialize)]
pub(super) struct Controlled {
    id: String,
    status: CampaignStatus,
}

/// Idempotent; one that comes too late, as a pause of a finished campaign, changes nothing, and the status says so.
pub(super) fn control(control: Control) -> MethodRouter<Shared> {
    post(async move |State(store): State<Shared>, caller: Caller, Ids([id]): Ids<1>, _: Query<Nothing>| {
        let status = store.control(&id, control).await?;
        let ending = if status.is_some() { Ending::Done } else { Ending::NotFound };
        note(&store, Deed::new(caller.actor, control.into(), ending).subject(&id)).await;
        let status = status.ok_or_else(Refusal::no_campaign)?;
        Ok::<_, Refusal>(Json(Controlled { id, status }))
    })
}

pub(super) async fn report(
    State(store): State<Shared>,
    Ids([id]): Ids<1>,
    _: Query<Nothing>,
) -> Result<Json<Report>, Refusal> {
    report::load(&*store, &id).await?.map(Json).ok_or_else(Refusal::no_campaign)
}

pub(super) async fn report_csv(
    State(store): State<Shared>,
    Ids([id]): Ids<1>,
    _: Query<Nothing>,
) -> Result<Response, Refusal> {
    let report = report::load(&*store, &id).await?.ok_or_else(Refusal::no_campaign)?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, attachment(&id)),
    ];
    Ok((headers, report.csv()).into_response())
}

/// `Content-Disposition` (RFC 6266) for any id: a plain name for old programs, the id itself for the others.
fn attachment(id: &str) -> String {
    let plain = id.replace(|c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c), "_");
    let mut value = format!("attachment; filename=\"{plain}-report.csv\"");
    if plain != id {
        let encoded = utf8_percent_encode(id, NOT_IN_NAMES);
        // A String takes whatever is written.
        write!(value, "; filename*=UTF-8''{encoded}-report.csv").unwrap_or_default();
    }
    value
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_are_named_after_their_campaign() {
        assert_eq!(attachment("spring-2026"), "attachment; filename=\"spring-2026-report.csv\"");
        assert_eq!(
            attachment("春\"/x"),
            "attachment; filename=\"___x-report.csv\"; filename*=UTF-8''%E6%98%A5%22%2Fx-report.csv"
        );
    }

    proptest! {
        #[test]
        fn any_id_makes_a_header(id in any::<String>()) {
            let value = attachment(&id);
            prop_assert!(HeaderValue::try_from(&value).is_ok());
            prop_assert_eq!(value.matches('"').count(), 2);
        }
    }
}
