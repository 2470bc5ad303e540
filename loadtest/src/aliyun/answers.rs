//! The service's answers.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Message, Refusal};
use crate::clock::beijing;
use crate::http::Answer;

/// In the form of a UUID, as the service's are.
pub(super) fn request_id(number: u64) -> String {
    format!("5A4D3C2B-0000-4000-8000-{number:012X}")
}

pub(super) fn taken(biz_id: &str, request_id: &str) -> Answer {
    let body = json!({"Code": "OK", "Message": "OK", "BizId": biz_id, "RequestId": request_id});
    Answer::json(StatusCode::OK, &body)
}

pub(super) fn refused(refusal: &Refusal, request_id: &str) -> Answer {
    let mut body = json!({"Code": refusal.code, "Message": refusal.message, "RequestId": request_id});
    if refusal.status != 200 {
        body["HostId"] = "dysmsapi.aliyuncs.com".into();
    }
    Answer::json(StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST), &body)
}

/// The refusal that a rule asks for by its code alone. Codes of the service begin with `isv.` or `isp.`; all others
/// are the gateway's.
pub(super) fn scripted(code: &str) -> Refusal {
    let message = match code {
        "isv.BUSINESS_LIMIT_CONTROL" => "触发分钟级流控Permits:1",
        _ => "refused by the script",
    };
    match code.split('.').next() {
        Some("isv" | "isp") => Refusal::service(code, message),
        Some("ServiceUnavailable") => Refusal::gateway(503, code, message),
        Some("InternalError") => Refusal::gateway(500, code, message),
        Some("Forbidden") => Refusal::gateway(403, code, message),
        _ => Refusal::gateway(400, code, message),
    }
}

/// Documented at <https://help.aliyun.com/document_detail/419277.html> (`QuerySendDetails`).
pub(super) fn details(page: &[Message], total: usize, request_id: &str) -> Answer {
    let details: Vec<Value> = page
        .iter()
        .map(|message| {
            json!({
                "PhoneNum": message.phone_number,
                "SendStatus": if message.err_code == "DELIVERED" { 3 } else { 2 },
                "ErrCode": message.err_code,
                "TemplateCode": message.template_code,
                "Content": format!("【{}】{}", message.sign_name, message.template_param),
                "SendDate": beijing(message.sent_at, "%F %T"),
                "ReceiveDate": beijing(message.sent_at, "%F %T"),
                "OutId": message.out_id,
            })
        })
        .collect();
    let body = json!({
        "Code": "OK",
        "Message": "OK",
        "RequestId": request_id,
        "TotalCount": total.to_string(),
        "SmsSendDetailDTOs": {"SmsSendDetailDTO": details},
    });
    Answer::json(StatusCode::OK, &body)
}
