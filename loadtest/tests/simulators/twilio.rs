//! Twilio: who may send, what is refused, signed statuses and replies.

use std::time::Duration;

use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::http::{Request, form};
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::tally::Counts;
use campaignd_loadtest::twilio::{Options, Twilio, signature};
use serde_json::{Value, json};

use crate::wire::{Customer, altered, exchange, find, places, post, refused, requests};

const CAPTURE: &[u8] = include_bytes!("../../captures/twilio.txt");
const MESSAGES: &str = "/2010-04-01/Accounts/ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/Messages.json";
const BASIC: &str = "Basic QUNhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYTp0ZXN0X2F1dGhfdG9rZW4=";

async fn start(options: Options) -> Twilio {
    Twilio::start("127.0.0.1:0", options).await.expect("a free port")
}

fn create(fields: &[(&str, &str)]) -> Vec<u8> {
    let headers = [("host", "h".to_owned()), ("authorization", BASIC.to_owned())];
    post(MESSAGES, &headers, &form::write(fields.iter().copied()))
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: h\r\nauthorization: {BASIC}\r\n\r\n").into_bytes()
}

fn code(answer: Option<(u16, Value)>) -> (u16, u64) {
    let (status, body) = answer.expect("an answer");
    (status, body["code"].as_u64().unwrap_or(0))
}

#[tokio::test]
async fn requests_of_the_python_client_are_taken_with_their_own_credentials_alone() {
    let twilio = start(Options::default()).await;
    let captured = requests(CAPTURE);
    for request in &captured {
        // Bodies are not signed; a query would be the only part of the target that may change.
        let mut places = places(request, &["authorization"]);
        places.remove(2);
        for altered in altered(request, &places) {
            let shown = String::from_utf8_lossy(&altered).into_owned();
            assert!(refused(exchange(twilio.addr(), &altered).await), "taken, though altered: {shown}");
        }
    }
    assert_eq!(twilio.tally().counts(), Counts::default());
    let (status, message) = exchange(twilio.addr(), &captured[0]).await.unwrap();
    assert_eq!((status, &message["status"], &message["num_segments"]), (201, &json!("queued"), &json!("1")));
    assert_eq!(message["body"], "你好 hi & bye +1");
    let (status, message) = exchange(twilio.addr(), &captured[1]).await.unwrap();
    assert_eq!((status, &message["status"]), (201, &json!("accepted")));
    assert_eq!(code(exchange(twilio.addr(), &captured[2]).await), (404, 20404));
    let sid = message["sid"].as_str().unwrap();
    let read = get(&MESSAGES.replace(".json", &format!("/{sid}.json")));
    let (status, read) = exchange(twilio.addr(), &read).await.unwrap();
    assert_eq!((status, &read["sid"], &read["status"]), (200, &message["sid"], &json!("delivered")));
    let listed = exchange(twilio.addr(), &get(&format!("{MESSAGES}?To=%2B15558675310"))).await.unwrap().1;
    assert_eq!(listed["messages"].as_array().unwrap().len(), 2);
    assert!(find(&captured[0], b"%E4%BD%A0").is_some(), "the capture holds what the test says");
}

