//! The provider against a server that speaks HTTP/2 and answers as a test says.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Apns, Census};
use crate::config::{ApnsSettings, Secret};
use crate::model::content::PushContent;
use crate::model::{CampaignNo, ContactNo, Content, DeliveryKey, Outcome, Purpose, Reason};
use crate::provider::jwt::tests::{p256, verified};
use crate::provider::{Body, Departures, Message, Permit, Provider as _};

pub(super) fn settings(url: &str) -> ApnsSettings {
    settings_with(url, &p256().private)
}

pub(super) fn settings_with(url: &str, key: &str) -> ApnsSettings {
    ApnsSettings {
        base_url: url.to_owned(),
        ca_file: None,
        team_id: "TEAMID1234".to_owned(),
        key_id: "KEYID12345".to_owned(),
        key: Secret::new(key),
        topic: "com.example.app".to_owned(),
        priority: 10,
        ttl: Duration::from_secs(86_400),
        sound: Some("default".to_owned()),
        streams: NonZeroU16::new(100).unwrap(),
        timeout: Duration::from_secs(60),
    }
}

pub(super) fn message(number: i64, to: &str) -> Message {
    let push = PushContent { title: "Hi".to_owned(), body: "there".to_owned(), url: None };
    Message {
        delivery: DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(number), occurrence: 0 },
        attempt: 1,
        campaign: "spring".into(),
        purpose: Purpose::Marketing,
        to: to.to_owned(),
        unsubscribe: None,
        body: Body::Content(Content::Push(push)),
        permit: Permit::default(),
    }
}

pub(super) fn messages(count: i64) -> Vec<Message> {
    (1..=count).map(|number| message(number, &format!("{number:064x}"))).collect()
}

/// What the server does with a request.
#[derive(Clone)]
enum Act {
    Take,
    Refuse(u16, &'static str),
    Silence,
    /// Ends the connection.
    Cut,
}

#[derive(Debug, Clone)]
struct Seen {
    path: String,
    headers: HeaderMap,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn token(&self) -> &str {
        self.header("authorization").strip_prefix("bearer ").unwrap()
    }
}

type Script = Arc<dyn Fn(usize, &Seen) -> Act + Send + Sync>;

struct Apple {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Apple {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Apple {
    /// Asks `script` about each request and its number, from 0.
    async fn start(script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, connections) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let script: Script = Arc::new(script);
        let task = tokio::spawn({
            let (seen, connections) = (Arc::clone(&seen), Arc::clone(&connections));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&script)));
                }
            }
        });
        Apple { url, seen, connections, task }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(stream: tokio::net::TcpStream, seen: Arc<Mutex<Vec<Seen>>>, script: Script) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut silent = Vec::new();
    while let Some(Ok((request, mut reply))) = connection.accept().await {
        let one = Seen { path: request.uri().path().to_owned(), headers: request.headers().clone() };
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(one.clone());
            seen.len() - 1
        };
        let response = Response::builder().header("apns-id", one.header("apns-id"));
        match script(number, &one) {
            Act::Take => {
                reply.send_response(response.body(()).unwrap(), true).unwrap();
            }
            Act::Refuse(status, reason) => {
                let body = Bytes::from(json!({"reason": reason}).to_string());
                let mut stream =
                    reply.send_response(response.status(status).body(()).unwrap(), false).unwrap();
                stream.send_data(body, true).unwrap();
            }
            Act::Silence => silent.push(reply),
            Act::Cut => return,
        }
    }
}

pub(super) fn verdicts(outcomes: &[Outcome]) -> Vec<(&'static str, Option<Reason>)> {
    outcomes.iter().map(|outcome| (outcome.as_str(), outcome.reason())).collect()
}

const ACCEPTED: (&str, Option<Reason>) = ("accepted", None);

#[tokio::test]
async fn a_chunk_goes_over_one_connection_and_each_message_has_its_own_outcome() {
    let apple = Apple::start(|_, seen| match seen.path.as_str() {
        path if path.ends_with("02") => Act::Refuse(410, "Unregistered"),
        path if path.ends_with("03") => Act::Refuse(429, "TooManyRequests"),
        _ => Act::Take,
    })
    .await;
    let apns = Apns::new(&settings(&apple.url)).unwrap();
    assert_eq!(apns.chunk_size(), 100);
    let mut session = apns.session();
    let outcomes = session.send(&messages(100)).await;
    let unknown = ("rejected", Some(Reason::UnknownRecipient));
    let deferred = ("deferred", Some(Reason::Throttled));
    assert_eq!(verdicts(&outcomes[..4]), [ACCEPTED, unknown, deferred, ACCEPTED]);
    assert_eq!(verdicts(&outcomes[4..]), [ACCEPTED; 96]);
    assert_eq!((apple.seen().len(), apple.connections.load(Ordering::Relaxed)), (100, 1));
    let ids: std::collections::HashSet<_> =
        apple.seen().iter().map(|seen| seen.header("apns-id").to_owned()).collect();
    let refs =
        outcomes.iter().filter(|outcome| outcome.as_str() == "accepted").map(|outcome| outcome.detail());
    assert!(refs.map(Option::unwrap).all(|id| ids.contains(id)) && ids.len() == 100);
}

