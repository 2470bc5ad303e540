//! The provider over real sockets, against a server that answers by script.

mod simulated;

use std::collections::VecDeque;
use std::io::Write as _;
use std::num::NonZeroU16;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use campaignd_loadtest::faulty_http::{Action, Answer, Event, Options, Request, Server};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Getui;
use crate::config::{GetuiSettings, Secret};
use crate::model::Outcome;
use crate::provider::keyed::tests::{counted, push};
use crate::provider::{Message, Provider as _, Session};

const SECRET: &str = "testMasterSecret";

fn settings(url: &str) -> GetuiSettings {
    GetuiSettings {
        app_id: "testApp1".to_owned(),
        app_key: "testAppKey".to_owned(),
        master_secret: Secret::new(SECRET),
        base_url: format!("{url}/v2"),
        ca_file: None,
        batch: NonZeroU16::new(200).unwrap(),
        ttl: Duration::from_secs(7_200),
        vendor_channels: false,
        timeout: Duration::from_secs(60),
    }
}

fn messages(count: i64) -> Vec<Message> {
    (1..=count).map(|number| push(number, &format!("cid{number}"), None)).collect()
}

fn session(settings: &GetuiSettings) -> Box<dyn Session> {
    Getui::new(settings).unwrap().session()
}

fn labels(outcomes: &[Outcome]) -> Vec<&'static str> {
    outcomes.iter().map(Outcome::as_str).collect()
}

/// Gives tokens `token-1`, `token-2`, ..., takes pushes; `actions` come first, one a push.
async fn server(actions: impl Into<VecDeque<Action>>) -> Server {
    let (actions, tokens) = (Mutex::new(actions.into()), AtomicU32::new(0));
    let script = move |event: Event<'_>| match event {
        Event::Request(request) if request.target.ends_with("/auth") => {
            given(tokens.fetch_add(1, Ordering::Relaxed) + 1)
        }
        Event::Request(request) => match actions.lock().unwrap().pop_front() {
            None | Some(Action::Go) => taken(request),
            Some(action) => action,
        },
        _ => Action::Go,
    };
    Server::start("127.0.0.1:0", Options::default().script(script)).await.unwrap()
}

fn given(number: u32) -> Action {
    let ends = (Timestamp::now().as_millisecond() + 86_400_000).to_string();
    let data = json!({"token": format!("token-{number}"), "expire_time": ends});
    answer(200, json!({"code": 0, "msg": "success", "data": data}))
}

fn taken(request: &Request) -> Action {
    let cids =
        pushed(request).into_iter().map(|push| push["audience"]["cid"][0].as_str().unwrap().to_owned());
    let data = cids.map(|cid| (format!("RASS_{cid}"), json!({cid: "successed_online"}))).collect::<Value>();
    answer(200, json!({"code": 0, "msg": "success", "data": data}))
}

fn answer(status: u16, body: Value) -> Action {
    Action::Answer(Answer::new(status, body.to_string()))
}

fn refused(status: u16, code: u32, msg: &str) -> Action {
    answer(status, json!({"code": code, "msg": msg}))
}

/// The messages of a request.
fn pushed(request: &Request) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["msg_list"].as_array().cloned().unwrap_or_else(|| vec![body])
}

fn pushes(server: &Server) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.target.contains("/push/")).collect()
}

fn logins(server: &Server) -> usize {
    server.requests().len() - pushes(server).len()
}

