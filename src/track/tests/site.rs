//! A tracking site on a real listener: tokens in plain words, and a store that is up, away or hanging on demand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, header};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::http::dial::{self, fetch};
use crate::http::{Limits, Toll};
use crate::model::{CampaignNo, ContactNo, DeliveryKey, Event, LinkNo};
use crate::spool::{OpenError, Settings, Spool};
use crate::telemetry::Metrics;
use crate::track::{
    Backing, ClickClaims, Delivered, Directory, EventIntake, Hook, HookCall, HookError, HookReply, Observer,
    Patience, Recorder, Rules, Tokens, Tolls, Tracker, Unavailable, router,
};

pub(super) const LINK: &str = "https://shop.example/spring?a=1&b=%20%E4%B8%8A#top";

pub(super) fn delivery(contact: i64) -> DeliveryKey {
    DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(contact), occurrence: 0 }
}

/// `open-CONTACT`, `unsubscribe-CONTACT`, `click-CONTACT-LINK` and `varied-CONTACT-LINK`.
pub(super) struct PlainTokens;

impl Tokens for PlainTokens {
    fn open(&self, token: &str) -> Option<DeliveryKey> {
        token.strip_prefix("open-")?.parse().ok().map(delivery)
    }

    fn unsubscribe(&self, token: &str) -> Option<DeliveryKey> {
        token.strip_prefix("unsubscribe-")?.parse().ok().map(delivery)
    }

    fn click(&self, token: &str) -> Option<ClickClaims> {
        let (kind, rest) = token.split_once('-')?;
        let (contact, link) = rest.split_once('-')?;
        let url = match kind {
            "click" => None,
            "varied" => Some(format!("https://shop.example/for/{contact}")),
            _ => return None,
        };
        Some(ClickClaims { delivery: delivery(contact.parse().ok()?), link: LinkNo(link.parse().ok()?), url })
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Up,
    Away,
    Hangs,
}

/// Ledger, observer and switch in one.
pub(super) struct Store {
    pub(super) mood: watch::Sender<Mood>,
    events: watch::Sender<Vec<Event>>,
    answers: Mutex<Vec<(&'static str, &'static str, u16)>>,
    /// Calls as their hook saw them.
    pub(super) calls: Mutex<Vec<HookCall>>,
    pub(super) delivered: Mutex<Option<Delivered>>,
}

impl Store {
    pub(super) fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            mood: watch::Sender::new(mood),
            events: watch::Sender::new(Vec::new()),
            answers: Mutex::default(),
            calls: Mutex::default(),
            delivered: Mutex::default(),
        })
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    pub(super) async fn until_recorded(&self, count: usize) -> Vec<Event> {
        self.events.subscribe().wait_for(|events| events.len() >= count).await.unwrap().clone()
    }

    pub(super) fn last_answer(&self) -> (&'static str, &'static str, u16) {
        *self.answers.lock().unwrap().last().unwrap()
    }
}

#[async_trait]
impl Directory for Store {
    async fn link(&self, _: CampaignNo, link: LinkNo) -> Result<Option<String>, Unavailable> {
        match link.0 {
            0 => Ok(Some(LINK.to_owned())),
            1 => Ok(Some("https://shop.example/上 海\r\nSet-Cookie: x".to_owned())),
            66 => Err(Unavailable),
            _ => Ok(None),
        }
    }

    async fn sent_at(&self, _: DeliveryKey) -> Result<Option<Delivered>, Unavailable> {
        match *self.mood.borrow() {
            Mood::Away => Err(Unavailable),
            _ => Ok(*self.delivered.lock().unwrap()),
        }
    }
}

#[async_trait]
impl Recorder for Store {
    async fn record(&self, event: Event) -> Result<(), Unavailable> {
        let mut mood = self.mood.subscribe();
        let now = *mood.wait_for(|&mood| mood != Mood::Hangs).await.unwrap();
        if now == Mood::Away {
            return Err(Unavailable);
        }
        self.events.send_modify(|events| {
            if events.iter().all(|known| known.id != event.id) {
                events.push(event);
            }
        });
        Ok(())
    }
}

impl Observer for Store {
    fn answered(&self, kind: &'static str, verdict: &'static str, code: u16, _: Duration) {
        self.answers.lock().unwrap().push((kind, verdict, code));
    }
}

