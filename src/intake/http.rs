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
use crate::model::Job;
use crate::model::access::{Caller, Scope};
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

async fn create(
    State(jobs): State<Jobs>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    if !is_json(&headers) {
        let detail = "a job is sent as application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail.into()));
    }
    let body = collect(body).await?;
    let read = read(&body).await.map_err(|invalid| {
        jobs.observe.received(UNREADABLE, Received::Invalid);
        Refusal::invalid(invalid)
    })?;
    if matches!(read.job, Job::Control(_)) && !caller.scopes.allow(Scope::Admin) {
        let detail = "a control needs a token with the scope `admin`";
        return Err(Refusal::new(StatusCode::FORBIDDEN, detail.into()));
    }
    let (id, kind) = (read.job.id().to_owned(), read.job.kind());
    let verdict = jobs.accept.accept(vec![read], &caller.actor).await.map_err(|_| Refusal::store_away())?;
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use axum::Extension;
    use axum::http::Request;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::intake::{Settled, StoreAway};
    use crate::model::access::{Actor, Scopes};
    use crate::model::job::ReadJob;

    /// Answers every job alike; without a verdict it is away.
    struct Always(Option<Verdict>);

    #[async_trait]
    impl Accept for Always {
        async fn accept(&self, jobs: Vec<ReadJob>, who: &Actor) -> Result<Vec<Verdict>, StoreAway> {
            assert_eq!(who.as_str(), "loopback");
            let verdict = self.0.clone().ok_or(StoreAway)?;
            Ok(vec![verdict; jobs.len()])
        }
    }

    #[derive(Default)]
    struct Counts(Mutex<Vec<(&'static str, Received)>>);

    impl Observe for Counts {
        fn received(&self, kind: &'static str, result: Received) {
            self.0.lock().unwrap().push((kind, result));
        }

        fn settled(&self, _: Settled) {
            panic!("HTTP has nothing to settle");
        }
    }

    const JOB: &str = r#"{"type": "control", "id": "c-1", "campaign": "spring", "action": "pause"}"#;

    async fn ask(verdict: Option<Verdict>, request: Request<Body>) -> (Response, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let router = router(Arc::new(Always(verdict)), Arc::clone(&counts) as _);
        let router = router.layer(Extension(Caller::loopback()));
        (router.oneshot(request).await.unwrap(), counts)
    }

    fn post_job(body: impl Into<Body>) -> Request<Body> {
        Request::post("/v1/jobs").header(CONTENT_TYPE, "application/json").body(body.into()).unwrap()
    }

    async fn body(response: Response) -> Value {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    async fn problem(response: Response, status: u16) -> Value {
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let problem = body(response).await;
        assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(status)));
        problem
    }

    #[tokio::test]
    async fn a_new_job_is_202_and_a_known_one_200() {
        let new = Verdict::New { warnings: vec!["no contact has the tag `vip`".into()] };
        let (response, counts) = ask(Some(new), post_job(JOB)).await;
        assert_eq!(response.status(), 202);
        assert_eq!(
            body(response).await,
            json!({"id": "c-1", "type": "control", "result": "accepted", "warnings": ["no contact has the tag `vip`"]})
        );
        assert_eq!(*counts.0.lock().unwrap(), [("control", Received::Accepted)]);
        let (response, _) = ask(Some(Verdict::Known), post_job(JOB)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(body(response).await["result"], "known");
    }

    #[tokio::test]
    async fn what_cannot_be_accepted_says_why_and_where() {
        let (response, counts) = ask(Some(Verdict::Conflict), post_job(JOB)).await;
        assert_eq!(problem(response, 409).await["errors"][0]["path"], "$.id");
        assert_eq!(*counts.0.lock().unwrap(), [("control", Received::Conflict)]);
        let invalid = Verdict::Invalid(InvalidJob::at("$.template", "no template `x`"));
        let (response, _) = ask(Some(invalid), post_job(JOB)).await;
        let errors = problem(response, 422).await["errors"].clone();
        assert_eq!(errors, json!([{"path": "$.template", "message": "no template `x`"}]));
        let (response, counts) = ask(None, post_job(JOB.replace("pause", "stop"))).await;
        assert_eq!(problem(response, 422).await["errors"][0]["path"], "$.action");
        assert_eq!(*counts.0.lock().unwrap(), [("unreadable", Received::Invalid)]);
        let (response, _) = ask(None, post_job("{")).await;
        problem(response, 422).await;
    }

    #[tokio::test]
    async fn a_control_asks_for_more_than_sending() {
        let ask = async |scope: Scope, job: String| {
            let counts: Arc<dyn Observe> = Arc::new(Counts::default());
            let caller = Caller { scopes: Scopes::from_iter([scope]), ..Caller::loopback() };
            let router = router(Arc::new(Always(Some(Verdict::Known))), counts).layer(Extension(caller));
            router.oneshot(post_job(job)).await.unwrap()
        };
        problem(ask(Scope::Send, JOB.into()).await, 403).await;
        assert_eq!(ask(Scope::Admin, JOB.into()).await.status(), 200);
        let people = r#"{"type": "contacts", "id": "c-1", "upsert": []}"#;
        assert_eq!(ask(Scope::Send, people.into()).await.status(), 200);
    }

    #[tokio::test]
    async fn a_route_without_a_guard_lets_nobody_in() {
        let counts: Arc<dyn Observe> = Arc::new(Counts::default());
        let router = router(Arc::new(Always(Some(Verdict::Known))), counts);
        assert_eq!(router.oneshot(post_job(JOB)).await.unwrap().status(), 500);
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_503_and_says_when_to_try_again() {
        let (response, counts) = ask(None, post_job(JOB)).await;
        assert_eq!(response.headers()[RETRY_AFTER], RETRY_AFTER_SECONDS);
        problem(response, 503).await;
        assert!(counts.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_413_however_it_comes() {
        let padded = |length: usize| format!("{JOB}{}", " ".repeat(length - JOB.len()));
        let (response, _) = ask(Some(Verdict::Known), post_job(padded(MAX_JOB_BYTES))).await;
        assert_eq!(response.status(), 200);
        let (response, _) = ask(None, post_job(padded(MAX_JOB_BYTES + 1))).await;
        problem(response, 413).await;
        let endless =
            futures_util::stream::repeat(Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; 1 << 20])));
        let (response, _) = ask(None, post_job(Body::from_stream(endless))).await;
        problem(response, 413).await;
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
        let (response, _) = ask(None, post_job(Body::from_stream(broken))).await;
        problem(response, 400).await;
    }

    #[tokio::test]
    async fn other_content_types_and_methods_are_refused() {
        let untyped = Request::post("/v1/jobs").body(JOB.into()).unwrap();
        assert_eq!(ask(Some(Verdict::Known), untyped).await.0.status(), 200);
        let form = Request::post("/v1/jobs")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(JOB.into())
            .unwrap();
        problem(ask(Some(Verdict::Known), form).await.0, 415).await;
        let (response, _) = ask(None, Request::get("/v1/jobs").body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()["allow"], "POST");
        problem(response, 405).await;
    }

    proptest! {
        #[test]
        fn json_is_json_in_any_spelling(upper in any::<[bool; 16]>(), parameters in "(| ?; ?[a-z]{1,9}=[-a-zA-Z0-9]{1,9})") {
            let spell = |(letter, upper): (char, bool)| if upper { letter.to_ascii_uppercase() } else { letter };
            let essence: String = "application/json".chars().zip(upper).map(spell).collect();
            let value = HeaderValue::try_from(essence + &parameters).unwrap();
            prop_assert!(is_json(&HeaderMap::from_iter([(CONTENT_TYPE, value)])));
        }

        #[test]
        fn nothing_else_is(value in "[ -~]{0,30}") {
            prop_assume!(!value.to_ascii_lowercase().contains("application/json"));
            let value = HeaderValue::try_from(value).unwrap();
            prop_assert!(!is_json(&HeaderMap::from_iter([(CONTENT_TYPE, value)])));
        }
    }
}