#[tokio::test]
async fn a_request_is_what_the_documentation_shows() {
    let server = server([]).await;
    let settings = GetuiSettings { vendor_channels: true, ..settings(&server.url()) };
    let outcomes = session(&settings).send(&[push(1, "cid1", Some("https://shop.example/sale"))]).await;
    assert_eq!(outcomes, [Outcome::Accepted { provider_ref: Some("RASS_cid1".to_owned()) }]);
    let [login, posted] = &server.requests()[..] else { panic!() };
    assert_eq!(login.target, "/v2/testApp1/auth");
    assert_eq!((posted.method.as_str(), posted.target.as_str()), ("POST", "/v2/testApp1/push/single/cid"));
    assert_eq!(posted.header("token"), Some("token-1"));
    let mut body = pushed(posted).remove(0);
    let id = body["request_id"].take();
    assert!((10..=32).contains(&id.as_str().unwrap().len()));
    let notification = json!({
        "title": "Sale", "body": "Hello 1", "click_type": "url", "url": "https://shop.example/sale",
    });
    let aps = json!({"alert": {"title": "Sale", "body": "Hello 1"}, "sound": "default"});
    let ios =
        json!({"type": "notify", "payload": "https://shop.example/sale", "aps": aps, "auto_badge": "+1"});
    assert_eq!(
        body,
        json!({
            "request_id": null,
            "settings": {"ttl": 7_200_000},
            "audience": {"cid": ["cid1"]},
            "push_message": {"notification": notification},
            "push_channel": {"ios": ios, "android": {"ups": {"notification": notification}}},
        })
    );
}

#[tokio::test]
async fn python_finds_the_login_signed() {
    let server = server([]).await;
    session(&settings(&server.url())).ready().await.unwrap();
    let mut python = Command::new("python3")
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/getui.py"), SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(&server.requests()[0].body).unwrap();
    assert_eq!(python.wait_with_output().unwrap().stdout, b"signed\n");
}

#[tokio::test]
async fn batches_go_over_one_connection_and_each_message_once() {
    let server = server([]).await;
    let settings = GetuiSettings { batch: NonZeroU16::new(40).unwrap(), ..settings(&server.url()) };
    assert_eq!(Getui::new(&settings).unwrap().chunk_size(), 40);
    let outcomes = session(&settings).send(&messages(100)).await;
    assert_eq!(labels(&outcomes), ["accepted"; 100]);
    let pushes = pushes(&server);
    assert!(pushes.iter().all(|request| request.target.ends_with("/push/single/batch/cid")));
    let cids: Vec<Value> =
        pushes.iter().flat_map(pushed).map(|push| push["audience"]["cid"][0].clone()).collect();
    assert_eq!(cids, (1..=100).map(|number| json!(format!("cid{number}"))).collect::<Vec<_>>());
    assert_eq!((pushes.len(), logins(&server), server.connections()), (3, 1, 2));
}

#[tokio::test]
async fn results_land_on_their_own_messages() {
    let data = json!({
        "RASS_1": {"cid1": "successed_online", "cid3": "successed_ignore"},
        "RASS_2": {"cid2": "successed_offline"},
    });
    let server = server([
        answer(200, json!({"code": 0, "data": data})),
        refused(400, 20001, "target user is invalid"),
    ])
    .await;
    let outcomes = session(&settings(&server.url())).send(&messages(4)).await;
    assert_eq!(outcomes[0], Outcome::Accepted { provider_ref: Some("RASS_1".to_owned()) });
    assert_eq!(outcomes[1], Outcome::Accepted { provider_ref: Some("RASS_2".to_owned()) });
    assert_eq!(labels(&outcomes[2..]), ["rejected", "rejected"]);
    let requests = pushes(&server);
    assert_eq!(requests.len(), 2, "the one without a result is asked about alone");
    assert_eq!(pushed(&requests[1])[0], pushed(&requests[0])[3]);
}

#[tokio::test]
async fn a_batch_that_one_recipient_spoils_is_split() {
    let spoilt = || refused(400, 20001, "target user is invalid");
    let server = server([spoilt(), Action::Go, spoilt(), spoilt()]).await;
    let outcomes = session(&settings(&server.url())).send(&messages(4)).await;
    assert_eq!(labels(&outcomes), ["accepted", "accepted", "rejected", "accepted"]);
}

