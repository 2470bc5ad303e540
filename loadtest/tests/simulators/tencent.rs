//! Tencent Cloud: its signature, a code for each number, its receipts.

use std::ops::Range;
use std::time::Duration;

use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::clock::{Clock, utc};
use campaignd_loadtest::digest::{hmac_sha256, sha256_hex};
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::tally::Counts;
use campaignd_loadtest::tencent::{Options, Tencent, same_content};
use serde_json::{Value, json};

use crate::CAPTURED;
use crate::wire::{Customer, altered, exchange, places, post, requests};

const TC3: &[u8] = include_bytes!("../../captures/tencent_tc3.txt");
const NODE: &[u8] = include_bytes!("../../captures/tencent_nodejs.txt");
const NODE_CAPTURED: i64 = 1_795_303_473;
const SIGNED: [&str; 4] = ["content-type", "host", "x-tc-timestamp", "authorization"];

async fn start(options: Options) -> Tencent {
    Tencent::start("127.0.0.1:0", options).await.expect("a free port")
}

fn at(seconds: i64) -> Options {
    Options { clock: Clock::pinned(seconds), ..Options::default() }
}

/// The code of the call as a whole, empty where it was taken.
fn error(answer: Option<(u16, Value)>) -> String {
    let (status, body) = answer.expect("an answer");
    if status != 200 {
        return format!("HTTP {status}");
    }
    body["Response"]["Error"]["Code"].as_str().unwrap_or_default().to_owned()
}

/// Each byte of these places changed in turn is refused; as it was captured the request is taken.
async fn only_as_captured(request: &[u8], seconds: i64, places: &[Range<usize>]) {
    let tencent = start(at(seconds)).await;
    for altered in altered(request, places) {
        let shown = String::from_utf8_lossy(&altered).into_owned();
        let answer = exchange(tencent.addr(), &altered).await;
        assert!(answer.is_none() || !error(answer).is_empty(), "taken, though altered: {shown}");
    }
    assert_eq!(tencent.tally().counts(), Counts::default());
    assert_eq!(error(exchange(tencent.addr(), request).await), "");
}

#[tokio::test]
async fn requests_of_the_python_client_hold_in_every_byte() {
    for request in requests(TC3) {
        only_as_captured(&request, CAPTURED, &places(&request, &SIGNED)).await;
    }
}

#[tokio::test]
async fn a_request_of_the_node_client_holds_in_every_byte_but_its_port() {
    let request = requests(NODE).remove(0);
    let mut places = places(&request, &SIGNED);
    // Method, target and body come first, then the headers as they are named.
    let host = &mut places[4];
    host.end -= ":18083".len();
    only_as_captured(&request, NODE_CAPTURED, &places).await;
}

#[tokio::test]
async fn a_request_is_fresh_for_five_minutes() {
    for (seconds, wanted) in
        [(-301, "AuthFailure.SignatureExpire"), (-300, ""), (300, ""), (301, "AuthFailure.SignatureExpire")]
    {
        let tencent = start(at(CAPTURED + seconds)).await;
        assert_eq!(error(exchange(tencent.addr(), &requests(TC3)[0]).await), wanted);
    }
}

