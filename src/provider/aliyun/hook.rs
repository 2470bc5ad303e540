//! What Aliyun pushes: receipts (`SmsReport`) and replies (`SmsUp`), unsigned, to a path with a secret end.
//! <https://help.aliyun.com/document_detail/101508.html>
//!
//! Both may come to the same path: each entry shows by its fields what it is.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tracing::warn;
use uuid::Uuid;

use super::answer::of_number;
use super::number::canonical;
use crate::config::{AliyunSettings, Codes};
use crate::model::opt_out::opts_out;
use crate::model::receipt::{About, News};
use crate::model::{Channel, DeliveryKey, Receipt};
use crate::provider::secret_path::SecretPath;
use crate::provider::sms::beijing::instant;
use crate::provider::sms::{carrier, told};
use crate::provider::{Hook, HookAnswer, HookRefusal, HookRequest};

/// The answer that ends the repeats.
const TAKEN: &str = r#"{"code":0,"msg":"成功"}"#;

/// The hook of the account `name`; none without a `hook_secret`.
pub fn hook(name: &str, settings: &AliyunSettings) -> Option<Arc<dyn Hook>> {
    let secret = SecretPath::new(settings.hook_secret.clone()?);
    Some(Arc::new(AliyunHook { name: name.to_owned(), secret, codes: settings.codes.clone() }))
}

#[derive(Debug)]
struct AliyunHook {
    name: String,
    secret: SecretPath,
    codes: Codes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Report(Report),
    Reply(Reply),
}

#[derive(Deserialize)]
struct Report {
    phone_number: String,
    success: bool,
    #[serde(default)]
    report_time: String,
    #[serde(default)]
    err_code: String,
    #[serde(default)]
    err_msg: String,
    biz_id: String,
    #[serde(default)]
    out_id: Option<String>,
}

#[derive(Deserialize)]
struct Reply {
    phone_number: String,
    content: String,
    #[serde(default)]
    send_time: String,
    /// A number or a text.
    sequence_id: Value,
}

impl Hook for AliyunHook {
    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
        self.secret.check(request)?;
        if request.method != Method::POST {
            let detail = "Aliyun posts receipts and replies".to_owned();
            return Err(HookRefusal { status: StatusCode::METHOD_NOT_ALLOWED, detail });
        }
        let nonsense = |why: &str| HookRefusal {
            status: StatusCode::BAD_REQUEST,
            detail: format!("neither a list of receipts nor of replies{why}"),
        };
        let told: Vec<Value> =
            serde_json::from_slice(&request.body).map_err(|error| nonsense(&format!(": {error}")))?;
        // One entry that nobody understands must not cost those beside it.
        let read: Vec<Told> = told.iter().filter_map(|entry| Told::deserialize(entry).ok()).collect();
        match (told.len() - read.len(), read.is_empty()) {
            (0, _) => {}
            (_, true) => return Err(nonsense("")),
            (others, _) => warn!(provider = self.name, others, "entries of Aliyun's cannot be read"),
        }
        let now = Timestamp::now();
        let receipts = read.into_iter().flat_map(|told| match told {
            Told::Report(report) => self.reported(&report, now),
            Told::Reply(reply) => self.replied(&reply, now).into_iter().collect(),
        });
        Ok(HookAnswer {
            receipts: receipts.collect(),
            content_type: Some("application/json"),
            body: Bytes::from_static(TAKEN.as_bytes()),
        })
    }
}

/// Of a receipt, however it came; `key` names the message, which may be told of more than once.
pub(super) fn id(account: &str, key: &str, err_code: &str, news: &News) -> Uuid {
    Receipt::id(account, key, &format!("{err_code} {}", news.as_str()))
}

impl AliyunHook {
    fn reported(&self, report: &Report, now: Timestamp) -> Vec<Receipt> {
        let delivery = report.out_id.as_deref().and_then(|out_id| out_id.parse::<DeliveryKey>().ok());
        let (about, key) = match (delivery, canonical(&report.phone_number)) {
            (Some(delivery), _) => (About::Delivery(delivery), delivery.to_string()),
            (None, Some(number)) => {
                let reference = of_number(&report.biz_id, &number);
                (About::Reference { provider: self.name.clone(), reference: reference.clone() }, reference)
            }
            // A masked number without a key names nobody.
            (None, None) => return Vec::new(),
        };
        let at = Receipt::happened(instant(&report.report_time), now);
        let detail = told(&report.err_code, &report.err_msg);
        let receipt = |news: News| Receipt {
            id: id(&self.name, &key, &report.err_code, &news),
            about: about.clone(),
            at,
            detail: Some(detail.clone()).filter(|detail| !detail.is_empty()),
            news,
        };
        carrier::news(&self.codes, report.success, &report.err_code).into_iter().map(receipt).collect()
    }

