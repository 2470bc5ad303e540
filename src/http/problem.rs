//! Error answers as `application/problem+json` (RFC 9457), and the two that every router falls back to.
//!
//! A problem tells the caller what to do; it never carries an address, a token or an inner error.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// One error answer. Without a `type` member it is of type `about:blank`, whose title is the status's own phrase
/// (RFC 9457, section 4.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(serialize_with = "as_number")]
    pub status: StatusCode,
    pub title: String,
    /// What is wrong with this request, and what to do about it.
    pub detail: String,
    /// Each fault of an invalid body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// One fault in a request's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where, as a JSON path: `$.audience.segment.all[0]`.
    pub path: String,
    pub message: String,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { status, title, detail: detail.into(), errors: Vec::new() }
    }

    /// The same problem, naming one more fault of the body.
    #[must_use]
    pub fn fault(mut self, path: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.push(Fault { path: path.into(), message: message.into() });
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let headers =
            [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
        // Strings and a number always serialise; an empty object is still a problem (all members are optional).
        let body = serde_json::to_vec(&self).unwrap_or_else(|_| b"{}".to_vec());
        (self.status, headers, body).into_response()
    }
}

/// For `Router::fallback`.
pub async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "There is nothing at this path.")
}

/// For `Router::method_not_allowed_fallback`; axum adds `Allow`.
pub async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "This path does not take this method; `Allow` names those that it takes.",
    )
}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_status_title_detail_and_each_fault() {
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "The job is invalid.")
            .fault("$.rate", "`fast` is no rate: write it as `500/s`");
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            json!({
                "status": 422,
                "title": "Unprocessable Entity",
                "detail": "The job is invalid.",
                "errors": [{"path": "$.rate", "message": "`fast` is no rate: write it as `500/s`"}],
            })
        );
    }

    #[test]
    fn answers_with_its_status_and_media_type() {
        let response = Problem::new(StatusCode::NOT_FOUND, "No such campaign.").into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
