//! Jobs over HTTP: `POST /v1/jobs`, the same body and the same rules as over RabbitMQ.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::LengthLimitError;
use serde::Serialize;

use super::{Accept, Observe, Received, UNREADABLE, Verdict, conflict, read};
use crate::model::contact::Problem;
use crate::model::job::{InvalidJob, MAX_JOB_BYTES};

/// Seconds after which a caller may try again while the store is away.
const RETRY_AFTER_SECONDS: &str = "5";

#[derive(Clone)]
struct Jobs {
    accept: Arc<dyn Accept>,
    observe: Arc<dyn Observe>,
}

/// The route, to be merged into the admin API.
pub fn router(accept: Arc<dyn Accept>, observe: Arc<dyn Observe>) -> Router {
    let wrong_method =
        async || Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "jobs are sent with POST".into());
    Router::new().route("/v1/jobs", post(create).fallback(wrong_method)).with_state(Jobs { accept, observe })
}

/// The answer to a job that is durable.
#[derive(Debug, Serialize)]
struct Answer {
    id: String,
    r#type: &'static str,
    result: &'static str,
    warnings: Vec<String>,
}

async fn create(State(jobs): State<Jobs>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    if !is_json(&headers) {
        let detail = "a job is sent as application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail.into()));
    }
    let body = collect(body).await?;
    let read = read(&body).await.map_err(|invalid| {
        jobs.observe.received(UNREADABLE, Received::Invalid);
        Refusal::invalid(invalid)
    })?;
    let (id, kind) = (read.job.id().to_owned(), read.job.kind());
    let verdict = jobs.accept.accept(vec![read]).await.map_err(|_| Refusal::store_away())?;
    let verdict = verdict.into_iter().next().ok_or_else(Refusal::store_away)?;
    let (status, result, warnings) = match verdict {
        Verdict::New { warnings } => (StatusCode::ACCEPTED, Received::Accepted, warnings),
        Verdict::Known => (StatusCode::OK, Received::Known, Vec::new()),
        Verdict::Conflict => {
            jobs.observe.received(kind, Received::Conflict);
            return Err(Refusal::conflict(kind));
        }
        Verdict::Invalid(invalid) => {
            jobs.observe.received(kind, Received::Invalid);
            return Err(Refusal::invalid(invalid));
        }
    };
    jobs.observe.received(kind, result);
    let answer = Answer { id, r#type: kind, result: result.as_str(), warnings };
    Ok((status, axum::Json(answer)).into_response())
}

/// Whether the body claims to be JSON; one without a content type gets the benefit of the doubt.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Reads the body and stops at the limit, whatever `Content-Length` claims.
async fn collect(body: Body) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(body, MAX_JOB_BYTES).await.map_err(|error| {
        let too_large =
            std::error::Error::source(&error).is_some_and(|source| source.is::<LengthLimitError>());
        if too_large {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "a job has at most 16 MiB; split it".into())
        } else {
            Refusal::new(StatusCode::BAD_REQUEST, "the body broke off".into())
        }
    })
}

/// Why a job was not taken, as problem+json (RFC 9457).
#[derive(Debug, Serialize)]
struct Refusal {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// One broken rule; `path` is a JSON path from `$`.
#[derive(Debug, Serialize)]
struct FieldError {
    path: String,
    message: String,
}

impl From<Problem> for FieldError {
    fn from(problem: Problem) -> Self {
        FieldError { path: problem.path, message: problem.message }
    }
}

impl Refusal {
    fn new(status: StatusCode, detail: String) -> Self {
        Refusal {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail,
            errors: Vec::new(),
        }
    }

    fn invalid(invalid: InvalidJob) -> Self {
        let mut refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, invalid.to_string());
        refusal.errors = invalid.0.into_iter().map(FieldError::from).collect();
        refusal
    }

    fn conflict(kind: &str) -> Self {
        Refusal { status: 409, title: "Conflict", ..Refusal::invalid(conflict(kind)) }
    }

    fn store_away() -> Self {
        let detail = "the store is away; the job was not taken, send it again later";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}
