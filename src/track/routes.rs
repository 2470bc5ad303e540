//! The public routes, and what each answers.
//!
//! An answer to an open or a click waits for its event at most [`Patience::answer`]. Only `POST /u` waits until its event
//! is durable, in the store or on the disk, since its answer is a promise to the recipient. Targets come from the campaign's link table or from inside
//! the signed token, never from the request's address.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::LengthLimitError;
use ipnet::IpNet;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::timeout;
use uuid::Uuid;

use super::hooks::{self, Hook};
use super::page;
use super::visitor::Visitor;
use super::{ClickClaims, Directory, EventIntake, Fate, Observer, Tokens};
use crate::http::{Language, Problem, Toll, problem};
use crate::model::{DeliveryKey, Event, EventKind, LinkNo};

/// What a client is told to wait, in seconds, while the store is away.
const RETRY_AFTER: &str = "30";

/// What mail programs post is a few dozen bytes (RFC 8058, section 3.2).
const BODY_BYTES: usize = 8 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// A transparent pixel.
const PIXEL: &[u8; 43] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff\x21\xf9\x04\x01\0\0\0\0\
\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b";

/// What `Location` cannot carry as it is; with it everything that is not ASCII (RFC 3987, section 3.1).
const UNSENDABLE: &AsciiSet = &CONTROLS.add(b' ');

/// What the public routes need.
pub struct Tracker {
    pub tokens: Arc<dyn Tokens>,
    pub directory: Arc<dyn Directory>,
    pub intake: EventIntake,
    pub observer: Arc<dyn Observer>,
    /// Accounts that providers call, by name.
    pub hooks: HashMap<String, Arc<dyn Hook>>,
    /// Only behind these does `X-Forwarded-For` count.
    pub trusted_proxies: Vec<IpNet>,
    pub patience: Patience,
    pub tolls: Tolls,
}

/// What one address may use. Forged tokens are not charged: to refuse one costs no more than to count it. Loopback is
/// not charged either.
#[derive(Debug, Default)]
pub struct Tolls {
    /// Opens, clicks and unsubscribes. Beyond it pixel and redirect answer, and nothing is recorded.
    pub events: Option<Toll>,
    /// Calls of hooks that are not taken. Beyond it none is looked at, so that nobody can try signatures, and no provider
    /// waits behind one who does.
    pub refused_calls: Option<Toll>,
}

/// How long answers wait for the store.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// An event, for the store; then it goes to the disk.
    pub store: Duration,
    /// Pixel and redirect, until their event is durable; then they answer all the same.
    pub answer: Duration,
    /// A click, for a target that is not in memory; then it is 503.
    pub link: Duration,
    /// An unsubscribe, until it is durable; then it is 503, though the event stays queued.
    pub unsubscribe: Duration,
    /// A provider's call, until what it brought is durable; then it is 503, and the provider comes again.
    pub hook: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            store: Duration::from_millis(50),
            answer: Duration::from_millis(100),
            link: Duration::from_secs(2),
            unsubscribe: Duration::from_secs(5),
            // The strictest give an answer 5 s.
            hook: Duration::from_secs(4),
        }
    }
}

/// The routes below `http.public`; to be served with the peer's address, as [`crate::http::serve`] does.
pub fn router(tracker: Tracker) -> Router {
    Router::new()
        .route("/o/{token}", get(open))
        .route("/c/{token}", get(click))
        .route("/u/{token}", get(ask).post(unsubscribe))
        .route("/hooks/{provider}", get(hooks::call).post(hooks::call))
        .route("/hooks/{provider}/{*tail}", get(hooks::call).post(hooks::call))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(map_response(without_sniffing))
        .with_state(Arc::new(tracker))
}

