//! Getui: its signature, tokens that end, `request_id`, words for each device.

use campaignd_loadtest::clock::Clock;
use campaignd_loadtest::digest::sha256_hex;
use campaignd_loadtest::getui::{Getui, Options};
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::tally::Counts;
use serde_json::{Value, json};

use crate::CAPTURED;
use crate::wire::{altered, exchange, find, post};

async fn start(options: Options) -> Getui {
    Getui::start("127.0.0.1:0", Options { clock: Clock::pinned(CAPTURED), ..options })
        .await
        .expect("a free port")
}

fn request(path: &str, token: &str, body: &Value) -> Vec<u8> {
    let headers = [("host", "h".to_owned()), ("token", token.to_owned())];
    post(&format!("/v2/testAppId/{path}"), &headers, &body.to_string())
}

fn auth(milliseconds: i64) -> Vec<u8> {
    let timestamp = milliseconds.to_string();
    let sign = sha256_hex(format!("testAppKey{timestamp}testMasterSecret").as_bytes());
    request("auth", "", &json!({"sign": sign, "timestamp": timestamp, "appkey": "testAppKey"}))
}

async fn token(getui: &Getui) -> String {
    let (_, answer) = exchange(getui.addr(), &auth(CAPTURED * 1000)).await.expect("an answer");
    assert_eq!(answer["data"]["expire_time"], ((CAPTURED + 86_400) * 1000).to_string());
    answer["data"]["token"].as_str().expect("a token").to_owned()
}

fn push(cid: &str, request_id: &str) -> Value {
    let notification = json!({"title": "双11", "body": "hi", "click_type": "none"});
    json!({"request_id": request_id, "audience": {"cid": [cid]}, "push_message": {"notification": notification}})
}

/// The code, and the word for the device.
async fn single(getui: &Getui, token: &str, cid: &str, id: &str) -> (u64, String) {
    let (_, answer) =
        exchange(getui.addr(), &request("push/single/cid", token, &push(cid, id))).await.expect("an answer");
    let word = answer["data"].as_object().and_then(|data| data.values().next()?[cid].as_str());
    (answer["code"].as_u64().expect("a code"), word.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_signature_holds_in_every_byte_and_is_fresh_for_ten_minutes() {
    let getui = start(Options::default()).await;
    let request = auth(CAPTURED * 1000);
    let body = find(&request, b"\r\n\r\n").unwrap() + 4;
    for altered in altered(&request, std::slice::from_ref(&(body..request.len()))) {
        let answer = exchange(getui.addr(), &altered).await;
        let (status, answer) = answer.expect("an answer");
        assert!(status == 400 && answer["code"] == 20001, "{}", String::from_utf8_lossy(&altered));
    }
    assert_eq!(getui.tokens(), 0);
    for (apart, wanted) in [(-600_001, 20001), (-600_000, 0), (600_000, 0), (600_001, 20001)] {
        let (_, answer) = exchange(getui.addr(), &auth(CAPTURED * 1000 + apart)).await.unwrap();
        assert_eq!(answer["code"], wanted);
    }
}

#[tokio::test]
async fn a_token_that_has_ended_is_refused_until_it_is_renewed() {
    let getui = start(Options { auths_per_minute: Some(2), ..Options::default() }).await;
    let first = token(&getui).await;
    assert_eq!(single(&getui, &first, "c", "0000000001").await.0, 0);
    getui.expire_tokens();
    let request = request("push/single/cid", &first, &push("c", "0000000002"));
    let (status, answer) = exchange(getui.addr(), &request).await.unwrap();
    assert_eq!((status, &answer["code"]), (401, &json!(10001)));
    let second = token(&getui).await;
    assert_eq!(single(&getui, &second, "c", "0000000002").await.0, 0);
    let (_, answer) = exchange(getui.addr(), &auth(CAPTURED * 1000)).await.unwrap();
    assert_eq!(answer["code"], 10003);
    assert_eq!((getui.tokens(), getui.tally().to("c")), (2, 2));
}

#[tokio::test]
async fn a_request_id_sends_once() {
    for (refuse_repeats, wanted) in [(false, 0), (true, 20001)] {
        let rules = vec![Rule::nth(1).cut_after()];
        let getui = start(Options { refuse_repeats, rules, ..Options::default() }).await;
        let token = token(&getui).await;
        let request = request("push/single/cid", &token, &push("c", "0000000001"));
        assert_eq!(exchange(getui.addr(), &request).await, None, "taken, but not answered");
        assert_eq!(single(&getui, &token, "c", "0000000001").await.0, wanted);
        assert_eq!(getui.tally().counts(), Counts { messages: 1, recipients: 1, repeated: 0 });
    }
}

#[tokio::test]
async fn each_device_of_a_batch_has_a_word_of_its_own() {
    let rules = vec![Rule::to("old").code("successed_ignore"), Rule::to("none").code("20001")];
    let getui = start(Options { rules, ..Options::default() }).await;
    let token = token(&getui).await;
    assert_eq!(single(&getui, &token, "old", "0000000001").await, (0, "successed_ignore".to_owned()));
    assert_eq!(single(&getui, &token, "none", "0000000002").await, (20001, String::new()));
    assert_eq!(single(&getui, &token, "c", "short").await, (20001, String::new()));
    let batch = json!({"msg_list": [push("c", "0000000003"), push("old", "0000000004")]});
    let (_, answer) =
        exchange(getui.addr(), &request("push/single/batch/cid", &token, &batch)).await.unwrap();
    let words: Vec<_> = answer["data"].as_object().unwrap().values().cloned().collect();
    assert_eq!(words, [json!({"c": "successed_online"}), json!({"old": "successed_ignore"})]);
    assert_eq!(getui.tally().counts(), Counts { messages: 1, recipients: 1, repeated: 0 });
}
