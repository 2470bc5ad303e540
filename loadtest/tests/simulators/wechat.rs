//! WeChat: tokens, what sends once, its errors, its calls.

use std::pin::pin;
use std::time::Duration;

use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::clock::Clock;
use campaignd_loadtest::digest::sha1_hex;
use campaignd_loadtest::http::{self, Answer, Handler, Reply, Request, Server, form};
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::tally::Counts;
use campaignd_loadtest::wechat::{Account, Options, TokenCounts, Wechat};
use serde_json::{Value, json};

use crate::CAPTURED;
use crate::wire::{Customer, altered, exchange, places, post, requests};

const CAPTURE: &str = include_str!("../../captures/wechat.txt");

async fn start(options: Options) -> Wechat {
    Wechat::start("127.0.0.1:0", options).await.expect("a free port")
}

fn at(seconds: i64) -> Options {
    Options { clock: Clock::pinned(seconds), ..Options::default() }
}

/// The errcode, 0 where there is none; HTTP's errors are negated.
fn code(answer: Option<(u16, Value)>) -> i64 {
    match answer.expect("an answer") {
        (200, body) => body["errcode"].as_i64().unwrap_or(0),
        (status, _) => -i64::from(status),
    }
}

async fn token(wechat: &Wechat, force: bool) -> String {
    let account = Account { encoding_aes_key: None, ..Options::default().account };
    let body = json!({
        "grant_type": "client_credential", "appid": account.app_id, "secret": account.secret, "force_refresh": force,
    });
    let request = post("/cgi-bin/stable_token", &[("host", "h".to_owned())], &body.to_string());
    let (_, answer) = exchange(wechat.addr(), &request).await.expect("an answer");
    answer["access_token"].as_str().expect("a token").to_owned()
}

async fn call(wechat: &Wechat, path: &str, token: &str, body: &Value) -> Option<(u16, Value)> {
    let target = format!("/cgi-bin/{path}?access_token={token}");
    exchange(wechat.addr(), &post(&target, &[("host", "h".to_owned())], &body.to_string())).await
}

async fn template(wechat: &Wechat, token: &str, to: &str, id: &str) -> Option<(u16, Value)> {
    let data = json!({"thing1": {"value": "到货"}});
    let body = json!({"touser": to, "template_id": "TPL", "client_msg_id": id, "data": data});
    call(wechat, "message/template/send", token, &body).await
}