    /// What a number that is masked replies is nobody's.
    fn replied(&self, reply: &Reply, now: Timestamp) -> Option<Receipt> {
        let news = if opts_out(&reply.content) { News::Unsubscribed } else { News::Replied };
        // Aliyun does not say among what a sequence_id is one of a kind.
        let key = format!("reply {} {}", reply.sequence_id, reply.phone_number);
        Some(Receipt {
            id: Receipt::id(&self.name, &key, news.as_str()),
            about: About::Address { channel: Channel::Sms, address: canonical(&reply.phone_number)? },
            at: Receipt::happened(instant(&reply.send_time), now),
            news,
            detail: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::model::Reason;
    use crate::model::receipt::Bounce;

    const SECRET: &str = "0123456789abcdef";

    fn request(tail: &str, body: &str) -> HookRequest {
        HookRequest {
            method: Method::POST,
            tail: tail.to_owned(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: [127, 0, 0, 1].into(),
        }
    }

    fn receive(tail: &str, body: &str) -> Result<Vec<Receipt>, StatusCode> {
        let secret = SecretPath::new(Secret::new(SECRET));
        let hook = AliyunHook { name: "ali".to_owned(), secret, codes: Codes::default() };
        let answer = hook.receive(&request(tail, body)).map_err(|refusal| refusal.status)?;
        assert_eq!(answer.body, r#"{"code":0,"msg":"成功"}"#);
        Ok(answer.receipts)
    }

    /// The documentation's example, but for masked digits and the key.
    fn report(number: &str, out_id: &str, code: &str) -> String {
        format!(
            r#"{{"phone_number":"{number}","send_time":"2017-01-01 00:00:00","report_time":"2017-01-01 00:00:05",
            "success":{},"err_code":"{code}","err_msg":"x","sms_size":"1","biz_id":"607^0","out_id":"{out_id}"}}"#,
            code == "DELIVERED"
        )
    }

    #[test]
    fn receipts_are_of_our_delivery_or_of_the_calls_number() {
        let body = [
            report("1381111****", "12-1-0", "DELIVERED"),
            report("13800000002", "batch-12-1-0-1", "MK:0001"),
            report("13800000002", "", "MBBLACK"),
            report("1381111****", "", "DELIVERED"),
        ];
        let receipts = receive(SECRET, &format!("[{}]", body.join(","))).unwrap();
        let refers =
            |number| About::Reference { provider: "ali".into(), reference: of_number("607^0", number) };
        let bounced = |bounce, reason| News::Bounced { bounce, reason };
        let told: Vec<_> =
            receipts.iter().map(|receipt| (receipt.about.clone(), receipt.news.clone())).collect();
        assert_eq!(
            told,
            [
                (About::Delivery("12-1-0".parse().unwrap()), News::Delivered),
                (refers("+8613800000002"), bounced(Bounce::Hard, Reason::UnknownRecipient)),
                (refers("+8613800000002"), bounced(Bounce::Block, Reason::RecipientRefused)),
                (refers("+8613800000002"), News::Unsubscribed),
            ]
        );
        assert_eq!(receipts[0].at.to_string(), "2016-12-31T16:00:05Z");
        let ids: std::collections::HashSet<_> = receipts.iter().map(|receipt| receipt.id).collect();
        assert_eq!(ids.len(), 4);
        let again = receive(SECRET, &format!("[{}]", body[0])).unwrap();
        assert_eq!(again[0].id, receipts[0].id);
    }

    #[test]
    fn replies_are_of_the_number() {
        let reply = |text: &str, sequence: &str| {
            format!(
                r#"[{{"phone_number":"13800000001","content":"{text}","send_time":"2017-01-01 00:00:00",
                "dest_code":"1234","sequence_id":{sequence}}}]"#
            )
        };
        for (text, sequence, news) in [
            ("Ｒ", "1234567890", News::Unsubscribed),
            ("退订。", "\"1234567890\"", News::Unsubscribed),
            ("谢谢", "7", News::Replied),
        ] {
            let receipts = receive(SECRET, &reply(text, sequence)).unwrap();
            assert_eq!(receipts[0].news, news, "{text}");
            let address = "+8613800000001".to_owned();
            assert_eq!(receipts[0].about, About::Address { channel: Channel::Sms, address });
        }
    }

    #[test]
    fn calls_of_others_and_nonsense_are_refused() {
        for tail in ["", "0123456789abcdeF", "0123456789abcdef0", "0123456789abcdef/x"] {
            assert_eq!(receive(tail, "[]"), Err(StatusCode::NOT_FOUND));
        }
        for body in ["", "{}", "[{}]", "[1]", "nonsense", r#"[{"phone_number":"13800000001"}]"#] {
            assert_eq!(receive(SECRET, body), Err(StatusCode::BAD_REQUEST), "{body}");
        }
        assert_eq!(receive(SECRET, "[]"), Ok(Vec::new()));
    }

    #[test]
    fn an_entry_that_nobody_understands_costs_only_itself() {
        let body = [
            r#"{"phone_number":null}"#.to_owned(),
            report("1381111****", "12-1-0", "DELIVERED"),
            "7".to_owned(),
        ];
        let receipts = receive(SECRET, &format!("[{}]", body.join(","))).unwrap();
        assert_eq!(receipts.len(), 1);
        assert_eq!(receipts[0].about, About::Delivery("12-1-0".parse().unwrap()));
    }
}
