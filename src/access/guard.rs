//! The door of the admin listener: whom a request is for, who sends it, and whether they may.
//!
//! On loopback no token is asked for, yet one that is shown must be good; on any other address every request needs one, but
//! for the probes. What it refuses has not been routed: an unknown path, too, is 401 to a stranger.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use tokio::time::Instant;
use tracing::warn;

use super::attempts::Attempts;
use super::book::{Book, Unknown};
use super::credentials::Credentials;
use super::hosts::{Hosts, Misdirected};
use crate::clock::Clock;
use crate::http::{Problem, client_ip};
use crate::model::access::{Caller, Scope, Scopes};
use crate::telemetry::Metrics;

/// Say nothing but whether the daemon lives and which of its parts wait: for load balancers and orchestrators.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

#[derive(Debug)]
pub struct Guard {
    book: Book,
    hosts: Hosts,
    /// Whether a request without a token is refused.
    demanding: bool,
    trusted_proxies: Vec<IpNet>,
    attempts: Attempts,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// Why a request does not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Host(Misdirected),
    NoToken,
    WrongToken,
    /// Too many wrong tokens; seconds until the next is looked at.
    Locked(u64),
    Scope(Scope),
    NotReady,
}

impl Guard {
    /// `listener` is where requests come in; everything but loopback demands tokens.
    pub fn new(
        listener: IpAddr,
        book: Book,
        hosts: Hosts,
        trusted_proxies: Vec<IpNet>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let demanding = !listener.to_canonical().is_loopback();
        Guard { book, hosts, demanding, trusted_proxies, attempts: Attempts::default(), clock, metrics }
    }

    fn admit(&self, request: &Request) -> Result<Caller, Refusal> {
        if PROBES.contains(&request.uri().path()) {
            return Ok(Caller { scopes: Scopes::default(), ..Caller::loopback() });
        }
        self.hosts.check(request.uri(), request.headers()).map_err(Refusal::Host)?;
        let caller = match Credentials::of(request.headers()) {
            Credentials::None if self.demanding => return Err(Refusal::NoToken),
            Credentials::None => Caller::loopback(),
            Credentials::Bearer(token) => self.known(request, Some(&token))?,
            Credentials::Basic(token) => {
                let caller = self.known(request, Some(&token))?;
                Caller { scopes: caller.scopes.reading(), ..caller }
            }
            Credentials::Unreadable => self.known(request, None)?,
        };
        let scope = needed(request.method(), request.uri().path());
        if caller.scopes.allow(scope) { Ok(caller) } else { Err(Refusal::Scope(scope)) }
    }

    fn known(&self, request: &Request, token: Option<&str>) -> Result<Caller, Refusal> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let peer = peer.unwrap_or(IpAddr::from([0; 4]));
        let peer = client_ip(peer, request.headers(), &self.trusted_proxies);
        let now = Instant::now();
        if let Some(left) = self.attempts.locked(peer, now) {
            return Err(Refusal::Locked(left.as_secs() + u64::from(left.subsec_nanos() > 0)));
        }
        match token.map_or(Err(Unknown::Token), |token| self.book.caller(token, self.clock.now())) {
            Ok(caller) => Ok(caller),
            Err(Unknown::Book) => Err(Refusal::NotReady),
            Err(Unknown::Token) => {
                if self.attempts.wrong(peer, now) {
                    warn!(%peer, "too many wrong API tokens; none from there is looked at for a minute");
                }
                Err(Refusal::WrongToken)
            }
        }
    }
}

/// The scope that a route asks for. What is not known to be harmless asks for the most.
fn needed(method: &Method, path: &str) -> Scope {
    match *method {
        Method::GET | Method::HEAD if path == "/v1/audit" => Scope::Admin,
        Method::GET | Method::HEAD => Scope::Read,
        Method::POST if path == "/v1/jobs" => Scope::Send,
        Method::PUT if path.starts_with("/v1/contacts/") => Scope::Send,
        _ => Scope::Admin,
    }
}

/// Lets a request pass, with its [`Caller`], or answers it.
pub async fn guard(guard: Arc<Guard>, mut request: Request, next: Next) -> Response {
    match guard.admit(&request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            guard.metrics.admin_refusals.with_label_values(&[refusal.as_str()]).inc();
            refusal.answer(is_page(request.uri().path()))
        }
    }
}

/// Whether people look at it with a browser.
fn is_page(path: &str) -> bool {
    path == "/" || ["/campaigns/", "/sandbox"].iter().any(|start| path.starts_with(start))
}

impl Refusal {
    /// The metric label.
    fn as_str(self) -> &'static str {
        match self {
            Refusal::Host(_) => "host",
            Refusal::NoToken => "no_token",
            Refusal::WrongToken => "wrong_token",
            Refusal::Locked(_) => "locked",
            Refusal::Scope(_) => "scope",
            Refusal::NotReady => "not_ready",
        }
    }

    fn answer(self, page: bool) -> Response {
        let (status, detail) = match self {
            Refusal::Host(Misdirected::Unreadable) => {
                (StatusCode::BAD_REQUEST, "Send one Host header that names this listener.".to_owned())
            }
            Refusal::Host(Misdirected::Strange) => (
                StatusCode::MISDIRECTED_REQUEST,
                "This listener is not known by that name; `http.admin_hosts` lists further names.".to_owned(),
            ),
            Refusal::NoToken => (
                StatusCode::UNAUTHORIZED,
                "Send an API token as `Authorization: Bearer`; `campaignd tokens create` makes one."
                    .to_owned(),
            ),
            Refusal::WrongToken => (StatusCode::UNAUTHORIZED, "This API token is not valid.".to_owned()),
            Refusal::Locked(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong API tokens came from this address; try again later.".to_owned(),
            ),
            Refusal::Scope(scope) => (
                StatusCode::FORBIDDEN,
                format!("This needs the scope `{scope}`, sent as `Authorization: Bearer`."),
            ),
            Refusal::NotReady => (
                StatusCode::SERVICE_UNAVAILABLE,
                "API tokens could not be read yet, since the store is away.".to_owned(),
            ),
        };
        let mut response = Problem::new(status, detail).into_response();
        let headers = response.headers_mut();
        match self {
            Refusal::NoToken => challenge(headers, "Bearer realm=\"campaignd\"", page),
            // RFC 6750, section 3.1.
            Refusal::WrongToken => {
                challenge(headers, "Bearer realm=\"campaignd\", error=\"invalid_token\"", page);
            }
            Refusal::Scope(_) => {
                challenge(headers, "Bearer realm=\"campaignd\", error=\"insufficient_scope\"", false);
            }
            Refusal::Locked(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Refusal::NotReady => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(5));
            }
            Refusal::Host(_) => {}
        }
        response
    }
}

/// A browser asks its user for a password where it is challenged by `Basic`.
fn challenge(headers: &mut axum::http::HeaderMap, bearer: &'static str, page: bool) {
    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(bearer));
    if page {
        let basic = HeaderValue::from_static(
            "Basic realm=\"campaignd: the password is an API token\", charset=\"UTF-8\"",
        );
        headers.append(header::WWW_AUTHENTICATE, basic);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
