//! The admin HTTP API: campaigns, their reports and deliveries, contacts, and the document that describes it all.
//!
//! Reads and writes the store and nothing else, so whatever is answered is durable. Every error is a problem (RFC 9457)
//! that says what to do and quotes nothing but the request; no line of the log carries an address or an attribute. Who
//! may ask is decided before these routes, by the listener.

mod audit;
mod campaigns;
mod contacts;
mod deliveries;
mod openapi;
mod refusal;
mod request;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

use refusal::Refusal;

use crate::access;
use crate::http::problem;
use crate::model::Control;
use crate::model::audit::Deed;
use crate::store::Store;

/// What handlers share.
type Shared = Arc<dyn Store>;

/// Bytes of a request's body: one contact at most.
const MAX_BODY: usize = 1024 * 1024;

/// The routes under `/v1/campaigns` and `/v1/contacts`, `/v1/audit` and `/openapi.json`. Answers what it does not know with a
/// problem; may be merged with routers that set no fallback of their own.
pub fn router(store: Arc<dyn Store>) -> Router {
    let document = Bytes::from(openapi::document().to_string());
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .route("/openapi.json", get(async move || openapi_json(document)))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(map_response(private))
        .with_state(store)
}

/// Every path that needs the store; the API's document is held against it.
fn routes() -> [(&'static str, MethodRouter<Shared>); 12] {
    [
        ("/v1/audit", get(audit::list)),
        ("/v1/campaigns", get(campaigns::list)),
        ("/v1/campaigns/{id}", get(campaigns::one)),
        ("/v1/campaigns/{id}/pause", campaigns::control(Control::Pause)),
        ("/v1/campaigns/{id}/resume", campaigns::control(Control::Resume)),
        ("/v1/campaigns/{id}/cancel", campaigns::control(Control::Cancel)),
        ("/v1/campaigns/{id}/report", get(campaigns::report)),
        ("/v1/campaigns/{id}/report.csv", get(campaigns::report_csv)),
        ("/v1/campaigns/{id}/deliveries", get(deliveries::page)),
        ("/v1/campaigns/{id}/deliveries/{external_id}", get(deliveries::explain)),
        ("/v1/contacts/{external_id}", get(contacts::show).put(contacts::put).delete(contacts::erase)),
        ("/v1/contacts/{external_id}/timeline", get(contacts::timeline)),
    ]
}

/// Writes the audit log. A deed that it does not take is told in the process's log and stays done.
async fn note(store: &Shared, deed: Deed) {
    access::record(&**store, vec![deed]).await.ok();
}

fn openapi_json(document: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// Answers hold people's data: no cache keeps them, no browser guesses what they are.
async fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
