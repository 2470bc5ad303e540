//! JPush: captured requests, `cid`, codes, batches, its rate.

use campaignd_loadtest::clock::Clock;
use campaignd_loadtest::jpush::{Jpush, Options};
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::tally::Counts;
use serde_json::{Value, json};

use crate::CAPTURED;
use crate::wire::{altered, exchange, places, post, refused, requests};

const CAPTURE: &[u8] = include_bytes!("../../captures/jpush_v3.txt");
const BASIC: &str = "Basic YXBwa2V5MDAwMDAwMDAwMDAwMDBhYmNkOm1hc3RlcnNlY3JldDAwMDAwMDAwMDAwMA==";

async fn start(options: Options) -> Jpush {
    Jpush::start("127.0.0.1:0", options).await.expect("a free port")
}

async fn call(jpush: &Jpush, path: &str, body: &Value) -> Option<(u16, Value)> {
    let headers = [("host", "h".to_owned()), ("authorization", BASIC.to_owned())];
    exchange(jpush.addr(), &post(path, &headers, &body.to_string())).await
}

fn to(ids: &[&str], cid: &str) -> Value {
    let notification = json!({"android": {"alert": "双11"}});
    json!({"cid": cid, "platform": "all", "audience": {"registration_id": ids}, "notification": notification})
}

async fn push(jpush: &Jpush, ids: &[&str], cid: &str) -> (u16, u64) {
    let (status, body) = call(jpush, "/v3/push", &to(ids, cid)).await.expect("an answer");
    (status, body["error"]["code"].as_u64().unwrap_or(0))
}

#[tokio::test]
async fn captured_requests_are_taken_and_no_altered_credentials_are() {
    let jpush = start(Options::default()).await;
    let captured = requests(CAPTURE);
    for altered in altered(&captured[0], &places(&captured[0], &["authorization"])[3..]) {
        assert!(refused(exchange(jpush.addr(), &altered).await));
    }
    assert_eq!(jpush.tally().counts(), Counts::default());
    let (status, first) = exchange(jpush.addr(), &captured[0]).await.unwrap();
    assert_eq!((status, &first["sendno"]), (200, &json!("0")));
    let again = exchange(jpush.addr(), &captured[0]).await.unwrap();
    assert_eq!(again, (200, first), "the same cid");
    assert_eq!(jpush.tally().counts(), Counts { messages: 2, recipients: 2, repeated: 0 });
    let (_, cids) = exchange(jpush.addr(), &captured[1]).await.unwrap();
    let cid = cids["cidlist"][0].as_str().unwrap();
    assert!(cid.starts_with("appkey00000000000000abcd-") && cid.len() == 61, "{cid}");
}

#[tokio::test]
async fn a_cid_sends_once_a_day_though_the_answer_was_lost() {
    let clock = Clock::pinned(CAPTURED);
    let rules = vec![Rule::nth(1).cut_after(), Rule::nth(2).cut_before()];
    let jpush = start(Options { clock: clock.clone(), rules, ..Options::default() }).await;
    for wanted in [None, None, Some(200)] {
        let answer = call(&jpush, "/v3/push", &to(&["a"], "c")).await;
        assert_eq!(answer.map(|(status, _)| status), wanted);
    }
    assert_eq!(jpush.tally().to("a"), 1);
    clock.pin(CAPTURED + 86_400);
    assert_eq!(push(&jpush, &["a"], "c").await, (200, 0));
    assert_eq!(jpush.tally().counts().repeated, 1);
}

#[tokio::test]
async fn every_code_can_be_had() {
    let codes = [(400, 1011), (400, 1008), (500, 1000), (503, 1030), (429, 2002), (403, 2003), (400, 1005)];
    let rules = codes.iter().map(|(_, code)| Rule::to(code.to_string()).code(code.to_string())).collect();
    let jpush = start(Options { rules, ..Options::default() }).await;
    for (status, code) in codes {
        assert_eq!(push(&jpush, &[&code.to_string()], "").await, (status, code));
    }
    assert_eq!(push(&jpush, &["1011", "good"], "").await, (200, 0), "some are reached");
    assert_eq!(jpush.tally().counts(), Counts { messages: 1, recipients: 1, repeated: 0 });
    for (body, code) in [
        (json!({}), 1002),
        (json!({"audience": {"registration_id": ["a"]}, "notification": {}}), 1002),
        (json!({"audience": {"registration_id": ["a"]}, "platform": "all"}), 1002),
        (json!({"audience": {"registration_id": []}, "platform": "all", "notification": {}}), 1003),
        (json!({"audience": {"registration_id": ["a"]}, "platform": "tv", "notification": {}}), 1003),
    ] {
        let (_, answer) = call(&jpush, "/v3/push", &body).await.unwrap();
        assert_eq!(answer["error"]["code"], code, "{body}");
    }
}

#[tokio::test]
async fn each_push_of_a_batch_has_an_answer_of_its_own() {
    let jpush = start(Options { rules: vec![Rule::to("b").code("1011")], ..Options::default() }).await;
    let push = |target: &str| json!({"platform": "all", "target": target, "notification": {"alert": target}});
    let body = json!({"pushlist": {"c1": push("a"), "c2": push("b")}});
    let (status, answer) = call(&jpush, "/v3/push/batch/regid/single", &body).await.unwrap();
    assert_eq!(status, 200);
    assert!(answer["c1"]["msg_id"].is_string());
    assert_eq!(answer["c2"]["error"]["code"], 1011);
    assert_eq!((jpush.tally().to("a"), jpush.tally().to("b")), (1, 0));
}

#[tokio::test]
async fn calls_are_counted_by_the_minute() {
    let clock = Clock::pinned(CAPTURED + 50);
    let jpush = start(Options { clock: clock.clone(), per_minute: Some(1), ..Options::default() }).await;
    assert_eq!(push(&jpush, &["a"], "1").await, (200, 0));
    assert_eq!(push(&jpush, &["a"], "2").await, (429, 2002));
    clock.pin(CAPTURED + 60);
    assert_eq!(push(&jpush, &["a"], "2").await, (200, 0));
}
