//! The two listeners. The admin one has a thread of its own, so that probes and metrics answer under load.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper::{HeaderMap, StatusCode};
use ipnet::{IpNet, Ipv4Net};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::info;

use crate::config;
use crate::http::{Limits, Problem, Toll, serve};
use crate::lifecycle::{Activity, Shutdown};
use crate::track::Tolls;

/// Where the listeners are, also where the configuration leaves their ports to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

/// # Errors
/// When the address cannot be had; the message names the key and what to do.
pub(super) async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener> {
    bind_to(key, "http", address).await
}

/// The same for another protocol, which the log names.
///
/// # Errors
/// As of [`bind`].
pub(super) async fn bind_to(key: &str, scheme: &str, address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "{key}: {address} is taken by another program, perhaps another campaignd: stop that one, or set another \
             address as `{key}`; port 0 takes any free one"
        ),
        _ => anyhow!("{key}: cannot listen on {address} ({error}): set an address of this machine as `{key}`"),
    })?;
    info!("{key} listens on {scheme}://{}", listener.local_addr().unwrap_or(address));
    Ok(listener)
}

/// What the public listener grants its peers. Behind a proxy there is one address for everybody, and on loopback there
/// is nobody to be kept from.
pub(super) fn public_limits(http: &config::Http) -> Limits {
    let most = http.limits.connections;
    let loopback =
        [IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)), Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8).into()];
    Limits {
        connections: most,
        connections_per_address: http.limits.connections_per_address.unwrap_or(most),
        exempt: http.trusted_proxies.iter().copied().chain(loopback).collect(),
        head_within: http.limits.head_within,
        ..Limits::default()
    }
}

/// What one address may use of the public routes.
pub(super) fn tolls(http: &config::Http) -> Tolls {
    Tolls {
        events: http.limits.requests_per_address.map(Toll::new),
        refused_calls: http.limits.refused_calls_per_address.map(Toll::new),
    }
}

/// Routes that need the store run on the main runtime: its connections live there.
pub(super) fn on_main_runtime(router: Router) -> Router {
    let main = Handle::current();
    router.layer(from_fn(move |request: Request, next: Next| {
        let main = main.clone();
        async move {
            match main.spawn(next.run(request)).await {
                Ok(response) => response,
                Err(_) => {
                    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed").into_response()
                }
            }
        }
    }))
}

/// A page on a strange site can make the operator's browser send to a loopback address. A browser says so itself
/// (Fetch metadata, `Sec-Fetch-Site`; `Origin`, RFC 6454): such requests change nothing.
pub(super) async fn refuse_strange_sites(request: Request, next: Next) -> Response {
    if request.method().is_safe() || !is_from_strange_site(request.headers()) {
        return next.run(request).await;
    }
    let detail = "this request comes from another site's page; the admin API takes none of these";
    Problem::new(StatusCode::FORBIDDEN, detail).into_response()
}

fn is_from_strange_site(headers: &HeaderMap) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let own = |origin: &str| {
        // Behind a proxy with TLS the browser says https, and we do not know.
        let host = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
        host.is_some() && host == header("host")
    };
    header("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"))
        || header("origin").is_some_and(|origin| !own(origin))
}

/// Serves on a thread of its own until `part` is asked to stop.
///
/// # Errors
/// When the thread or its runtime cannot be started.
pub(super) fn serve_on_own_thread(listener: TcpListener, router: Router, part: &Shutdown) -> Result<()> {
    let listener = listener.into_std()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (shutdown, activity): (Shutdown, Activity) = (part.clone(), part.activity("http.admin"));
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    serve(listener, router, Limits::default(), Arc::new(()), shutdown.asked()).await;
                }
                Err(error) => tracing::error!("http.admin cannot be served: {error}"),
            }
        });
        drop(activity);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strange(headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            (
                hyper::header::HeaderName::from_static(name),
                value.parse::<hyper::header::HeaderValue>().unwrap(),
            )
        });
        is_from_strange_site(&headers.collect())
    }

    #[test]
    fn pages_of_other_sites_are_told_from_programs_and_our_own() {
        assert!(!strange(&[("host", "127.0.0.1:8081")]));
        assert!(!strange(&[
            ("host", "127.0.0.1:8081"),
            ("origin", "http://127.0.0.1:8081"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(!strange(&[("host", "campaigns.internal"), ("origin", "https://campaigns.internal")]));
        assert!(strange(&[("host", "127.0.0.1:8081"), ("sec-fetch-site", "cross-site")]));
        assert!(strange(&[("host", "127.0.0.1:8081"), ("origin", "https://shop.example")]));
        assert!(strange(&[("origin", "null")]));
    }
}
