//! What Tencent Cloud pushes: receipts as a list, a reply as one object, unsigned, to a path with a secret end.
//! <https://cloud.tencent.com/document/product/382/52077>

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::told;
use crate::config::{Codes, TencentSettings};
use crate::model::Receipt;
use crate::model::receipt::About;
use crate::provider::secret_path::SecretPath;
use crate::provider::sms::beijing::instant;
use crate::provider::{Hook, HookAnswer, HookRefusal, HookRequest};

/// The answer that ends the repeats.
const TAKEN: &str = r#"{"result":0,"errmsg":"OK"}"#;

/// The hook of the account `name`; none without a `hook_secret`.
pub fn hook(name: &str, settings: &TencentSettings) -> Option<Arc<dyn Hook>> {
    let secret = SecretPath::new(settings.hook_secret.clone()?);
    Some(Arc::new(TencentHook { name: name.to_owned(), secret, codes: settings.codes.clone() }))
}

#[derive(Debug)]
struct TencentHook {
    name: String,
    secret: SecretPath,
    codes: Codes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Call {
    Statuses(Vec<Status>),
    Reply(Reply),
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    user_receive_time: String,
    report_status: String,
    #[serde(default)]
    errmsg: String,
    #[serde(default)]
    description: String,
    sid: String,
}

#[derive(Deserialize)]
struct Reply {
    mobile: String,
    nationcode: String,
    text: String,
    /// Seconds since 1970.
    time: i64,
}

impl Hook for TencentHook {
    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
        self.secret.check(request)?;
        if request.method != Method::POST {
            let detail = "Tencent Cloud posts receipts and replies".to_owned();
            return Err(HookRefusal { status: StatusCode::METHOD_NOT_ALLOWED, detail });
        }
        let call: Call = serde_json::from_slice(&request.body).map_err(|error| HookRefusal {
            status: StatusCode::BAD_REQUEST,
            detail: format!("neither a list of receipts nor a reply: {error}"),
        })?;
        let now = Timestamp::now();
        let receipts = match call {
            Call::Statuses(statuses) => {
                statuses.iter().flat_map(|status| self.reported(status, now)).collect()
            }
            Call::Reply(reply) => self.replied(&reply, now).into_iter().collect(),
        };
        Ok(HookAnswer {
            receipts,
            content_type: Some("application/json"),
            body: Bytes::from_static(TAKEN.as_bytes()),
        })
    }
}

impl TencentHook {
    fn reported(&self, status: &Status, now: Timestamp) -> Vec<Receipt> {
        let status = told::Status {
            about: About::reference(&self.name, &status.sid),
            serial_no: &status.sid,
            at: instant(&status.user_receive_time),
            success: status.report_status == "SUCCESS",
            code: &status.errmsg,
            words: &status.description,
        };
        told::reported(&self.name, &self.codes, &status, now)
    }

    fn replied(&self, reply: &Reply, now: Timestamp) -> Option<Receipt> {
        let number = format!("+{}{}", reply.nationcode.trim_start_matches('+'), reply.mobile);
        let reply = told::Reply { number: &number, text: &reply.text, time: reply.time };
        told::replied(&self.name, &reply, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::model::receipt::{Bounce, News};
    use crate::model::{Channel, Reason};

    const SECRET: &str = "0123456789abcdef";

    fn receive(tail: &str, body: &str) -> Result<Vec<Receipt>, StatusCode> {
        let secret = SecretPath::new(Secret::new(SECRET));
        let hook = TencentHook { name: "qq".to_owned(), secret, codes: Codes::default() };
        let request = HookRequest {
            method: Method::POST,
            tail: tail.to_owned(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: [127, 0, 0, 1].into(),
        };
        let answer = hook.receive(&request).map_err(|refusal| refusal.status)?;
        assert_eq!(answer.body, r#"{"result":0,"errmsg":"OK"}"#);
        Ok(answer.receipts)
    }

    fn status(status: &str, code: &str) -> String {
        format!(
            r#"[{{"user_receive_time":"2015-10-17 08:03:04","nationcode":"86","mobile":"13800000001",
            "report_status":"{status}","errmsg":"{code}","description":"to 13800000001","sid":"5000:1"}}]"#
        )
    }

    #[test]
    fn statuses_are_of_the_serial_number() {
        let bounced = |bounce, reason| News::Bounced { bounce, reason };
        for (body, news) in [
            (status("SUCCESS", "DELIVRD"), vec![News::Delivered]),
            (status("FAIL", "MK:0001"), vec![bounced(Bounce::Hard, Reason::UnknownRecipient)]),
            (
                status("FAIL", "MBBLACK"),
                vec![bounced(Bounce::Block, Reason::RecipientRefused), News::Unsubscribed],
            ),
        ] {
            let receipts = receive(SECRET, &body).unwrap();
            assert_eq!(receipts.iter().map(|receipt| receipt.news.clone()).collect::<Vec<_>>(), news);
            let reference = About::Reference { provider: "qq".to_owned(), reference: "5000:1".to_owned() };
            assert!(receipts.iter().all(|receipt| receipt.about == reference));
            assert_eq!(receipts[0].at.to_string(), "2015-10-17T00:03:04Z");
            assert!(!receipts[0].detail.as_ref().unwrap().contains("13800000001"));
            assert_eq!(receive(SECRET, &body).unwrap()[0].id, receipts[0].id);
        }
    }

    #[test]
    fn replies_are_of_the_number() {
        for (text, news) in [("T", News::Unsubscribed), ("谢谢", News::Replied)] {
            let body = format!(
                r#"{{"extend":"","mobile":"13800000001","nationcode":"86","sign":"商店","text":"{text}","time":1457336869}}"#
            );
            let receipts = receive(SECRET, &body).unwrap();
            let address = "+8613800000001".to_owned();
            assert_eq!(receipts[0].about, About::Address { channel: Channel::Sms, address });
            assert_eq!((&receipts[0].news, receipts[0].at.as_second()), (&news, 1_457_336_869));
        }
        let nobody = r#"{"extend":"","mobile":"1*","nationcode":"86","sign":"","text":"T","time":1}"#;
        assert_eq!(receive(SECRET, nobody), Ok(Vec::new()));
    }

    #[test]
    fn calls_of_others_and_nonsense_are_refused() {
        assert_eq!(receive("", "[]"), Err(StatusCode::NOT_FOUND));
        assert_eq!(receive("0123456789abcdee", "[]"), Err(StatusCode::NOT_FOUND));
        for body in ["", "{}", "[{}]", "[1]", "nonsense"] {
            assert_eq!(receive(SECRET, body), Err(StatusCode::BAD_REQUEST), "{body}");
        }
        assert_eq!(receive(SECRET, "[]"), Ok(Vec::new()));
    }
}