async fn without_sniffing(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The last segment, as it came: tokens are base64url, and what needs decoding is none of ours.
fn token(uri: &Uri) -> &str {
    uri.path().rsplit('/').next().unwrap_or_default()
}

async fn open(
    State(tracker): State<Arc<Tracker>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let began = Instant::now();
    let token = token(&uri);
    let verdict = match tracker.tokens.open(token.strip_suffix(".gif").unwrap_or(token)) {
        Some(delivery) => {
            let visitor = Visitor::new(&method, &headers, peer.ip(), &tracker.trusted_proxies);
            match tracker.charged(visitor.ip) {
                Ok(()) => {
                    let event = event(EventKind::Opened, delivery, None, visitor);
                    verdict(tracker.intake.submit(event, tracker.patience.answer).await)
                }
                Err(_) => "limited",
            }
        }
        None => "forged",
    };
    let headers = [
        (header::CONTENT_TYPE, "image/gif"),
        (header::CACHE_CONTROL, "no-store, no-cache, must-revalidate, private"),
    ];
    tracker.observed("open", verdict, began, (headers, PIXEL.as_slice()).into_response())
}

async fn click(
    State(tracker): State<Arc<Tracker>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let began = Instant::now();
    let (verdict, response) = match tracker.tokens.click(token(&uri)) {
        None => ("forged", no_such_link()),
        Some(claims) => {
            let visitor = Visitor::new(&method, &headers, peer.ip(), &tracker.trusted_proxies);
            tracker.follow(claims, visitor).await
        }
    };
    tracker.observed("click", verdict, began, response)
}

async fn ask(State(tracker): State<Arc<Tracker>>, uri: Uri, headers: HeaderMap) -> Response {
    let began = Instant::now();
    let (verdict, response) = match tracker.tokens.unsubscribe(token(&uri)) {
        Some(_) => ("asked", page::ask(Language::preferred(&headers))),
        None => ("forged", no_such_link()),
    };
    tracker.observed("unsubscribe_page", verdict, began, response)
}

async fn unsubscribe(
    State(tracker): State<Arc<Tracker>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let began = Instant::now();
    let (verdict, response) = match tracker.tokens.unsubscribe(token(request.uri())) {
        None => ("forged", no_such_link()),
        Some(delivery) => {
            let (head, body) = request.into_parts();
            let visitor = Visitor::new(&head.method, &head.headers, peer.ip(), &tracker.trusted_proxies);
            match read(body, BODY_BYTES, "Send `List-Unsubscribe=One-Click`, or no body.").await {
                Err(problem) => ("refused", problem.into_response()),
                // Whatever a mail program posts, the token says what is meant.
                Ok(_) => tracker.unsubscribe(delivery, visitor, Language::preferred(&head.headers)).await,
            }
        }
    };
    tracker.observed("unsubscribe", verdict, began, response)
}

impl Tracker {
    async fn follow(&self, claims: ClickClaims, visitor: Visitor) -> (&'static str, Response) {
        let ClickClaims { delivery, link, url } = claims;
        let target = match url {
            Some(url) => Some(url),
            None => match timeout(self.patience.link, self.directory.link(delivery.campaign, link)).await {
                Ok(Ok(target)) => target,
                Ok(Err(_)) | Err(_) => {
                    return ("unavailable", later("The link's target is not at hand; try again shortly."));
                }
            },
        };
        let Some(target) = target else { return ("unknown_link", no_such_link()) };
        let Ok(target) = HeaderValue::try_from(utf8_percent_encode(&target, UNSENDABLE).to_string()) else {
            return ("unknown_link", no_such_link());
        };
        let verdict = match self.charged(visitor.ip) {
            Ok(()) => {
                let event = event(EventKind::Clicked, delivery, Some(link), visitor);
                verdict(self.intake.submit(event, self.patience.answer).await)
            }
            Err(_) => "limited",
        };
        // No Referrer-Policy: a redirect passes on the referrer of the page that held the link, never its own address, so
        // that the target sees what it would see without us.
        let headers = [
            (header::LOCATION, target),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store, private")),
        ];
        (verdict, (StatusCode::FOUND, headers).into_response())
    }

    async fn unsubscribe(
        &self,
        delivery: DeliveryKey,
        visitor: Visitor,
        language: Language,
    ) -> (&'static str, Response) {
        if let Err(wait) = self.charged(visitor.ip) {
            return (
                "limited",
                too_many("Too many unsubscribes come from this address; try again later.", wait),
            );
        }
        // A mail provider's machine posts this because a person asked it to: it counts as the person's.
        let visitor = Visitor { machine: None, ..visitor };
        let event = event(EventKind::Unsubscribed, delivery, None, visitor);
        let fate = self.intake.submit(event, self.patience.unsubscribe).await;
        let response = match fate {
            Fate::Recorded(_) | Fate::Spooled => page::done(language),
            Fate::Queued | Fate::Dropped => {
                later("The unsubscribe could not be stored yet; send it again shortly.")
            }
        };
        (verdict(fate), response)
    }

    /// # Errors
    /// How long until the address may record something again.
    fn charged(&self, ip: IpAddr) -> Result<(), Duration> {
        match &self.tolls.events {
            Some(toll) if !ip.is_loopback() => toll.charge(ip, tokio::time::Instant::now()),
            _ => Ok(()),
        }
    }

    pub(super) fn observed(
        &self,
        kind: &'static str,
        verdict: &'static str,
        began: Instant,
        response: Response,
    ) -> Response {
        self.observer.answered(kind, verdict, response.status().as_u16(), began.elapsed());
        response
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("intake", &self.intake).finish_non_exhaustive()
    }
}

fn event(kind: EventKind, delivery: DeliveryKey, link: Option<LinkNo>, visitor: Visitor) -> Event {
    Event {
        id: Uuid::now_v7(),
        at: Timestamp::now(),
        kind,
        delivery,
        link,
        machine: visitor.machine,
        reason: None,
        detail: None,
        client_ip: Some(visitor.ip),
        user_agent: visitor.agent,
    }
}

fn verdict(fate: Fate) -> &'static str {
    match fate {
        Fate::Recorded(None) => "human",
        Fate::Recorded(Some(rule)) => rule.as_str(),
        Fate::Spooled => "spooled",
        Fate::Queued => "queued",
        Fate::Dropped => "dropped",
    }
}

/// Reads a body of at most `most` bytes; `advice` is for whoever sends more.
pub(super) async fn read(body: Body, most: usize, advice: &str) -> Result<Bytes, Problem> {
    match timeout(BODY_WITHIN, to_bytes(body, most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error))
            if std::error::Error::source(&error).is_some_and(|cause| cause.is::<LengthLimitError>()) =>
        {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, advice))
        }
        Ok(Err(_)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "The body ended early; send the request again."))
        }
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "The body took too long; send it at once.")),
    }
}

fn no_such_link() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "This link is not known here; check that it was copied whole.")
        .into_response()
}

pub(super) fn too_many(detail: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
    ([(header::RETRY_AFTER, seconds.to_string())], problem).into_response()
}

pub(super) fn later(detail: &str) -> Response {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    ([(header::RETRY_AFTER, RETRY_AFTER)], problem).into_response()
}
