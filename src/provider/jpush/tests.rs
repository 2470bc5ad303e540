//! The provider over real sockets, against a server that answers by script.

mod simulated;

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use campaignd_loadtest::faulty_http::{Action, Answer, Event, Options, Request, Server};
use serde_json::{Value, json};

use super::Jpush;
use crate::config::{Cid, JpushSettings, Secret};
use crate::model::Outcome;
use crate::provider::keyed::tests::{counted, push};
use crate::provider::{Message, Provider as _, Session};

const KEY: &str = "appkey00000000000000abcd";
const SECRET: &str = "mastersecret000000000000";

fn settings(url: &str) -> JpushSettings {
    JpushSettings {
        app_key: KEY.to_owned(),
        master_secret: Secret::new(SECRET),
        base_url: url.to_owned(),
        ca_file: None,
        batch: false,
        cid: Cid::Fetched,
        ttl: Duration::from_secs(3_600),
        apns_production: true,
        timeout: Duration::from_secs(60),
    }
}

fn messages(count: i64) -> Vec<Message> {
    (1..=count).map(|number| push(number, &format!("regid{number}"), None)).collect()
}

fn session(settings: &JpushSettings) -> Box<dyn Session> {
    Jpush::new(settings).unwrap().session()
}

fn labels(outcomes: &[Outcome]) -> Vec<&'static str> {
    outcomes.iter().map(Outcome::as_str).collect()
}

/// Gives cids, takes pushes; `actions` come first, one a push.
async fn server(actions: impl Into<VecDeque<Action>>) -> Server {
    let actions = Mutex::new(actions.into());
    let script = move |event: Event<'_>| match event {
        Event::Request(request) if request.target.starts_with("/v3/push/cid") => given(request),
        Event::Request(request) => match actions.lock().unwrap().pop_front() {
            None | Some(Action::Go) => taken(request),
            Some(action) => action,
        },
        _ => Action::Go,
    };
    Server::start("127.0.0.1:0", Options::default().script(script)).await.unwrap()
}

fn given(request: &Request) -> Action {
    let count = request.target.rsplit_once('=').unwrap().1.parse().unwrap();
    let cids: Vec<String> = (0..count).map(|n: u32| format!("{KEY}-{}-{n}", request.connection)).collect();
    Action::Answer(Answer::new(200, json!({ "cidlist": cids }).to_string()))
}

fn taken(request: &Request) -> Action {
    let body = body(request);
    let answer = match body["pushlist"].as_object() {
        Some(list) => list.keys().map(|cid| (cid.clone(), json!({"msg_id": format!("m-{cid}")}))).collect(),
        None => json!({"sendno": "0", "msg_id": "1828256757"}),
    };
    Action::Answer(Answer::new(200, answer.to_string()))
}

