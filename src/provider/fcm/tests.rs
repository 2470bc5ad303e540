//! The provider over HTTP/1.1 against a server that answers as a test says, over real sockets. HTTP/2 is the same to it.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use campaignd_loadtest::faulty_http::{Action, Answer, Event, Options, Request, Server};
use serde_json::{Value, json};

use super::Fcm;
use crate::config::{FcmPriority, FcmSettings, FcmTarget, HttpVersion, Secret, ServiceAccount};
use crate::model::content::PushContent;
use crate::model::{CampaignNo, ContactNo, Content, DeliveryKey, Outcome, Purpose, Reason};
use crate::provider::jwt::tests::{Pair, rsa, verified};
use crate::provider::{Body, Message, Permit, Provider as _};

pub(super) fn settings(url: &str) -> FcmSettings {
    settings_with(url, rsa())
}

fn settings_with(url: &str, pair: &Pair) -> FcmSettings {
    FcmSettings {
        base_url: url.to_owned(),
        token_url: format!("{url}/token"),
        ca_file: None,
        http: HttpVersion::Http1,
        project: "test-proj".to_owned(),
        key: ServiceAccount {
            client_email: "fcm@test-proj.iam.gserviceaccount.com".to_owned(),
            private_key_id: "kid0001".to_owned(),
            private_key: Secret::new(&*pair.private),
        },
        target: FcmTarget::Token,
        priority: FcmPriority::High,
        ttl: Duration::from_secs(86_400),
        android_channel: None,
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
    (1..=count).map(|number| message(number, &format!("token-{number}"))).collect()
}

fn answer(status: u16, body: impl ToString) -> Action {
    Action::Answer(Answer::new(status, body.to_string()))
}

/// Gives out access tokens `t1`, `t2`, ... and asks `script` about messages.
async fn google(script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Server {
    let tokens = AtomicUsize::new(0);
    let options = Options::default().script(move |event| match event {
        Event::Request(request) if request.target == "/token" => {
            let token = format!("t{}", tokens.fetch_add(1, Ordering::Relaxed) + 1);
            answer(200, json!({"access_token": token, "expires_in": 3_599, "token_type": "Bearer"}))
        }
        Event::Request(request) => script(request),
        _ => Action::Go,
    });
    Server::start("127.0.0.1:0", options).await.unwrap()
}

fn sent(server: &Server) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.target != "/token").collect()
}

fn taken() -> Action {
    answer(200, json!({"name": "projects/test-proj/messages/0:1"}))
}

pub(super) fn verdicts(outcomes: &[Outcome]) -> Vec<(&'static str, Option<Reason>)> {
    outcomes.iter().map(|outcome| (outcome.as_str(), outcome.reason())).collect()
}

const ACCEPTED: (&str, Option<Reason>) = ("accepted", None);

#[tokio::test]
async fn each_message_is_a_request_under_the_account_token() {
    let server = google(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let details = json!([{
            "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED",
        }]);
        let error = json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "", "details": details}});
        if body["message"]["token"] == "token-2" { answer(404, error) } else { taken() }
    })
    .await;
    let fcm = Fcm::new(&settings(&server.url())).unwrap();
    let outcomes = fcm.session().send(&messages(3)).await;
    let unknown = ("rejected", Some(Reason::UnknownRecipient));
    assert_eq!(verdicts(&outcomes), [ACCEPTED, unknown, ACCEPTED]);
    assert_eq!(outcomes[0].detail(), Some("projects/test-proj/messages/0:1"));
    assert!(sent(&server).iter().all(|request| request.header("authorization") == Some("Bearer t1")
        && request.target == "/v1/projects/test-proj/messages:send"
        && request.header("content-type") == Some("application/json")));
}