#[tokio::test]
async fn messages_are_refused_with_their_codes() {
    let rules =
        vec![Rule::to("+15550000009").code("30007"), Rule::nth(6).cut_before(), Rule::nth(7).status(500)];
    let twilio = start(Options { rules, qps: Some(7.0), ..Options::default() }).await;
    let long = "a".repeat(1601);
    let to = |to, body| create(&[("To", to), ("From", "+15557122661"), ("Body", body)]);
    assert_eq!(code(exchange(twilio.addr(), &to("+1555", "x")).await), (400, 21211));
    assert_eq!(code(exchange(twilio.addr(), &to("+15558675310", "")).await), (400, 21602));
    assert_eq!(code(exchange(twilio.addr(), &to("+15558675310", &long)).await), (400, 21617));
    assert_eq!(code(exchange(twilio.addr(), &create(&[("To", "+15558675310")])).await), (400, 21603));
    assert_eq!(code(exchange(twilio.addr(), &to("+15550000009", "x")).await), (400, 30007));
    assert_eq!(exchange(twilio.addr(), &to("+15558675310", "x")).await, None);
    assert_eq!(code(exchange(twilio.addr(), &to("+15558675310", "x")).await), (500, 0));
    assert_eq!(twilio.tally().counts().messages, 0);

    let twilio = start(Options { qps: Some(0.000_1), ..Options::default() }).await;
    assert_eq!(code(exchange(twilio.addr(), &to("+15558675310", "x")).await), (201, 0));
    assert_eq!(code(exchange(twilio.addr(), &to("+15558675310", "x")).await), (429, 20429));
}

fn fields(call: &Request) -> Vec<(String, String)> {
    std::str::from_utf8(&call.body).ok().and_then(form::pairs).expect("a form")
}

/// As the customer checks it, and that a changed field does not pass.
fn assert_signed(call: &Request, url: &str) {
    let fields = fields(call);
    let mut given: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let sign = |fields: &[(&str, String)]| signature("test_auth_token", url, fields);
    assert_eq!(call.header("x-twilio-signature"), Some(&*sign(&given)));
    given[0].1.push('x');
    assert_ne!(call.header("x-twilio-signature"), Some(&*sign(&given)));
}

#[tokio::test]
async fn statuses_come_signed_and_out_of_order() {
    let customer = Customer::who_says("").await;
    let rules = vec![Rule::to("+15550000002").receipt("30003")];
    // Of eight messages some draw a late `sent` and a punctual end: the lots are the same in each run.
    let receipts = Plan { late: 0.5, late_by: Duration::from_millis(300), ..Plan::default() };
    let twilio = start(Options { rules, receipts, ..Options::default() }).await;
    let url = customer.url();
    for number in 1..=8 {
        let to = format!("+1555000000{number}");
        let message =
            create(&[("To", &to), ("From", "+15557122661"), ("Body", "x"), ("StatusCallback", &url)]);
        assert_eq!(exchange(twilio.addr(), &message).await.unwrap().0, 201);
    }
    let calls = customer.calls(16).await;
    let mut told: Vec<(String, String)> = Vec::new();
    for call in &calls {
        assert_signed(call, &url);
        let fields = fields(call);
        let value = |name| form::value(&fields, name).unwrap_or_default().to_owned();
        assert_eq!(value("ErrorCode") == "30003", value("MessageStatus") == "undelivered");
        told.push((value("MessageSid"), value("MessageStatus")));
    }
    let sent_last = |(at, (sid, status)): (usize, &(String, String))| {
        status == "sent" && told[..at].iter().any(|(other, _)| other == sid)
    };
    assert!(told.iter().enumerate().any(sent_last), "some are out of order: {told:?}");
    assert_eq!(told.iter().filter(|(_, status)| status == "undelivered").count(), 1);
}

#[tokio::test]
async fn who_says_stop_is_refused_until_they_say_start() {
    let customer = Customer::who_says("<Response/>").await;
    let twilio = start(Options::default()).await;
    twilio.callbacks().aim(customer.url());
    let message = create(&[("To", "+15558675310"), ("From", "+15557122661"), ("Body", "x")]);
    assert!(twilio.reply("+15558675310", "+15557122661", " stop").await);
    let stop = customer.calls(1).await.remove(0);
    assert_signed(&stop, &customer.url());
    assert_eq!(form::value(&fields(&stop), "OptOutType"), Some("STOP"));
    assert_eq!(code(exchange(twilio.addr(), &message).await), (400, 21610));
    assert!(twilio.reply("+15558675310", "+15557122661", "START").await);
    assert_eq!(exchange(twilio.addr(), &message).await.unwrap().0, 201);
}
