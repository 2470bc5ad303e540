//! The service's calls to the customer: `SmsReport` and `SmsUp`, arrays of JSON, unsigned.
//!
//! <https://help.aliyun.com/document_detail/101867.html>: the customer answers 200 with `{"code": 0}`.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use super::Message;
use crate::callback::{Callback, Post};
use crate::clock::beijing;

/// What the service tells.
#[derive(Debug, Clone)]
pub enum Receipt {
    /// What became of a message, which went in `size` parts.
    Report { message: Message, size: u32 },
    /// What a recipient answered, at so many seconds since 1970.
    Reply { phone_number: String, dest_code: String, content: String, at: i64, sequence_id: u64 },
}

impl Receipt {
    fn written(&self) -> Value {
        match self {
            Receipt::Report { message, size } => {
                let success = message.err_code == "DELIVERED";
                json!({
                    "phone_number": message.phone_number,
                    "send_time": beijing(message.sent_at, "%F %T"),
                    "report_time": beijing(message.sent_at, "%F %T"),
                    "success": success,
                    "err_code": message.err_code,
                    "err_msg": if success { "用户接收成功" } else { "用户接收失败" },
                    "sms_size": size.to_string(),
                    "biz_id": message.biz_id,
                    "out_id": message.out_id,
                })
            }
            Receipt::Reply { phone_number, dest_code, content, at, sequence_id } => json!({
                "phone_number": phone_number,
                "send_time": beijing(*at, "%F %T"),
                "content": content,
                "dest_code": dest_code,
                "sequence_id": sequence_id.to_string(),
            }),
        }
    }
}

/// How the service writes its calls.
#[derive(Debug)]
pub struct Reports;

impl Callback for Reports {
    type Receipt = Receipt;

    fn post(&self, url: Option<&str>, receipts: &[Receipt]) -> Option<Post> {
        let body = Value::Array(receipts.iter().map(Receipt::written).collect());
        let kind = HeaderValue::from_static("application/json;charset=UTF-8");
        Some(Post {
            url: url?.to_owned(),
            headers: vec![(CONTENT_TYPE, kind)],
            body: body.to_string().into(),
        })
    }

    fn took(&self, status: u16, body: &[u8]) -> bool {
        let code = |answer: Value| answer.get("code").and_then(Value::as_i64);
        status == 200 && serde_json::from_slice(body).ok().and_then(code) == Some(0)
    }
}