#[tokio::test]
async fn the_assertion_is_what_google_documents_and_another_implementation_finds_right() {
    let server = google(|_| taken()).await;
    let pair = rsa();
    Fcm::new(&settings_with(&server.url(), pair)).unwrap().session().send(&messages(1)).await;
    let request = &server.requests()[0];
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    let form = String::from_utf8(request.body.to_vec()).unwrap();
    let assertion = form
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap();
    let token = verified(assertion, &pair.public).unwrap();
    assert_eq!(token["header"], json!({"alg": "RS256", "kid": "kid0001", "typ": "JWT"}));
    let claims = &token["claims"];
    assert_eq!(claims["iss"], "fcm@test-proj.iam.gserviceaccount.com");
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/firebase.messaging");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3_600);
}

fn expired() -> Action {
    answer(401, json!({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": ""}}))
}

#[tokio::test]
async fn a_token_that_expires_in_mid_run_is_replaced_once_and_no_message_is_lost() {
    let count = AtomicUsize::new(0);
    let server = google(move |request| {
        let late = count.fetch_add(1, Ordering::Relaxed) >= 5;
        if late && request.header("authorization") == Some("Bearer t1") { expired() } else { taken() }
    })
    .await;
    let fcm = Fcm::new(&settings(&server.url())).unwrap();
    let (mut one, mut other) = (fcm.session(), fcm.session());
    let all = messages(20);
    let (first, second) = tokio::join!(one.send(&all), other.send(&all));
    assert_eq!((verdicts(&first), verdicts(&second)), (vec![ACCEPTED; 20], vec![ACCEPTED; 20]));
    assert_eq!(server.requests().len() - sent(&server).len(), 2, "tokens");
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_is_the_accounts() {
    let server = google(|_| expired()).await;
    let outcomes = Fcm::new(&settings(&server.url())).unwrap().session().send(&messages(2)).await;
    assert_eq!(verdicts(&outcomes), [("account_refused", Some(Reason::AccountRefused)); 2]);
    assert_eq!(sent(&server).len(), 4);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    for (status, body, wanted) in [
        (400, r#"{"error": "invalid_grant", "error_description": "Invalid JWT"}"#, "account_refused"),
        (401, "", "account_refused"),
        (429, "", "throttled"),
        (503, "", "retry"),
        (200, "{}", "retry"),
    ] {
        let options = Options::default().script(move |event| match event {
            Event::Request(_) => answer(status, body),
            _ => Action::Go,
        });
        let server = Server::start("127.0.0.1:0", options).await.unwrap();
        let mut session = Fcm::new(&settings(&server.url())).unwrap().session();
        let outcome = session.ready().await.unwrap_err();
        assert_eq!(outcome.as_str(), wanted, "{status}");
        assert_eq!(outcome.detail().unwrap().contains("invalid_grant"), body.contains("invalid_grant"));
        let outcomes = session.send(&messages(2)).await;
        assert_eq!((outcomes[0].as_str(), outcomes[1].as_str()), (wanted, "returned"));
        assert!(sent(&server).is_empty());
    }
}

#[tokio::test]
async fn silence_and_cuts_after_the_request_are_doubt() {
    let silent = Action::Late(Duration::from_secs(3_600), Answer::new(200, ""));
    for (action, reason) in [(silent, Reason::NoAnswer), (Action::Cut, Reason::ConnectionLost)] {
        let server = google(move |_| action.clone()).await;
        let settings = FcmSettings { timeout: Duration::from_secs(1), ..settings(&server.url()) };
        let outcomes = Fcm::new(&settings).unwrap().session().send(&messages(1)).await;
        assert_eq!(verdicts(&outcomes), [("unknown", Some(reason))]);
        assert_eq!(sent(&server).len(), 1, "nothing goes out again by itself");
    }
}

#[tokio::test]
async fn all_sessions_share_one_token() {
    let server = google(|_| taken()).await;
    let fcm = Arc::new(Fcm::new(&settings(&server.url())).unwrap());
    for _ in 0..3 {
        assert_eq!(verdicts(&fcm.session().send(&messages(1)).await), [ACCEPTED]);
    }
    assert_eq!(server.requests().len() - sent(&server).len(), 1);
}