#[tokio::test]
async fn a_token_that_ends_in_mid_run_is_renewed_once_for_all() {
    let script = |event: Event<'_>| match event {
        Event::Request(request) if request.target.ends_with("/auth") => Action::Go,
        Event::Request(request) if request.header("token") == Some("token-1") => {
            refused(401, 10001, "token is invalid")
        }
        Event::Request(request) => taken(request),
        _ => Action::Go,
    };
    let tokens = AtomicU32::new(0);
    let options = Options::default().script(move |event| match script(event) {
        Action::Go if matches!(event, Event::Request(_)) => given(tokens.fetch_add(1, Ordering::Relaxed) + 1),
        action => action,
    });
    let server = Server::start("127.0.0.1:0", options).await.unwrap();
    let provider = Getui::new(&settings(&server.url())).unwrap();
    let sent: Vec<Vec<Message>> = (0..8).map(|_| messages(2)).collect();
    let runs = sent.iter().map(|sent| {
        let mut session = provider.session();
        async move { session.send(sent).await }
    });
    for outcomes in join_all(runs).await {
        assert_eq!(labels(&outcomes), ["accepted"; 2]);
    }
    assert_eq!(logins(&server), 2);
}

#[tokio::test]
async fn a_token_that_is_never_taken_is_the_accounts_matter() {
    let server = server(vec![refused(401, 10001, "token is invalid"); 2]).await;
    let outcomes = session(&settings(&server.url())).send(&messages(2)).await;
    assert_eq!(labels(&outcomes), ["account_refused"; 2]);
    assert_eq!((pushes(&server).len(), logins(&server)), (2, 2));
}

#[tokio::test]
async fn what_is_in_doubt_is_repeated_once_under_the_same_id() {
    let silent = Action::Late(Duration::from_secs(3_600), Answer::new(200, ""));
    let half = Action::CutInAnswer(20, Answer::new(200, "{}"));
    for (action, timeout) in [(silent, 1), (Action::Cut, 60), (half, 60)] {
        let dropped = refused(400, 20001, "request_id cannot be repeat.");
        for (second, wanted) in [(Action::Go, "accepted"), (dropped, "accepted"), (action.clone(), "unknown")]
        {
            let server = server([action.clone(), second]).await;
            let settings = GetuiSettings { timeout: Duration::from_secs(timeout), ..settings(&server.url()) };
            assert_eq!(labels(&session(&settings).send(&messages(1)).await), [wanted], "{action:?}");
            let pushes = pushes(&server);
            assert_eq!(pushes.len(), 2);
            assert_eq!(pushes[0].body, pushes[1].body);
        }
    }
}

#[tokio::test]
async fn every_attempt_has_the_same_id_and_every_message_another() {
    let server = server([]).await;
    let settings = settings(&server.url());
    let mut later = messages(2);
    later[0].attempt = 2;
    session(&settings).send(&messages(2)).await;
    session(&settings).send(&later).await;
    let ids: Vec<Value> =
        pushes(&server).iter().flat_map(pushed).map(|push| push["request_id"].clone()).collect();
    assert_eq!(ids[..2], ids[2..]);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_throttle_ends_the_chunk() {
    let server = server([Action::Go, refused(401, 10005, "too fast")]).await;
    let settings = GetuiSettings { batch: NonZeroU16::MIN, ..settings(&server.url()) };
    let outcomes = session(&settings).send(&messages(3)).await;
    assert_eq!(labels(&outcomes), ["accepted", "throttled", "returned"]);
    let Outcome::Throttled { after, .. } = &outcomes[1] else { panic!() };
    assert_eq!(*after, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn a_server_that_is_away_gets_nothing() {
    let server = server([]).await;
    let mut session = session(&settings(&server.url()));
    server.stop().await;
    assert_eq!(session.ready().await.unwrap_err().as_str(), "retry");
    assert_eq!(labels(&session.send(&messages(2)).await), ["retry"; 2]);
}

#[tokio::test]
async fn permits_are_spent_once_the_request_leaves() {
    let silent = Action::Late(Duration::from_secs(3_600), Answer::new(200, ""));
    let server = server([silent]).await;
    let (sent, departed) = counted(messages(2));
    let mut session = session(&settings(&server.url()));
    session.ready().await.unwrap();
    assert_eq!(departed.count(), 0);
    tokio::select! {
        outcomes = session.send(&sent) => panic!("answered: {outcomes:?}"),
        () = server.received(2) => {}
    }
    assert_eq!(departed.count(), 2);
}