#[tokio::test]
async fn captured_requests_are_taken_and_no_altered_token_is() {
    let wechat = start(at(CAPTURED)).await;
    // The capture was kept as text, and no body has a line's end.
    let captured = requests(CAPTURE.replace('\n', "\r\n").as_bytes());
    let taken = |answer: Option<(u16, Value)>| {
        answer.is_some_and(|(status, body)| status == 200 && body["errcode"].as_i64().unwrap_or(0) == 0)
    };
    for altered in altered(&captured[0], &places(&captured[0], &[])[1..2]) {
        assert!(!taken(exchange(wechat.addr(), &altered).await), "{}", String::from_utf8_lossy(&altered));
    }
    assert_eq!(wechat.tokens().issued, 0);
    let (_, answer) = exchange(wechat.addr(), &captured[0]).await.unwrap();
    assert_eq!(answer["expires_in"], 7200);
    let token = answer["access_token"].as_str().unwrap();
    let with_token = |request: &[u8]| {
        String::from_utf8(request.to_vec()).unwrap().replace("ACCESS_TOKEN_1", token).into_bytes()
    };
    let template = with_token(&captured[1]);
    for altered in altered(&template, &places(&template, &[])[..2]) {
        assert!(!taken(exchange(wechat.addr(), &altered).await), "{}", String::from_utf8_lossy(&altered));
    }
    assert_eq!(wechat.tally().counts(), Counts::default());
    for request in &captured[1..] {
        let answer = exchange(wechat.addr(), &with_token(request)).await;
        assert!(taken(answer.clone()), "{answer:?}");
    }
    assert_eq!(wechat.tally().counts(), Counts { messages: 3, recipients: 1, repeated: 0 });
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_once() {
    let clock = Clock::pinned(CAPTURED);
    let wechat = start(Options { clock: clock.clone(), ..Options::default() }).await;
    let first = token(&wechat, false).await;
    assert_eq!(token(&wechat, false).await, first);
    assert_eq!(code(template(&wechat, &first, "o1", "1").await), 0);
    wechat.expire_tokens();
    assert_eq!(code(template(&wechat, &first, "o1", "2").await), 42001);
    let second = token(&wechat, false).await;
    assert_eq!(code(template(&wechat, &second, "o1", "2").await), 0);
    let third = token(&wechat, true).await;
    assert_eq!(code(template(&wechat, &second, "o1", "3").await), 40001);
    assert_eq!(code(template(&wechat, "x", "o1", "3").await), 40014);
    assert_eq!(code(template(&wechat, "", "o1", "3").await), 41001);
    clock.pin(CAPTURED + 7200);
    assert_eq!(code(template(&wechat, &third, "o1", "3").await), 42001);
    assert_eq!(wechat.tokens(), TokenCounts { plain: 0, stable: 4, forced: 1, issued: 3 });
    assert_eq!(wechat.tally().to("o1"), 2);
}

#[tokio::test]
async fn a_client_msg_id_sends_once_within_ten_minutes() {
    let clock = Clock::pinned(CAPTURED);
    let rules = vec![Rule::nth(1).cut_after()];
    let wechat = start(Options { clock: clock.clone(), rules, ..Options::default() }).await;
    let token = token(&wechat, false).await;
    assert_eq!(template(&wechat, &token, "o1", "m1").await, None, "taken, but not answered");
    let (_, again) = template(&wechat, &token, "o1", "m1").await.unwrap();
    assert_eq!(again["msgid"], wechat.tally().newest()[0].msgid, "answered as the first would have been");
    assert_eq!(code(template(&wechat, &token, "o2", "m1").await), 0);
    assert_eq!(wechat.tally().counts(), Counts { messages: 2, recipients: 2, repeated: 0 });
    clock.pin(CAPTURED + 600);
    assert_eq!(code(template(&wechat, &token, "o1", "m1").await), 0);
    assert_eq!(wechat.tally().counts().repeated, 1, "after ten minutes it comes twice");
}

#[tokio::test]
async fn every_errcode_can_be_had() {
    let codes =
        [-1, 40003, 40037, 40164, 43019, 43116, 43117, 45009, 45047, 47003, 48001, 48002, 50002, 61007];
    let rules = codes.iter().map(|code| Rule::to(format!("o{code}")).code(code.to_string()));
    let rules = rules.chain([Rule::nth(15).status(502)]).collect();
    let wechat = start(Options { rules, ..at(CAPTURED) }).await;
    let token = token(&wechat, false).await;
    for wanted in codes {
        assert_eq!(code(template(&wechat, &token, &format!("o{wanted}"), "m").await), wanted);
    }
    assert_eq!(code(template(&wechat, &token, "o", "m").await), -502);
    assert_eq!(wechat.tally().counts(), Counts::default());
    let (_, answer) = call(&wechat, "nothing", &token, &json!({})).await.unwrap();
    assert_eq!(answer["errcode"], 40066);
    assert!(answer["errmsg"].as_str().unwrap().contains(" rid: "));
}

#[tokio::test]
async fn quotas_last_until_their_window_ends() {
    // 16 seconds before midnight in Beijing.
    let clock = Clock::pinned(CAPTURED + 16 * 3600 - 16);
    let options = Options { clock: clock.clone(), daily: Some(3), per_minute: Some(2), ..Options::default() };
    let wechat = start(options).await;
    let token = token(&wechat, false).await;
    let mut codes = Vec::new();
    for seconds in [-80, -79, -78, -16, -15, 0] {
        clock.pin(CAPTURED + 16 * 3600 + seconds);
        codes.push(code(template(&wechat, &token, "o1", "").await));
    }
    assert_eq!(codes, [0, 0, 45011, 0, 45009, 0]);
    let path = json!({"cgi_path": "/cgi-bin/message/template/send"});
    let (_, quota) = call(&wechat, "openapi/quota/get", &token, &path).await.unwrap();
    assert_eq!(quota["quota"], json!({"daily_limit": 3, "used": 1, "remain": 2}));
}

#[tokio::test]
async fn too_many_at_a_time_are_congestion() {
    let rules = vec![Rule::to("slow").wait(Duration::from_secs(3600))];
    let wechat = start(Options { rules, at_once: Some(1), ..at(CAPTURED) }).await;
    let token = token(&wechat, false).await;
    let mut slow = pin!(template(&wechat, &token, "slow", "1"));
    tokio::select! {
        _ = &mut slow => panic!("it takes an hour"),
        () = wechat.tally().received(1) => {}
    }
    assert_eq!(code(template(&wechat, &token, "o1", "2").await), -1);
}

#[tokio::test]
async fn consent_is_used_up_where_it_is_asked_for() {
    let clock = Clock::pinned(CAPTURED);
    let wechat = start(Options { opt_in: true, clock: clock.clone(), ..Options::default() }).await;
    let token = token(&wechat, false).await;
    let subscribe =
        json!({"touser": "o1", "template_id": "TPL", "data": {"thing1": {"value": "x"}}, "page": "p"});
    let custom = json!({"touser": "o1", "msgtype": "text", "text": {"content": "你好"}});
    let bizsend = "message/subscribe/bizsend";
    assert_eq!(code(call(&wechat, bizsend, &token, &subscribe).await), 43101);
    wechat.asked("o1", "TPL", true).await;
    assert_eq!(code(call(&wechat, bizsend, &token, &subscribe).await), 0);
    assert_eq!(code(call(&wechat, bizsend, &token, &subscribe).await), 43101);
    let reply = "message/custom/send";
    assert_eq!(code(call(&wechat, reply, &token, &custom).await), 45015);
    wechat.text("o1", "你好").await;
    for wanted in [0, 0, 0, 0, 0, 45047] {
        assert_eq!(code(call(&wechat, reply, &token, &custom).await), wanted);
    }
    wechat.text("o1", "在吗").await;
    clock.pin(CAPTURED + 7199);
    wechat.unsubscribe("o1").await;
    assert_eq!(code(call(&wechat, reply, &token, &custom).await), 45015);
    assert_eq!(code(template(&wechat, &token, "o1", "1").await), 43004);
    wechat.subscribe("o1").await;
    assert_eq!(code(template(&wechat, &token, "o1", "1").await), 0);
}

fn value(call: &Request, name: &str) -> String {
    let pairs = form::pairs(call.query()).expect("a query");
    form::value(&pairs, name).unwrap_or_default().to_owned()
}

fn signed(parts: [String; 3], rest: &[&str]) -> String {
    let mut parts: Vec<&str> = parts.iter().map(String::as_str).chain(rest.iter().copied()).collect();
    parts.sort_unstable();
    sha1_hex(parts.concat().as_bytes())
}

fn secrets(call: &Request) -> [String; 3] {
    ["test_token".to_owned(), value(call, "timestamp"), value(call, "nonce")]
}

#[tokio::test]
async fn the_end_of_a_message_is_told_before_or_after_its_answer_and_twice() {
    let customer = Customer::at("/wx?account=1").await;
    let receipts = Plan { early: 1.0, repeated: 1.0, after: Duration::from_millis(1), ..Plan::default() };
    let rules = vec![Rule::to("o2").receipt("failed:user block")];
    let wechat = start(Options { receipts, rules, ..at(CAPTURED) }).await;
    wechat.callbacks().aim(customer.url());
    let token = token(&wechat, false).await;
    let (_, answer) = template(&wechat, &token, "o2", "1").await.unwrap();
    assert!(wechat.callbacks().counts().taken >= 1, "told before the answer");
    wechat.callbacks().settled(|counts| counts.taken == 2).await;
    for call in customer.calls(2).await {
        assert!(call.target.starts_with("/wx?account=1&signature="), "{}", call.target);
        assert_eq!(value(&call, "signature"), signed(secrets(&call), &[]));
        assert_eq!((value(&call, "openid"), value(&call, "encrypt_type")), ("o2".to_owned(), String::new()));
        let xml = String::from_utf8(call.body.to_vec()).unwrap();
        assert!(xml.contains(&format!("<MsgID>{}</MsgID>", answer["msgid"])), "{xml}");
        assert!(xml.contains("<Status><![CDATA[failed:user block]]></Status>"), "{xml}");
    }
}

#[tokio::test]
async fn in_safe_mode_calls_are_encrypted_and_signed_twice() {
    let customer = Customer::at("/wx").await;
    let key = Some("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG".to_owned());
    let account = Account { encoding_aes_key: key, ..Options::default().account };
    let wechat = start(Options { account, ..at(CAPTURED) }).await;
    wechat.callbacks().aim(customer.url());
    assert!(wechat.text("o1", "退订").await);
    let call = customer.calls(1).await.remove(0);
    let xml = String::from_utf8(call.body.to_vec()).unwrap();
    let encrypted = xml.split_once("<Encrypt><![CDATA[").unwrap().1.split_once("]]>").unwrap().0;
    assert_eq!(value(&call, "msg_signature"), signed(secrets(&call), &[encrypted]));
    assert_eq!(value(&call, "encrypt_type"), "aes");
    assert!(!xml.contains("o1") && !xml.contains("退订"), "{xml}");
}

/// Echoes what it is asked to, whoever asks.
struct Echo;

impl Handler for Echo {
    async fn handle(&self, request: Request) -> Reply {
        assert_eq!(value(&request, "signature"), signed(secrets(&request), &[]));
        Answer::text(value(&request, "echostr")).into()
    }
}

#[tokio::test]
async fn a_url_is_checked_by_its_echo() {
    let wechat = start(at(CAPTURED)).await;
    assert!(!wechat.check_url().await, "there is none");
    let echo = Server::start("127.0.0.1:0", http::Options::default(), Echo.into()).await.unwrap();
    wechat.callbacks().aim(format!("http://{}/wx", echo.addr()));
    assert!(wechat.check_url().await);
    let customer = Customer::at("/wx").await;
    wechat.callbacks().aim(customer.url());
    assert!(!wechat.check_url().await, "it says success to everything");
}