#[tokio::test]
async fn all_connections_share_a_token_that_another_implementation_finds_right() {
    let apple = Apple::start(|_, _| Act::Take).await;
    let pair = p256();
    let apns = Apns::new(&settings_with(&apple.url, &pair.private)).unwrap();
    for _ in 0..3 {
        assert_eq!(verdicts(&apns.session().send(&messages(2)).await), [ACCEPTED; 2]);
    }
    let seen = apple.seen();
    assert!(seen.iter().all(|one| one.token() == seen[0].token()));
    let token = verified(seen[0].token(), &pair.public).unwrap();
    assert_eq!(token["header"], json!({"alg": "ES256", "kid": "KEYID12345", "typ": "JWT"}));
    assert_eq!(token["claims"]["iss"], "TEAMID1234");
    assert!(token["claims"]["iat"].is_i64());
}

#[tokio::test]
async fn a_token_that_expires_in_mid_run_is_replaced_once_and_no_message_is_lost() {
    let old: Arc<Mutex<Option<String>>> = Arc::default();
    let apple = Apple::start({
        let old = Arc::clone(&old);
        move |n, seen| {
            let mut old = old.lock().unwrap();
            if n == 20 {
                *old = Some(seen.token().to_owned());
            }
            match old.as_deref() {
                Some(old) if old == seen.token() => Act::Refuse(403, "ExpiredProviderToken"),
                _ => Act::Take,
            }
        }
    })
    .await;
    let apns = Apns::new(&settings(&apple.url)).unwrap();
    let (mut one, mut other) = (apns.session(), apns.session());
    let (all, half) = (messages(100), messages(50));
    let (first, second) = tokio::join!(one.send(&all), other.send(&half));
    assert_eq!(verdicts(&first), [ACCEPTED; 100]);
    assert_eq!(verdicts(&second), [ACCEPTED; 50]);
    let tokens: std::collections::HashSet<_> =
        apple.seen().iter().map(|seen| seen.token().to_owned()).collect();
    assert_eq!(tokens.len(), 2);
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_is_the_accounts() {
    let apple = Apple::start(|_, _| Act::Refuse(403, "ExpiredProviderToken")).await;
    let apns = Apns::new(&settings(&apple.url)).unwrap();
    let outcomes = apns.session().send(&messages(2)).await;
    assert_eq!(verdicts(&outcomes), [("account_refused", Some(Reason::AccountRefused)); 2]);
    assert!(outcomes[0].detail().unwrap().contains("clock"));
    assert_eq!(apple.seen().len(), 4);
}

#[tokio::test]
async fn silence_and_cuts_are_doubt() {
    for (act, reason) in [(Act::Silence, Reason::NoAnswer), (Act::Cut, Reason::ConnectionLost)] {
        let apple = Apple::start(move |n, _| if n == 0 { act.clone() } else { Act::Take }).await;
        let settings = ApnsSettings { timeout: Duration::from_secs(1), ..settings(&apple.url) };
        let mut session = Apns::new(&settings).unwrap().session();
        assert_eq!(verdicts(&session.send(&messages(1)).await), [("unknown", Some(reason))]);
        assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
        assert_eq!(apple.seen().len(), 2, "nothing goes out again by itself");
        assert_eq!(apple.connections.load(Ordering::Relaxed), 2);
    }
}

#[tokio::test]
async fn after_a_shutdown_the_next_chunk_takes_a_new_connection() {
    let apple = Apple::start(|n, _| if n == 0 { Act::Refuse(503, "Shutdown") } else { Act::Take }).await;
    let mut session = Apns::new(&settings(&apple.url)).unwrap().session();
    assert_eq!(verdicts(&session.send(&messages(1)).await), [("retry", Some(Reason::TemporaryFailure))]);
    assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
    assert_eq!(apple.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_server_that_is_away_gets_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut session = Apns::new(&settings(&url)).unwrap().session();
    let not_sent = ("retry", Some(Reason::ConnectionFailed));
    assert_eq!(verdicts(&[session.ready().await.unwrap_err()]), [not_sent]);
    assert_eq!(verdicts(&session.send(&messages(2)).await), [not_sent; 2]);
}

#[derive(Debug, Default)]
struct Departed(AtomicUsize);

impl Departures for Departed {
    fn depart(&self, _cells: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn permits_are_spent_once_the_request_leaves() {
    let departed = Arc::new(Departed::default());
    let (arrived, mut arrivals) = tokio::sync::mpsc::channel(1);
    let apple = Apple::start(move |_, _| {
        arrived.try_send(()).unwrap();
        Act::Silence
    })
    .await;
    let mut sent = messages(1);
    sent[0].permit = Permit::new(vec![departed.clone()], 1);
    let mut session = Apns::new(&settings(&apple.url)).unwrap().session();
    session.ready().await.unwrap();
    assert_eq!(departed.0.load(Ordering::Relaxed), 0);
    let spent = async {
        arrivals.recv().await.unwrap();
        while departed.0.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcomes = session.send(&sent) => panic!("answered: {outcomes:?}"),
        () = spent => {}
    }
}

#[test]
fn bad_tokens_are_the_accounts_fault_where_they_are_many() {
    let census = Census::default();
    assert!(census.counts(true), "of one, all are bad");
    let bad: Vec<bool> = (0..100).map(|n| census.counts(n % 10 == 0)).collect();
    assert!(bad[50..].iter().all(|wrong_place| !wrong_place));
    let bad: Vec<bool> = (0..100).map(|_| census.counts(true)).collect();
    assert!(bad[50..].iter().all(|wrong_place| *wrong_place));
}