/// Takes calls whose body is `good`; follows the store's mood.
#[async_trait]
impl Hook for Store {
    async fn take(&self, call: HookCall) -> Result<HookReply, HookError> {
        let good = call.body == "good";
        self.calls.lock().unwrap().push(call);
        if !good {
            let detail = "The signature is not this account's.".to_owned();
            return Err(HookError::Refused { status: StatusCode::UNAUTHORIZED, detail });
        }
        let mut mood = self.mood.subscribe();
        match *mood.wait_for(|&mood| mood != Mood::Hangs).await.unwrap() {
            Mood::Away => Err(HookError::Unavailable),
            _ => Ok(HookReply { content_type: Some("text/xml"), body: "<ok/>".into() }),
        }
    }
}

pub(super) struct Site {
    pub(super) store: Arc<Store>,
    pub(super) intake: EventIntake,
    pub(super) worker: JoinHandle<()>,
    pub(super) server: dial::Server,
    pub(super) metrics: Arc<Metrics>,
    pub(super) folder: Arc<TempDir>,
}

impl Site {
    pub(super) async fn open(mood: Mood, capacity: usize) -> Self {
        Self::with(Arc::new(tempfile::tempdir().unwrap()), mood, capacity, 1 << 20, Tolls::default()).await
    }

    /// `folder` is its spool's, which takes `limit` bytes.
    pub(super) async fn on(folder: Arc<TempDir>, mood: Mood, capacity: usize, limit: u64) -> Self {
        Self::with(folder, mood, capacity, limit, Tolls::default()).await
    }

    /// An address may record so much, and have so many calls refused.
    pub(super) async fn limited(events: &str, refused_calls: &str) -> Self {
        let toll = |rate: &str| Some(Toll::new(rate.parse().unwrap()));
        let tolls = Tolls { events: toll(events), refused_calls: toll(refused_calls) };
        Self::with(Arc::new(tempfile::tempdir().unwrap()), Mood::Up, 100, 1 << 20, tolls).await
    }

    async fn with(folder: Arc<TempDir>, mood: Mood, capacity: usize, limit: u64, tolls: Tolls) -> Self {
        let store = Store::new(mood);
        // A store that is up is waited for, however busy the machine; one that is not is given up at once.
        let (long, short) = (Duration::from_secs(600), Duration::from_millis(1));
        let patience = if mood == Mood::Up { long } else { short };
        let rules = Rules {
            within: Some(Duration::from_secs(2)),
            links_within: Some(Duration::from_secs(3600)),
            addresses: Some(2),
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let settings = Settings { folder: folder.path().to_owned(), limit, age: Duration::from_secs(86_400) };
        let spool = loop {
            match Spool::open(&settings, Clock::system(), metrics.clone()) {
                Ok(spool) => break spool,
                // The site before it is still closing its files.
                Err(OpenError::InUse(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let backing = Backing { rules, directory: store.clone(), recorder: store.clone(), spool, patience };
        let (intake, worker) = EventIntake::new(capacity, backing);
        let tracker = Tracker {
            tokens: Arc::new(PlainTokens),
            directory: store.clone(),
            intake: intake.clone(),
            observer: store.clone(),
            hooks: HashMap::from([("relay".to_owned(), store.clone() as Arc<dyn Hook>)]),
            trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
            tolls,
            patience: Patience {
                store: patience,
                answer: long,
                link: long,
                unsubscribe: long,
                hook: patience,
            },
        };
        let server = dial::start(router(tracker), Limits::default()).await;
        Self { store, intake, worker: tokio::spawn(worker), server, metrics, folder }
    }

    pub(super) async fn up() -> Self {
        Self::open(Mood::Up, 100).await
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        fetch(self.server.address, request).await
    }

    pub(super) async fn ask(&self, method: &str, path: &str) -> Response<Bytes> {
        self.send(dial::request(method, path)).await
    }

    pub(super) async fn post(
        &self,
        path: &str,
        media_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        let request = dial::request("POST", path).map(|_| Full::new(body.into()));
        self.send(with(request, "content-type", media_type)).await
    }
}

pub(super) fn with<B>(mut request: Request<B>, name: &'static str, value: &'static str) -> Request<B> {
    request.headers_mut().append(name, header::HeaderValue::from_static(value));
    request
}

pub(super) fn text<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

pub(super) fn assert_problem(response: &Response<Bytes>, status: u16) {
    assert_eq!(response.status(), status);
    assert_eq!(text(response, "content-type"), "application/problem+json");
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(body["status"], status);
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
}

pub(super) fn assert_pixel(response: &Response<Bytes>) {
    assert_eq!(response.status(), 200);
    assert_eq!(text(response, "content-type"), "image/gif");
    assert!(text(response, "cache-control").contains("no-store"));
    assert_eq!(text(response, "x-content-type-options"), "nosniff");
    assert!(!response.headers().contains_key("set-cookie"));
}
