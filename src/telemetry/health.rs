//! Whether the daemon lives and whether it is ready, for load balancers and orchestrators.
//!
//! `/healthz` says that the process answers and no more: a restart mends no broken store, and a daemon that a probe
//! kills during an outage leaves deliveries in doubt. `/readyz` says whether every component works, and names those
//! that do not. A stage that hangs shows by its [`Heartbeat`], which is alerted on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::Gauge;
use serde_json::json;

use super::Metrics;

/// The parts that must work before traffic makes sense; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Why a component is not ready; `None` where it is.
    components: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

/// One component's say in readiness; clones speak for the same.
#[derive(Debug, Clone)]
pub struct Component {
    name: &'static str,
    health: Health,
}

impl Health {
    /// A component, not ready until it says so.
    pub fn component(&self, name: &'static str) -> Component {
        let component = Component { name, health: self.clone() };
        component.not_ready("starting");
        component
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        // The map is whole after every statement, so a panic elsewhere does not spoil it.
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Component {
    pub fn ready(&self) {
        self.health.lock().insert(self.name, None);
    }

    /// `why` is shown to whoever asks: no secrets, no addresses.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.health.lock().insert(self.name, Some(why.into()));
    }
}

/// The sign of life of one stage.
#[derive(Debug, Clone)]
pub struct Heartbeat(Gauge);

impl Heartbeat {
    /// Beats once at once, so that a stage that never gets round shows too.
    pub fn new(metrics: &Metrics, stage: &str) -> Self {
        let heartbeat = Self(metrics.heartbeat.with_label_values(&[stage]));
        heartbeat.beat();
        heartbeat
    }

    /// The stage went round its loop.
    pub fn beat(&self) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.set(since_epoch.as_secs_f64());
    }
}

/// `/healthz`, `/readyz` and `/metrics`, for the admin listener.
pub fn router(metrics: Arc<Metrics>, health: Health) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(health))
        .route("/metrics", get(exposition).with_state(metrics))
}

/// 200 or 503, with each component's state in words; the 503 is a problem (RFC 9457).
async fn readyz(State(health): State<Health>) -> Response {
    let components = health.lock().clone();
    let ready = components.values().all(Option::is_none);
    let components: BTreeMap<&str, String> =
        components.into_iter().map(|(name, why)| (name, why.unwrap_or_else(|| "ready".to_owned()))).collect();
    if ready {
        return Json(json!({"status": 200, "components": components})).into_response();
    }
    let problem = json!({"title": "not ready", "status": 503, "components": components});
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::SERVICE_UNAVAILABLE, kind, Json(problem)).into_response()
}

async fn exposition(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn fetch(router: &Router, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_not_ready() {
        let health = Health::default();
        let (store, amqp) = (health.component("store"), health.component("amqp"));
        let router = router(Arc::new(Metrics::new().unwrap()), health);
        store.ready();
        amqp.not_ready("connection refused");
        let (status, kind, body) = fetch(&router, "/readyz").await;
        assert_eq!((status, kind.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "application/problem+json"));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["components"], json!({"store": "ready", "amqp": "connection refused"}));
        amqp.ready();
        assert_eq!(fetch(&router, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn life_and_metrics_are_served_whatever_the_readiness() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let health = Health::default();
        let _store = health.component("store");
        let router = router(metrics.clone(), health);
        assert_eq!(fetch(&router, "/healthz").await.0, StatusCode::OK);
        Heartbeat::new(&metrics, "planner").beat();
        let (status, kind, body) = fetch(&router, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        assert!(body.contains("campaignd_heartbeat_timestamp_seconds{stage=\"planner\"} 1"), "{body}");
    }
}
