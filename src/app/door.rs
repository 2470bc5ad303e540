//! The guard before the admin listener, and the task that keeps its tokens up to date.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;

use crate::access::{Book, Guard, Hosts, Keeper, guard};
use crate::clock::Clock;
use crate::config::Http;
use crate::lifecycle::{Shutdown, Supervisor};
use crate::store::Store;
use crate::telemetry::Metrics;

/// `router` behind a guard; `listener` is where it is served.
pub(super) async fn guarded(
    router: Router,
    listener: IpAddr,
    http: &Http,
    store: Arc<dyn Store>,
    (clock, metrics): (Clock, Arc<Metrics>),
    (supervisor, part): (&Supervisor, &Shutdown),
) -> Router {
    let book = Book::default();
    let keeper = Keeper { book: book.clone(), store, shutdown: part.clone() };
    keeper.begin().await;
    supervisor.spawn("API tokens", part, keeper.run());
    let hosts = Hosts::new(&http.admin_hosts);
    let door = Arc::new(Guard::new(listener, book, hosts, http.trusted_proxies.clone(), clock, metrics));
    router.layer(from_fn(move |request, next| guard(door.clone(), request, next)))
}
