//! `/hooks/{provider}` and what may stand behind it: providers' calls, handed whole to whoever understands them.
//!
//! Promises that an answer is given once what the call brought is durable, and that a call which is not taken leaves
//! nothing. Never looks into a call: who may call, and what a call means, is the account's matter.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};

use super::routes::{Tracker, later, read, too_many};
use crate::http::{Problem, client_ip, problem};

/// Providers gather receipts into calls of some hundred KiB at most.
const BODY_BYTES: usize = 1024 * 1024;

/// A provider's call as it came, its body read whole.
#[derive(Debug)]
pub struct HookCall {
    pub method: Method,
    /// What stands behind `/hooks/NAME/`, as it came.
    pub tail: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The client, behind trusted proxies the one that they name.
    pub peer: IpAddr,
}

/// What the provider hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookReply {
    pub content_type: Option<&'static str>,
    pub body: Bytes,
}

/// Why a call is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookError {
    /// It is not the provider's, or not understood; the detail says what to set right.
    Refused { status: StatusCode, detail: String },
    /// The store is away: the provider is to come again.
    Unavailable,
}

/// One account that providers call.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Resolves once what the call brings is durable. The caller may give up waiting; what was understood by then may
    /// still be recorded, and a repeat of it changes nothing.
    async fn take(&self, call: HookCall) -> Result<HookReply, HookError>;
}

pub(super) async fn call(
    State(tracker): State<Arc<Tracker>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let began = std::time::Instant::now();
    let client = client_ip(peer.ip(), request.headers(), &tracker.trusted_proxies);
    let toll = tracker.tolls.refused_calls.as_ref().filter(|_| !client.is_loopback());
    if let Some(wait) = toll.and_then(|toll| toll.wait(client, Instant::now())) {
        let response = too_many("Too many calls from this address were refused; set them right first.", wait);
        return tracker.observed("hook", "limited", began, response);
    }
    let (account, tail) = address(request.uri().path());
    let (verdict, response) = match tracker.hooks.get(account).cloned() {
        None => ("unknown_provider", problem::not_found().await.into_response()),
        Some(hook) => {
            let tail = tail.to_owned();
            tracker.hand_over(&*hook, tail, client, request).await
        }
    };
    if let (Some(toll), "refused" | "unknown_provider") = (toll, verdict) {
        // Whoever is over it already is not charged more.
        toll.charge(client, Instant::now()).ok();
    }
    tracker.observed("hook", verdict, began, response)
}

/// The account's name and what follows it.
fn address(path: &str) -> (&str, &str) {
    let behind = path.strip_prefix("/hooks/").unwrap_or_default();
    behind.split_once('/').unwrap_or((behind, ""))
}

impl Tracker {
    async fn hand_over(
        &self,
        hook: &dyn Hook,
        tail: String,
        client: IpAddr,
        request: Request,
    ) -> (&'static str, Response) {
        let (head, body) = request.into_parts();
        let body = match read(body, BODY_BYTES, "Send at most 1 MiB in a call.").await {
            Ok(body) => body,
            Err(problem) => return ("refused", problem.into_response()),
        };
        let call = HookCall {
            method: head.method,
            tail,
            query: head.uri.query().unwrap_or_default().to_owned(),
            peer: client,
            headers: head.headers,
            body,
        };
        match timeout(self.patience.hook, hook.take(call)).await {
            Ok(Ok(reply)) => ("taken", answer(reply)),
            Ok(Err(HookError::Refused { status, detail })) => {
                ("refused", Problem::new(status, detail).into_response())
            }
            Ok(Err(HookError::Unavailable)) | Err(_) => {
                ("unavailable", later("The receipts cannot be stored now; send them again shortly."))
            }
        }
    }
}

fn answer(reply: HookReply) -> Response {
    let mut response = reply.body.into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    if let Some(content_type) = reply.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_the_first_segment() {
        assert_eq!(address("/hooks/relay"), ("relay", ""));
        assert_eq!(address("/hooks/relay/"), ("relay", ""));
        assert_eq!(address("/hooks/relay/a%2Fb/c"), ("relay", "a%2Fb/c"));
    }
}
