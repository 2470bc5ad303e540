//! FCM: Google's tokens, messages over both versions of HTTP, its errors.

use std::net::SocketAddr;

use campaignd_loadtest::clock::Clock;
use campaignd_loadtest::fcm::{Fcm, Options};
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::tally::Counts;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::CAPTURED;
use crate::streams::Client;
use crate::wire::{altered, exchange, find, places, post, refused, requests};

const CAPTURE: &[u8] = include_bytes!("../../captures/fcm_v1.txt");
const SEND: &str = "/v1/projects/test-proj/messages:send";

async fn start(options: Options) -> Fcm {
    Fcm::start("127.0.0.1:0", options).await.expect("a free port")
}

fn at(seconds: i64) -> Options {
    Options { clock: Clock::pinned(seconds), ..Options::default() }
}

async fn token(fcm: &Fcm) -> String {
    let (status, answer) = exchange(fcm.addr(), &requests(CAPTURE)[0]).await.expect("an answer");
    assert_eq!((status, &answer["token_type"]), (200, &json!("Bearer")), "{answer}");
    answer["access_token"].as_str().expect("a token").to_owned()
}

async fn send(to: SocketAddr, token: &str, device: &str) -> (u16, Value) {
    let headers = [("host", "h".to_owned()), ("authorization", format!("Bearer {token}"))];
    let body = json!({"message": {"token": device, "notification": {"title": "双11"}}}).to_string();
    exchange(to, &post(SEND, &headers, &body)).await.expect("an answer")
}

fn error(answer: &(u16, Value)) -> (u16, String) {
    let detail = &answer.1["error"]["details"][0];
    (answer.0, detail["errorCode"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn the_captured_assertion_holds_in_every_byte_and_for_an_hour() {
    let fcm = start(at(CAPTURED)).await;
    let request = &requests(CAPTURE)[0];
    let mut places = places(request, &[]);
    places[2].end = find(request, b"&grant_type").expect("the second pair");
    for altered in altered(request, &places[2..]) {
        let answer = exchange(fcm.addr(), &altered).await;
        assert!(refused(answer), "{}", String::from_utf8_lossy(&altered));
    }
    assert_eq!(fcm.tokens(), 0);
    token(&fcm).await;
    for (seconds, wanted) in [(-301, 400), (-300, 200), (3599, 200), (3600, 400)] {
        let fcm = start(at(CAPTURED + seconds)).await;
        let (status, answer) = exchange(fcm.addr(), request).await.unwrap();
        assert_eq!(status, wanted);
        assert!(status == 200 || answer["error"] == "invalid_grant");
    }
}

#[tokio::test]
async fn captured_messages_are_taken_with_a_token_that_lives() {
    let clock = Clock::pinned(CAPTURED);
    let fcm = start(Options { clock: clock.clone(), ..Options::default() }).await;
    let token = token(&fcm).await;
    let with_token = |request: &[u8]| {
        String::from_utf8(request.to_vec()).unwrap().replace("ya29.test-token", &token).into_bytes()
    };
    let captured = requests(CAPTURE);
    let send = with_token(&captured[1]);
    for altered in altered(&send, &places(&send, &["authorization"])[3..]) {
        assert!(refused(exchange(fcm.addr(), &altered).await));
    }
    assert!(refused(exchange(fcm.addr(), &captured[1]).await), "a token that was never given");
    let (status, answer) = exchange(fcm.addr(), &send).await.unwrap();
    assert_eq!(status, 200);
    assert!(answer["name"].as_str().unwrap().starts_with("projects/test-proj/messages/0:"));
    let (status, _) = exchange(fcm.addr(), &with_token(&captured[2])).await.unwrap();
    assert_eq!(status, 200, "validate_only");
    assert_eq!(fcm.tally().counts(), Counts { messages: 1, recipients: 1, repeated: 0 });
    assert_eq!(fcm.tally().newest()[0].to, "device-token-1");
    clock.pin(CAPTURED + 3599);
    assert_eq!(exchange(fcm.addr(), &send).await.unwrap().0, 401);
}

#[tokio::test]
async fn every_error_can_be_had() {
    let codes = [
        (404, "UNREGISTERED"),
        (400, "INVALID_ARGUMENT"),
        (403, "SENDER_ID_MISMATCH"),
        (401, "THIRD_PARTY_AUTH_ERROR"),
        (429, "QUOTA_EXCEEDED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
    ];
    let bare = [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (400, "BAD_REQUEST")];
    let rules = codes.iter().chain(&bare).map(|(_, code)| Rule::to(*code).code(*code)).collect();
    let fcm = start(Options { rules, retry_after: Some(7), ..at(CAPTURED) }).await;
    let token = token(&fcm).await;
    for (status, code) in codes {
        assert_eq!(error(&send(fcm.addr(), &token, code).await), (status, code.to_owned()));
    }
    for (status, code) in bare {
        assert_eq!(error(&send(fcm.addr(), &token, code).await), (status, String::new()));
    }
    assert_eq!(send(fcm.addr(), &token, "device").await.0, 200);
    fcm.unregister("device");
    assert_eq!(error(&send(fcm.addr(), &token, "device").await), (404, "UNREGISTERED".to_owned()));
    fcm.expire_tokens();
    assert_eq!(error(&send(fcm.addr(), &token, "other").await), (401, String::new()));
}

#[tokio::test]
async fn messages_go_side_by_side_over_http_2_up_to_the_quota() {
    let rules = vec![Rule::nth(2).cut_after()];
    let fcm = start(Options { per_minute: Some(2), retry_after: Some(9), rules, ..at(CAPTURED) }).await;
    let bearer = format!("Bearer {}", token(&fcm).await);
    let headers = [("authorization", bearer.as_str())];
    let body = json!({"message": {"fid": "f", "data": {"key": "1"}}}).to_string();
    let stream = TcpStream::connect(fcm.addr()).await.unwrap();
    let mut client = Client::over(stream).await;
    assert_eq!(client.call(SEND, &headers, &body).await.unwrap().status, 200);
    assert!(client.call(SEND, &headers, &body).await.err().expect("a cut").is_io());
    assert_eq!(fcm.tally().counts(), Counts { messages: 2, recipients: 1, repeated: 1 });
    let mut client = Client::over(TcpStream::connect(fcm.addr()).await.unwrap()).await;
    let over = client.call(SEND, &headers, &body).await.unwrap();
    assert_eq!((over.status, &over.headers["retry-after"]), (429, &"9".parse().unwrap()));
    assert_eq!(over.body["error"]["details"][0]["errorCode"], "QUOTA_EXCEEDED");
}
