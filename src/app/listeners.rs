//! The two listeners. The admin one has a thread of its own, so that probes and metrics answer under load.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use hyper::StatusCode;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::info;

use crate::http::{Limits, Problem, serve};
use crate::lifecycle::{Activity, Shutdown};

/// # Errors
/// When the address cannot be had; the message names the key.
pub(super) async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: free it, or set another address as `{key}`"))?;
    info!("{key} listens on http://{}", listener.local_addr().unwrap_or(address));
    Ok(listener)
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
                Ok(listener) => serve(listener, router, Limits::default(), shutdown.asked()).await,
                Err(error) => tracing::error!("http.admin cannot be served: {error}"),
            }
        });
        drop(activity);
    })?;
    Ok(())
}
