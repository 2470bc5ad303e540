//! The ceiling of tracking: the daemon's HTTP framework with nothing behind it.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The smallest GIF: one transparent pixel.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

#[derive(Debug, Args)]
pub(crate) struct BareTracking {
    #[arg(long)]
    listen: SocketAddr,
}

pub(super) async fn run(args: BareTracking) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.context("cannot listen")?;
    let router = Router::new().route("/o/{token}", get(open)).route("/c/{token}", get(click));
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        _ = terminated.recv() => {}
    }
    Ok(())
}

async fn open() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/gif"), (header::CACHE_CONTROL, "no-store")], PIXEL)
}

async fn click() -> impl IntoResponse {
    (StatusCode::FOUND, [(header::LOCATION, "https://shop.example/spring")])
}
