//! Aliyun: both signatures, its refusals, its receipts.

use std::time::Duration;

use campaignd_loadtest::aliyun::{Aliyun, Options, one_time_codes};
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::clock::{Clock, utc};
use campaignd_loadtest::digest::hmac_sha1_base64;
use campaignd_loadtest::http::form;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::tally::Counts;
use serde_json::{Value, json};

use crate::CAPTURED;
use crate::wire::{Customer, altered, exchange, places, refused, requests};

const ACS3: &[u8] = include_bytes!("../../captures/aliyun_acs3.txt");
const NODE: &[u8] = include_bytes!("../../captures/aliyun_nodejs.txt");
const RPC: &[u8] = include_bytes!("../../captures/aliyun_rpc_v1.txt");
/// 2026-11-21T17:45:29Z.
const NODE_CAPTURED: i64 = 1_795_283_129;

async fn start(options: Options) -> Aliyun {
    Aliyun::start("127.0.0.1:0", options).await.expect("a free port")
}

fn at(seconds: i64) -> Options {
    Options { clock: Clock::pinned(seconds), ..Options::default() }
}

/// Each byte of `signed` changed in turn is refused; as it was captured the request is taken, once.
async fn only_as_captured(request: &[u8], seconds: i64, signed: &[&str]) {
    let aliyun = start(at(seconds)).await;
    for altered in altered(request, &places(request, signed)) {
        let shown = String::from_utf8_lossy(&altered).into_owned();
        assert!(refused(exchange(aliyun.addr(), &altered).await), "taken, though altered: {shown}");
    }
    assert_eq!(aliyun.tally().counts().messages, 0);
    assert_eq!(code(exchange(aliyun.addr(), request).await), (200, "OK".to_owned()));
    let again = code(exchange(aliyun.addr(), request).await);
    assert_eq!(again, (400, "SignatureNonceUsed".to_owned()));
}

