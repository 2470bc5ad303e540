//! What requests bring: ids out of the path, parameters out of the query. Anything unreadable is 400 and says which.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{self, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Refusal;
use crate::model::contact::check_id;

/// Rows of one page, at most.
pub(super) const MAX_LIMIT: u32 = 1_000;

/// The ids in the path, percent-decoded: any characters but control characters.
pub(super) struct Ids<const N: usize>(pub(super) [String; N]);

impl<S: Send + Sync, const N: usize> FromRequestParts<S> for Ids<N>
where
    [String; N]: DeserializeOwned + Send,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = extract::Path::<[String; N]>::from_request_parts(parts, state).await;
        let extract::Path(ids) = path.map_err(|error: PathRejection| bad(error.body_text()))?;
        for id in &ids {
            check_id(id).map_err(|problem| bad(format!("in the path: {problem}")))?;
        }
        Ok(Ids(ids))
    }
}

/// The query's parameters; `T` denies unknown ones.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|extract::Query(it)| Query(it)).map_err(|error: QueryRejection| bad(error.body_text()))
    }
}

/// For routes without parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// How many rows a page has: `asked`, else `default`.
pub(super) fn limit(asked: Option<u32>, default: u32) -> Result<u32, Refusal> {
    match asked.unwrap_or(default) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        other => Err(bad(format!("`limit` is {other}; give 1 to {MAX_LIMIT}"))),
    }
}

pub(super) fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, detail)
}
