//! Why a request was refused: a problem, or what the store's errors become.

use std::error::Error as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::Problem;
use crate::store;

/// Seconds after which a caller may try again while the store is away.
const RETRY_AFTER: &str = "5";

pub(super) struct Refusal(Problem);

impl Refusal {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem::new(status, detail).into()
    }

    pub(super) fn no_campaign() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There is no such campaign; GET /v1/campaigns lists those there are.",
        )
    }

    pub(super) fn no_contact() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such contact.")
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Refusal(problem)
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        if error.is_transient() {
            let detail =
                "The store is away; nothing was changed that was not answered. Send the request again.";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        }
        // One level of causes and no more: what PostgreSQL says below it may quote a row.
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, cause, "a request to the admin API failed");
        let detail = match error {
            store::Error::Schema { .. } => error.to_string(),
            _ => "The store could not answer; the daemon's log says more.".to_owned(),
        };
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let away = self.0.status == StatusCode::SERVICE_UNAVAILABLE;
        let mut response = self.0.into_response();
        if away {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(error: store::Error) -> Problem {
        Refusal::from(error).0
    }

    #[test]
    fn only_what_may_pass_invites_to_try_again() {
        let away = Refusal::from(store::Error::Unavailable("no route".into())).into_response();
        assert_eq!(away.status(), 503);
        assert_eq!(away.headers()[header::RETRY_AFTER], RETRY_AFTER);
        let refused = Refusal::from(store::Error::Refused("a@b.example exists".into())).into_response();
        assert_eq!(refused.status(), 500);
        assert!(!refused.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn inner_errors_stay_inside() {
        assert!(!refusal(store::Error::Refused("a@b.example exists".into())).detail.contains("a@b"));
        assert!(refusal(store::Error::Schema { found: 1, needed: 2 }).detail.contains("campaignd migrate"));
    }
}
