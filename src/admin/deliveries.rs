//! A campaign's deliveries: page by page, and everything about one recipient.

use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Deserializer, Serialize};

use super::request::{Ids, Nothing, Query, bad, limit};
use super::{Refusal, Shared};
use crate::model;
use crate::store::reports::{DeliveryQuery, DeliveryRecord, Explanation};

pub(super) const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    #[serde(default, deserialize_with = "state")]
    state: Option<model::State>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Names the states where the word is none of them. `sending` is derived from batches, so rows cannot be found by it.
fn state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<model::State>, D::Error> {
    let word = String::deserialize(deserializer)?;
    match word.parse().map_err(serde::de::Error::custom)? {
        model::State::Sending => {
            Err(serde::de::Error::custom("ask for `planned`, which lists `sending` too"))
        }
        state => Ok(Some(state)),
    }
}

/// A place between two deliveries; its text is ours to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor(i64, i64);

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for Cursor {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let parts = text.split_once('.').and_then(|(a, b)| Some(Cursor(a.parse().ok()?, b.parse().ok()?)));
        parts.ok_or_else(|| bad("`cursor` is not one that `next_cursor` gave"))
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Page {
    deliveries: Vec<DeliveryRecord>,
    /// `None` on the last page.
    next_cursor: Option<String>,
}

pub(super) async fn page(
    State(store): State<Shared>,
    Ids([campaign]): Ids<1>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page>, Refusal> {
    let limit = limit(paging.limit, DEFAULT_LIMIT)?;
    let after: Option<Cursor> = paging.cursor.as_deref().map(str::parse).transpose()?;
    let query = DeliveryQuery {
        state: paging.state,
        after: after.map(|Cursor(contact, occurrence)| (contact, occurrence)),
        // One row more than asked for tells whether there is another page.
        limit: limit + 1,
    };
    let mut deliveries = store.deliveries(&campaign, &query).await?;
    if deliveries.is_empty() && store.campaign(&campaign).await?.is_none() {
        return Err(Refusal::no_campaign());
    }
    let more = deliveries.len() > limit as usize;
    deliveries.truncate(limit as usize);
    let last = deliveries.last().filter(|_| more).map(|last| Cursor(last.cursor.0, last.cursor.1));
    Ok(Json(Page { next_cursor: last.map(|cursor| cursor.to_string()), deliveries }))
}

#[derive(Debug, Serialize)]
pub(super) struct Explained {
    campaign: String,
    external_id: String,
    deliveries: Vec<Explanation>,
}

/// Every decision and attempt about a contact: one delivery in a campaign, more where a list repeats it or a standing
/// campaign wrote to it more than once.
pub(super) async fn explain(
    State(store): State<Shared>,
    Ids([campaign, external_id]): Ids<2>,
    _: Query<Nothing>,
) -> Result<Json<Explained>, Refusal> {
    let deliveries = store.explain(&campaign, &external_id).await?;
    if !deliveries.is_empty() {
        return Ok(Json(Explained { campaign, external_id, deliveries }));
    }
    if store.campaign(&campaign).await?.is_none() {
        return Err(Refusal::no_campaign());
    }
    let detail =
        "The campaign does not target this contact: its audience does not name it, or it is not planned yet.";
    Err(Refusal::new(axum::http::StatusCode::NOT_FOUND, detail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cursors_round_trip(contact: i64, occurrence: i64) {
            let cursor = Cursor(contact, occurrence);
            prop_assert!(cursor.to_string().parse::<Cursor>().is_ok_and(|read| read == cursor));
        }

        #[test]
        fn other_texts_are_no_cursor(text in "[a-z.]{0,9}|[0-9]{1,9}") {
            prop_assert!(text.parse::<Cursor>().is_err());
        }
    }
}