/// A request signed now, as the simulator's clock has it.
fn signed(now: i64, action: &str, body: &Value) -> Vec<u8> {
    let (body, date) = (body.to_string(), utc(now, "%F"));
    let canonical = format!(
        "POST\n/\n\ncontent-type:application/json\nhost:h\n\ncontent-type;host\n{}",
        sha256_hex(body.as_bytes())
    );
    let scope = format!("{date}/sms/tc3_request");
    let to_sign = format!("TC3-HMAC-SHA256\n{now}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let key = [date.as_str(), "sms", "tc3_request", &to_sign]
        .iter()
        .fold(b"TC3testSecretKey".to_vec(), |key, part| hmac_sha256(&key, part.as_bytes()));
    let signature = hex::encode(key);
    let authorization = format!(
        "TC3-HMAC-SHA256 Credential=AKIDtestSecretId/{scope}, SignedHeaders=content-type;host, Signature={signature}"
    );
    let headers = [
        ("host", "h".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("x-tc-action", action.to_owned()),
        ("x-tc-version", "2021-01-11".to_owned()),
        ("x-tc-timestamp", now.to_string()),
        ("authorization", authorization),
    ];
    post("/", &headers, &body)
}

fn sms(now: i64, numbers: &[&str], params: &[&str]) -> Vec<u8> {
    let body = json!({
        "PhoneNumberSet": numbers, "SmsSdkAppId": "1400006666", "SignName": "店", "TemplateId": "7",
        "TemplateParamSet": params, "SessionContext": "c",
    });
    signed(now, "SendSms", &body)
}

async fn codes(tencent: &Tencent, request: &[u8]) -> Vec<String> {
    let (_, body) = exchange(tencent.addr(), request).await.expect("an answer");
    let set = body["Response"]["SendStatusSet"].as_array().expect("a call that was taken").clone();
    set.iter().map(|status| status["Code"].as_str().expect("a code").to_owned()).collect()
}

#[tokio::test]
async fn each_number_has_a_code_of_its_own() {
    let rules = vec![Rule::to("+8613800000009").code("FailedOperation.PhoneNumberInBlacklist")];
    let templates = [("7".to_owned(), "您好{1}".to_owned())].into();
    let marketing = ["7".to_owned()].into();
    let clock = Clock::pinned(CAPTURED);
    let options = Options {
        clock: clock.clone(),
        templates,
        marketing,
        content_caps: same_content(),
        rules,
        ..Options::default()
    };
    let tencent = start(options).await;
    let numbers = ["+8613800000001", "+8613800000009", "+861380000000", "+8613800000001"];
    let wanted = [
        "Ok",
        "FailedOperation.PhoneNumberInBlacklist",
        "InvalidParameterValue.IncorrectPhoneNumber",
        "LimitExceeded.PhoneNumberThirtySecondLimit",
    ];
    assert_eq!(codes(&tencent, &sms(CAPTURED, &numbers, &["a"])).await, wanted);
    assert_eq!(tencent.tally().counts(), Counts { messages: 1, recipients: 1, repeated: 0 });
    assert_eq!(
        codes(&tencent, &sms(CAPTURED, &["+8613800000002"], &[])).await,
        ["FailedOperation.TemplateParamSetNotMatchApprovedTemplate"]
    );
    // 8 o'clock in Beijing is midnight in UTC.
    clock.pin(CAPTURED - 1);
    assert_eq!(
        codes(&tencent, &sms(CAPTURED - 1, &["+8613800000003"], &["a"])).await,
        ["FailedOperation.MarketingSendTimeConstraint"]
    );
}

#[tokio::test]
async fn a_call_can_be_refused_whole() {
    let rules =
        vec![Rule::nth(4).code("InternalError.Timeout"), Rule::nth(5).cut_after(), Rule::nth(6).status(502)];
    let tencent = start(Options { rules, ..at(CAPTURED) }).await;
    let many = vec!["+8613800000001"; 201];
    let send = |numbers: &[&str]| sms(CAPTURED, numbers, &[]);
    let mixed = ["+8613800000001", "+15558675310"];
    let code = "UnsupportedOperation.ContainDomesticAndInternationalPhoneNumber";
    assert_eq!(error(exchange(tencent.addr(), &send(&many)).await), "LimitExceeded.PhoneNumberCountLimit");
    assert_eq!(error(exchange(tencent.addr(), &send(&mixed)).await), code);
    let foreign = signed(CAPTURED, "SendSms", &json!({"SmsSdkAppId": "1"}));
    assert_eq!(
        error(exchange(tencent.addr(), &foreign).await),
        "UnauthorizedOperation.SmsSdkAppIdVerifyFail"
    );
    assert_eq!(error(exchange(tencent.addr(), &send(&["+8613800000001"])).await), "InternalError.Timeout");
    assert_eq!(tencent.tally().counts().messages, 0);
    assert_eq!(exchange(tencent.addr(), &send(&["+8613800000002"])).await, None);
    assert_eq!(tencent.tally().to("+8613800000002"), 1, "taken, though not answered");
    assert_eq!(error(exchange(tencent.addr(), &send(&["+8613800000003"])).await), "HTTP 502");
}

#[tokio::test]
async fn receipts_are_posted_and_pulled() {
    let customer = Customer::who_says(r#"{"result":0,"errmsg":"OK"}"#).await;
    let rules = vec![Rule::to("+8613800000002").receipt("MK:0005")];
    let receipts = Plan { after: Duration::from_millis(1), ..Plan::default() };
    let tencent = start(Options { rules, receipts, ..at(CAPTURED) }).await;
    tencent.callbacks().aim(customer.url());
    let request = sms(CAPTURED, &["+8613800000001", "+8613800000002"], &[]);
    let (_, answer) = exchange(tencent.addr(), &request).await.unwrap();
    let statuses = &answer["Response"]["SendStatusSet"];
    let mut entries = customer.entries(2).await;
    entries.sort_by_key(|entry| entry["mobile"].to_string());
    let wanted = json!({
        "user_receive_time": "2026-11-21 08:00:00", "nationcode": "86", "mobile": "13800000001",
        "report_status": "SUCCESS", "errmsg": "DELIVRD", "description": "DELIVRD", "sid": statuses[0]["SerialNo"],
    });
    assert_eq!(entries[0], wanted);
    assert_eq!(
        (&entries[1]["report_status"], &entries[1]["sid"]),
        (&json!("FAIL"), &statuses[1]["SerialNo"])
    );
    let pull = |action: &str| signed(CAPTURED, action, &json!({"Limit": 100, "SmsSdkAppId": "1400006666"}));
    for wanted in [2, 0] {
        let (_, pulled) = exchange(tencent.addr(), &pull("PullSmsSendStatus")).await.unwrap();
        let set = pulled["Response"]["PullSmsSendStatusSet"].as_array().unwrap();
        assert_eq!(set.len(), wanted, "each status is pulled once");
    }
    assert!(tencent.reply("+8613800000001", "店", "T").await);
    let (_, pulled) = exchange(tencent.addr(), &pull("PullSmsReplyStatus")).await.unwrap();
    assert_eq!(pulled["Response"]["PullSmsReplyStatusSet"][0]["ReplyContent"], "T");
}
