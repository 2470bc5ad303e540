//! Handlers take whoever asks as an argument; the listener's guard said who that is.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::Problem;
use crate::model::access::Caller;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// A route that no guard stands before lets nobody in.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The listener did not say who asks.")
        })
    }
}