fn code(answer: Option<(u16, Value)>) -> (u16, String) {
    let (status, body) = answer.expect("an answer");
    (status, body["Code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn requests_of_the_python_client_hold_in_every_byte() {
    for request in requests(ACS3) {
        let text = String::from_utf8_lossy(&request).into_owned();
        let names = text.split_once("SignedHeaders=").unwrap().1.split_once(',').unwrap().0;
        let signed: Vec<_> = names.split(';').chain(["authorization"]).collect();
        only_as_captured(&request, CAPTURED, &signed).await;
    }
}

#[tokio::test]
async fn a_request_of_the_node_client_holds_in_every_byte() {
    let request = requests(NODE).remove(0);
    let signed =
        ["host", "x-acs-action", "x-acs-date", "x-acs-signature-nonce", "x-acs-version", "authorization"];
    only_as_captured(&request, NODE_CAPTURED, &signed).await;
}

#[tokio::test]
async fn requests_of_the_older_client_hold_in_every_byte() {
    for request in requests(RPC) {
        only_as_captured(&request, CAPTURED, &[]).await;
    }
}

#[tokio::test]
async fn a_request_is_fresh_for_a_quarter_of_an_hour() {
    for (seconds, wanted) in [
        (CAPTURED - 901, "InvalidTimeStamp.Expired"),
        (CAPTURED - 900, "OK"),
        (CAPTURED + 900, "OK"),
        (CAPTURED + 901, "InvalidTimeStamp.Expired"),
    ] {
        let aliyun = start(at(seconds)).await;
        for request in requests(ACS3) {
            // Their nonces are one and the same: each needs a service of its own.
            let aliyun = start(at(seconds)).await;
            assert_eq!(code(exchange(aliyun.addr(), &request).await).1, wanted, "at {seconds}");
        }
        assert_eq!(code(exchange(aliyun.addr(), &requests(RPC)[0]).await).1, wanted, "at {seconds}");
    }
}

/// A request by signature v1, with a nonce of its own.
fn signed(nonce: u32, action: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    let (nonce, time) = (nonce.to_string(), utc(CAPTURED, "%FT%TZ"));
    let mut pairs = vec![
        ("AccessKeyId", "testAccessKeyId"),
        ("Action", action),
        ("Format", "JSON"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", &nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", &time),
        ("Version", "2017-05-25"),
    ];
    pairs.extend_from_slice(parameters);
    pairs.sort_unstable();
    let query = form::write(pairs);
    let signature =
        hmac_sha1_base64(b"testAccessKeySecret&", format!("GET&%2F&{}", form::encode(&query)).as_bytes());
    format!("GET /?{query}&Signature={} HTTP/1.1\r\nhost: h\r\n\r\n", form::encode(&signature)).into_bytes()
}

fn sms(nonce: u32, numbers: &str, param: &str) -> Vec<u8> {
    let parameters = [
        ("PhoneNumbers", numbers),
        ("SignName", "店"),
        ("TemplateCode", "SMS_1"),
        ("TemplateParam", param),
        ("OutId", "o"),
    ];
    signed(nonce, "SendSms", &parameters)
}

#[tokio::test]
async fn a_call_is_taken_or_refused_whole() {
    let templates = [("SMS_1".to_owned(), "您好${name}".to_owned())].into();
    let rules = vec![Rule::to("13800000009").code("isv.DOMESTIC_NUMBER_NOT_SUPPORTED")];
    let aliyun = start(Options { templates, rules, ..at(CAPTURED) }).await;
    let too_many = vec!["13800000001"; 1001].join(",");
    let param = r#"{"name":"a"}"#;
    for (nonce, (numbers, param, wanted)) in (0..).zip([
        ("13800000001,1380000000", param, "isv.MOBILE_NUMBER_ILLEGAL"),
        ("13800000001,13800000009", param, "isv.DOMESTIC_NUMBER_NOT_SUPPORTED"),
        (&too_many, param, "isv.MOBILE_COUNT_OVER_LIMIT"),
        ("13800000001", "{}", "isv.TEMPLATE_MISSING_PARAMETERS"),
        ("13800000001", r#"{"name":1}"#, "isv.TEMPLATE_PARAMS_ILLEGAL"),
        ("13800000001", "name", "isv.INVALID_JSON_PARAM"),
    ]) {
        let answer = exchange(aliyun.addr(), &sms(nonce, numbers, param)).await;
        assert_eq!(code(answer), (200, wanted.to_owned()));
    }
    assert_eq!(aliyun.tally().counts(), Counts::default(), "nobody of a refused call gets anything");
    assert_eq!(code(exchange(aliyun.addr(), &sms(10, "13800000001,+8613800000002", param)).await).1, "OK");
    assert_eq!(aliyun.tally().counts(), Counts { messages: 2, recipients: 2, repeated: 0 });
    assert_eq!(code(exchange(aliyun.addr(), &sms(11, "13800000001", param)).await).1, "OK");
    assert_eq!(aliyun.tally().counts(), Counts { messages: 3, recipients: 2, repeated: 1 });
    let batch = [
        ("PhoneNumberJson", r#"["13800000003","13800000004"]"#),
        ("SignNameJson", r#"["店","店"]"#),
        ("TemplateParamJson", r#"[{"name":"x"},{"name":"y"}]"#),
        ("TemplateCode", "SMS_1"),
    ];
    assert_eq!(code(exchange(aliyun.addr(), &signed(12, "SendBatchSms", &batch)).await).1, "OK");
    assert_eq!(aliyun.tally().newest()[4].template_param, r#"{"name":"y"}"#);
    let uneven = signed(13, "SendBatchSms", &[batch[0], ("SignNameJson", r#"["店"]"#), batch[3]]);
    assert_eq!(code(exchange(aliyun.addr(), &uneven).await).1, "isv.INVALID_PARAMETERS");
}

#[tokio::test]
async fn quotas_are_kept_for_the_account_and_for_a_number() {
    let clock = Clock::pinned(CAPTURED);
    let aliyun = start(Options { clock: clock.clone(), caps: one_time_codes(), ..Options::default() }).await;
    let send = |nonce| sms(nonce, "13800000001", "");
    assert_eq!(code(exchange(aliyun.addr(), &send(1)).await).1, "OK");
    let (status, body) = exchange(aliyun.addr(), &send(2)).await.unwrap();
    assert_eq!((status, body["Code"].as_str()), (200, Some("isv.BUSINESS_LIMIT_CONTROL")));
    assert_eq!(body["Message"], "触发分钟级流控Permits:1");
    assert_eq!(code(exchange(aliyun.addr(), &sms(3, "13800000002", "")).await).1, "OK", "another number");
    clock.pin(CAPTURED + 60);
    assert_eq!(code(exchange(aliyun.addr(), &send(4)).await).1, "OK", "the next minute");

    let aliyun = start(Options { qps: Some(0.000_1), ..at(CAPTURED) }).await;
    assert_eq!(code(exchange(aliyun.addr(), &send(5)).await).1, "OK");
    assert_eq!(code(exchange(aliyun.addr(), &send(6)).await), (400, "Throttling.User".to_owned()));
}

#[tokio::test]
async fn connections_are_cut_before_and_after_a_message_is_taken() {
    let rules = vec![
        Rule::nth(1).cut_before(),
        Rule::nth(2).wait(Duration::from_millis(1)).cut_after(),
        Rule::nth(3).status(503),
        Rule::nth(4).code("Throttling.User"),
        Rule::nth(5).code("isp.SYSTEM_ERROR"),
    ];
    let aliyun = start(Options { rules, ..at(CAPTURED) }).await;
    let mut seen = Vec::new();
    for nonce in 1..=6 {
        let answer = exchange(aliyun.addr(), &sms(nonce, &format!("1380000000{nonce}"), "")).await;
        seen.push(answer.map(|answer| code(Some(answer))));
    }
    let said = |status, code: &str| Some((status, code.to_owned()));
    let wanted = [
        None,
        None,
        said(503, ""),
        said(400, "Throttling.User"),
        said(200, "isp.SYSTEM_ERROR"),
        said(200, "OK"),
    ];
    assert_eq!(seen, wanted);
    let taken: Vec<_> = aliyun.tally().newest().into_iter().map(|message| message.phone_number).collect();
    assert_eq!(taken, ["13800000002", "13800000006"]);
}

#[tokio::test]
async fn receipts_come_twice_and_late_and_before_the_answer() {
    let customer = Customer::who_says(r#"{"code":0,"msg":"成功"}"#).await;
    let receipts = Plan { early: 1.0, repeated: 1.0, ..Plan::default() };
    let rules = vec![Rule::to("13800000002").receipt("MK:0001")];
    let aliyun = start(Options { receipts, rules, ..at(CAPTURED) }).await;
    aliyun.callbacks().aim(customer.url());
    let (_, answer) = exchange(aliyun.addr(), &sms(1, "13800000001,13800000002", "")).await.unwrap();
    assert!(aliyun.callbacks().counts().taken >= 2, "both were taken before the answer");
    let entries = customer.entries(4).await;
    let about =
        |number: &str| entries.iter().filter(|entry| entry["phone_number"] == number).collect::<Vec<_>>();
    let (good, bad) = (about("13800000001"), about("13800000002"));
    assert_eq!((good.len(), bad.len()), (2, 2));
    let wanted = json!({
        "phone_number": "13800000001", "send_time": "2026-11-21 08:00:00", "report_time": "2026-11-21 08:00:00",
        "success": true, "err_code": "DELIVERED", "err_msg": "用户接收成功", "sms_size": "1",
        "biz_id": answer["BizId"], "out_id": "o",
    });
    assert_eq!(*good[0], wanted);
    assert_eq!((&bad[0]["success"], &bad[0]["err_code"]), (&json!(false), &json!("MK:0001")));
    assert!(aliyun.reply("13800000001", "1234", "T").await);
    let reply = customer.entries(5).await.into_iter().find(|entry| entry["content"] == "T").unwrap();
    assert_eq!(reply["dest_code"], "1234");
    let question =
        [("PhoneNumber", "13800000002"), ("SendDate", "20261121"), ("PageSize", "10"), ("CurrentPage", "1")];
    let (_, details) = exchange(aliyun.addr(), &signed(2, "QuerySendDetails", &question)).await.unwrap();
    let found = &details["SmsSendDetailDTOs"]["SmsSendDetailDTO"][0];
    assert_eq!(
        (&found["OutId"], &found["SendStatus"], &found["ErrCode"]),
        (&json!("o"), &json!(2), &json!("MK:0001"))
    );
}

#[tokio::test]
async fn a_receipt_is_posted_again_until_the_customer_takes_it() {
    let customer = Customer::who_says(r#"{"code":1}"#).await;
    let moment = Duration::from_millis(1);
    let receipts = Plan { after: moment, retries: vec![moment, moment], ..Plan::default() };
    let aliyun = start(Options { receipts, ..at(CAPTURED) }).await;
    aliyun.callbacks().aim(customer.url());
    exchange(aliyun.addr(), &sms(1, "13800000001", "")).await.unwrap();
    assert_eq!(customer.entries(3).await.len(), 3);
    aliyun.callbacks().settled(|counts| counts.given_up == 1).await;
    assert_eq!(aliyun.callbacks().counts().taken, 0);
}