fn refused(status: u16, code: u32) -> Action {
    Action::Answer(Answer::new(status, json!({"error": {"code": code, "message": "no"}}).to_string()))
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn pushes(server: &Server) -> Vec<Value> {
    server.requests().iter().filter(|request| request.method == "POST").map(body).collect()
}

#[tokio::test]
async fn a_request_is_what_the_official_sdk_sends() {
    let server = server([]).await;
    let sent = [push(1, "18071adc030dcba91c0", Some("https://shop.example/sale"))];
    let outcomes = session(&settings(&server.url())).send(&sent).await;
    assert_eq!(outcomes, [Outcome::Accepted { provider_ref: Some("1828256757".to_owned()) }]);
    let [fetched, posted] = &server.requests()[..] else { panic!() };
    assert_eq!((fetched.method.as_str(), fetched.target.as_str()), ("GET", "/v3/push/cid?count=10"));
    assert_eq!((posted.method.as_str(), posted.target.as_str()), ("POST", "/v3/push"));
    // As captured from jpush 3.4.1 with this key and secret.
    let basic = "Basic YXBwa2V5MDAwMDAwMDAwMDAwMDBhYmNkOm1hc3RlcnNlY3JldDAwMDAwMDAwMDAwMA==";
    assert!([fetched, posted].iter().all(|request| request.header("authorization") == Some(basic)));
    let extras = json!({"url": "https://shop.example/sale"});
    assert_eq!(
        body(posted),
        json!({
            "cid": format!("{KEY}-0-0"),
            "platform": "all",
            "audience": {"registration_id": ["18071adc030dcba91c0"]},
            "notification": {
                "android": {"alert": "Hello 1", "title": "Sale", "extras": extras},
                "ios": {"alert": {"title": "Sale", "body": "Hello 1"}, "badge": "+1", "sound": "default",
                        "extras": extras},
            },
            "options": {"time_to_live": 3600, "apns_production": true},
        })
    );
}

#[tokio::test]
async fn python_finds_the_login_in_the_header() {
    let server = server([]).await;
    session(&settings(&server.url())).send(&messages(1)).await;
    let header = server.requests()[0].header("authorization").unwrap().to_owned();
    let mut python = Command::new("python3")
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/jpush.py"), KEY, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(header.as_bytes()).unwrap();
    assert_eq!(python.wait_with_output().unwrap().stdout, b"signed\n");
}

#[tokio::test]
async fn singles_go_out_one_by_one_and_a_dead_one_stops_nobody() {
    let server = server([Action::Go, refused(400, 1011), refused(400, 1005)]).await;
    let mut session = session(&settings(&server.url()));
    session.ready().await.unwrap();
    let outcomes = session.send(&messages(12)).await;
    assert_eq!(labels(&outcomes[..4]), ["accepted", "rejected", "rejected", "accepted"]);
    assert_eq!(labels(&outcomes[4..]), ["accepted"; 8]);
    assert_eq!((server.connections(), pushes(&server).len()), (1, 12));
    assert_eq!(server.requests().len(), 14, "cids come by tens");
}

#[tokio::test]
async fn a_batch_is_one_request_and_each_has_its_result() {
    let partly = |cid: &str| {
        let cid = |n: u32| format!("{cid}-{n}");
        let mut results = serde_json::Map::new();
        results.insert(cid(0), json!({"msg_id": "1"}));
        results.insert(cid(1), json!({"error": {"code": 1011, "message": "no target"}}));
        Action::Answer(Answer::new(200, Value::Object(results).to_string()))
    };
    let server = server([partly(&format!("{KEY}-0"))]).await;
    let settings = JpushSettings { batch: true, ..settings(&server.url()) };
    assert_eq!(Jpush::new(&settings).unwrap().chunk_size(), 1_000);
    let outcomes = session(&settings).send(&messages(3)).await;
    assert_eq!(labels(&outcomes), ["accepted", "rejected", "accepted"]);
    let [whole, alone] = &pushes(&server)[..] else { panic!() };
    assert_eq!(whole["pushlist"].as_object().unwrap().len(), 3);
    let left_out = &alone["pushlist"][format!("{KEY}-0-2")];
    assert_eq!(left_out["target"], "regid3", "asked about alone, under the same cid");
    assert!(server.requests().iter().any(|request| request.target == "/v3/push/batch/regid/single"));
}

#[tokio::test]
async fn a_batch_that_one_recipient_spoils_is_split() {
    let spoilt = || refused(400, 1003);
    let server = server([spoilt(), Action::Go, spoilt(), spoilt()]).await;
    let settings = JpushSettings { batch: true, ..settings(&server.url()) };
    let outcomes = session(&settings).send(&messages(4)).await;
    assert_eq!(labels(&outcomes), ["accepted", "accepted", "rejected", "accepted"]);
    assert_eq!(pushes(&server).len(), 5);
}

#[tokio::test]
async fn what_is_in_doubt_is_repeated_once_with_the_same_cid() {
    let silent = Action::Late(Duration::from_secs(3_600), Answer::new(200, ""));
    let half = Action::CutInAnswer(20, Answer::new(200, "{}"));
    for (action, timeout) in [(silent, 1), (Action::Cut, 60), (half, 60)] {
        for cid in [Cid::Fetched, Cid::Derived] {
            for (actions, wanted) in
                [(vec![action.clone()], "accepted"), (vec![action.clone(), action.clone()], "unknown")]
            {
                let server = server(actions).await;
                let timeout = Duration::from_secs(timeout);
                let settings = JpushSettings { cid, timeout, ..settings(&server.url()) };
                assert_eq!(labels(&session(&settings).send(&messages(1)).await), [wanted], "{action:?}");
                let pushes = pushes(&server);
                assert_eq!(pushes.len(), 2);
                assert_eq!(pushes[0], pushes[1]);
            }
        }
    }
}

#[tokio::test]
async fn a_broken_vendor_is_asked_once_more_and_leaves_a_doubt() {
    for cid in [Cid::Derived, Cid::Fetched] {
        let server = server([refused(503, 1030), refused(503, 1030)]).await;
        let settings = JpushSettings { cid, ..settings(&server.url()) };
        assert_eq!(labels(&session(&settings).send(&messages(1)).await), ["unknown"]);
        assert_eq!(pushes(&server).len(), 2);
    }
}

#[tokio::test]
async fn a_derived_cid_is_the_same_for_every_attempt_and_another_for_every_message() {
    let server = server([]).await;
    let settings = JpushSettings { cid: Cid::Derived, ..settings(&server.url()) };
    session(&settings).send(&messages(2)).await;
    let mut later = messages(1);
    later[0].attempt = 2;
    session(&settings).send(&later).await;
    let mut elsewhere = messages(1);
    elsewhere[0].campaign = "autumn".into();
    session(&settings).send(&elsewhere).await;
    let cids: Vec<Value> = pushes(&server).iter().map(|push| push["cid"].clone()).collect();
    assert_eq!(cids[0], cids[2]);
    assert!(cids[0] != cids[1] && cids[0] != cids[3]);
    let uuid = cids[0].as_str().unwrap().strip_prefix(&format!("{KEY}-")).unwrap();
    assert!(uuid.parse::<uuid::Uuid>().is_ok());
    assert_eq!(server.requests().len(), 4, "nothing is fetched");
}

#[tokio::test]
async fn a_throttle_or_a_refused_account_ends_the_chunk() {
    let busy = json!({"error": {"code": 2002, "message": "slow"}}).to_string();
    let busy = Action::Answer(Answer::new(429, busy).header("X-Rate-Limit-Reset", "7"));
    for (action, wanted) in [(busy, "throttled"), (refused(401, 1004), "account_refused")] {
        let server = server([Action::Go, action]).await;
        let outcomes = session(&settings(&server.url())).send(&messages(4)).await;
        assert_eq!(labels(&outcomes), ["accepted", wanted, "returned", "returned"]);
        if let Outcome::Throttled { after, .. } = &outcomes[1] {
            assert_eq!(*after, Some(Duration::from_secs(7)));
        }
        assert_eq!(pushes(&server).len(), 2);
    }
}

#[tokio::test]
async fn an_account_that_gets_no_cids_is_not_ready_and_sends_nothing() {
    let options = Options::default().script(|event| match event {
        Event::Request(_) => refused(401, 1004),
        _ => Action::Go,
    });
    let server = Server::start("127.0.0.1:0", options).await.unwrap();
    let mut session = session(&settings(&server.url()));
    assert_eq!(session.ready().await.unwrap_err().as_str(), "account_refused");
    assert_eq!(labels(&session.send(&messages(2)).await), ["account_refused", "returned"]);
    assert!(pushes(&server).is_empty());
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
    assert_eq!(departed.count(), 1);
}
