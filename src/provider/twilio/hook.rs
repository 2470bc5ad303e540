//! What Twilio calls us with: statuses of messages, whose query has our key, and replies.
//! <https://www.twilio.com/docs/messaging/guides/track-outbound-message-status>

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::Timestamp;

use super::code::undelivered;
use super::signature::signed;
use crate::config::{Codes, Secret, TwilioSettings};
use crate::model::opt_out::opts_out;
use crate::model::receipt::{About, News};
use crate::model::{Channel, Receipt, address};
use crate::provider::detail::masked;
use crate::provider::reference::reference;
use crate::provider::sms::pairs;
use crate::provider::{Hook, HookAnswer, HookRefusal, HookRequest};

/// The hook of the account `name`. Calls are signed over their address, which begins with `public_url`.
pub fn hook(name: &str, settings: &TwilioSettings, public_url: &str) -> Arc<dyn Hook> {
    Arc::new(TwilioHook {
        name: name.to_owned(),
        auth_token: settings.auth_token.clone(),
        url: super::hook_url(public_url, name),
        codes: settings.codes.clone(),
    })
}

#[derive(Debug)]
struct TwilioHook {
    name: String,
    auth_token: Secret,
    url: String,
    codes: Codes,
}

impl Hook for TwilioHook {
    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
        let refuse = |status, detail: &str| Err(HookRefusal { status, detail: detail.to_owned() });
        if request.method != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "Twilio posts statuses and replies");
        }
        let Some(fields) = std::str::from_utf8(&request.body).ok().and_then(pairs) else {
            return refuse(StatusCode::BAD_REQUEST, "the body is no form");
        };
        let url = match (request.tail.as_str(), request.query.as_str()) {
            ("", "") => self.url.clone(),
            ("", query) => format!("{}?{query}", self.url),
            _ => return refuse(StatusCode::NOT_FOUND, "nothing stands behind the provider's name"),
        };
        let signature = request.headers.get("x-twilio-signature").and_then(|value| value.to_str().ok());
        if !signature.is_some_and(|signature| signed(&self.auth_token, &url, &fields, signature)) {
            return refuse(
                StatusCode::FORBIDDEN,
                "X-Twilio-Signature is not this account's over the address that begins with http.public_url",
            );
        }
        let query = pairs(&request.query).unwrap_or_default();
        let receipts = self.told(&Form(&fields), &Form(&query), Timestamp::now());
        Ok(HookAnswer { receipts, content_type: Some("text/xml"), body: "<Response/>".into() })
    }
}

struct Form<'a>(&'a [(String, String)]);

impl Form<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }
}

impl TwilioHook {
    fn told(&self, fields: &Form<'_>, query: &Form<'_>, now: Timestamp) -> Vec<Receipt> {
        let sid = fields.get("MessageSid").or_else(|| fields.get("SmsSid"));
        let Some(sid) = sid.and_then(reference) else { return Vec::new() };
        let (about, news) = match fields.get("MessageStatus") {
            Some(status) => {
                let by_sid = || About::Reference { provider: self.name.clone(), reference: sid.clone() };
                let key = query.get("mid").and_then(|key| key.parse().ok());
                (
                    key.map_or_else(by_sid, About::Delivery),
                    progress(&self.codes, status, fields.get("ErrorCode")),
                )
            }
            None => {
                let from = fields.get("From").and_then(|from| address::canonical(Channel::Sms, from).ok());
                // Short codes and names do not opt out.
                let Some(address) = from else { return Vec::new() };
                (About::Address { channel: Channel::Sms, address }, vec![replied(fields)])
            }
        };
        let code = fields.get("ErrorCode");
        news.into_iter().map(|news| receipt(&self.name, &sid, about.clone(), news, code, now)).collect()
    }
}

/// Of the message `sid`, however it came; `code` is its error. `provider` is the account's name.
pub(super) fn receipt(
    provider: &str,
    sid: &str,
    about: About,
    news: News,
    code: Option<&str>,
    now: Timestamp,
) -> Receipt {
    Receipt {
        id: Receipt::id(provider, sid, news.as_str()),
        about,
        at: now,
        news,
        detail: code.map(|code| format!("error {}", masked(code).chars().take(16).collect::<String>())),
    }
}

/// `queued` and `sending` say no more than the answer did, but the answer may be lost.
pub(super) fn progress(codes: &Codes, status: &str, code: Option<&str>) -> Vec<News> {
    match status {
        "accepted" | "scheduled" | "queued" | "sending" | "sent" => vec![News::Accepted],
        "delivered" | "read" => vec![News::Delivered],
        "undelivered" | "failed" | "canceled" => undelivered(codes, code),
        _ => Vec::new(),
    }
}

/// Twilio's own judgement goes before ours.
fn replied(fields: &Form<'_>) -> News {
    match fields.get("OptOutType") {
        Some("STOP") => News::Unsubscribed,
        Some(_) => News::Replied,
        None if fields.get("Body").is_some_and(opts_out) => News::Unsubscribed,
        None => News::Replied,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use campaignd_loadtest::twilio::signature;

    use super::*;
    use crate::model::Reason;
    use crate::model::receipt::Bounce;
    use crate::provider::sms::form;

    const TOKEN: &str = "test_auth_token";
    const URL: &str = "https://mail.example.com/hooks/tw";

    fn request(query: &str, fields: &[(&'static str, &str)], token: &str) -> HookRequest {
        let url = if query.is_empty() { URL.to_owned() } else { format!("{URL}?{query}") };
        let owned: Vec<_> = fields.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let signature = signature(token, &url, &owned).parse().unwrap();
        let name = http::HeaderName::from_static("x-twilio-signature");
        HookRequest {
            method: Method::POST,
            tail: String::new(),
            query: query.to_owned(),
            headers: [(name, signature)].into_iter().collect(),
            body: Bytes::from(form(fields.iter().copied())),
            peer: [127, 0, 0, 1].into(),
        }
    }

    fn receive(request: &HookRequest) -> Result<Vec<Receipt>, StatusCode> {
        let hook = TwilioHook {
            name: "tw".into(),
            auth_token: Secret::new(TOKEN),
            url: URL.into(),
            codes: Codes::default(),
        };
        hook.receive(request).map(|answer| answer.receipts).map_err(|refusal| refusal.status)
    }

    #[test]
    fn statuses_are_of_the_delivery_in_the_query() {
        let bounced = |bounce, reason| News::Bounced { bounce, reason };
        let hard = bounced(Bounce::Hard, Reason::UnknownRecipient);
        let opted_out = vec![bounced(Bounce::Block, Reason::RecipientRefused), News::Unsubscribed];
        for (status, code, wanted) in [
            ("queued", "", vec![News::Accepted]),
            ("accepted", "", vec![News::Accepted]),
            ("sending", "", vec![News::Accepted]),
            ("sent", "", vec![News::Accepted]),
            ("delivered", "", vec![News::Delivered]),
            ("read", "", vec![News::Delivered]),
            ("undelivered", "30005", vec![hard]),
            ("failed", "21610", opted_out),
            ("undelivered", "", vec![bounced(Bounce::Soft, Reason::RecipientRefused)]),
            ("canceled", "", vec![bounced(Bounce::Soft, Reason::RecipientRefused)]),
            ("receiving", "", vec![]),
        ] {
            let fields =
                [("MessageSid", "SM1"), ("MessageStatus", status), ("To", "+1555"), ("ErrorCode", code)];
            let receipts = receive(&request("mid=12-1-0", &fields, TOKEN)).unwrap();
            let news: Vec<_> = receipts.iter().map(|receipt| receipt.news.clone()).collect();
            assert_eq!(news, wanted, "{status} {code}");
            let key = About::Delivery("12-1-0".parse().unwrap());
            assert!(receipts.iter().all(|receipt| receipt.about == key));
        }
        let fields = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
        let receipts = receive(&request("", &fields, TOKEN)).unwrap();
        let reference = About::Reference { provider: "tw".to_owned(), reference: "SM1".to_owned() };
        assert_eq!(receipts[0].about, reference);
    }

    #[test]
    fn replies_are_of_the_number() {
        for (body, kind, wanted) in [
            ("STOP", "STOP", News::Unsubscribed),
            ("退订", "", News::Unsubscribed),
            ("please revoke", "STOP", News::Unsubscribed),
            ("START", "START", News::Replied),
            ("when?", "", News::Replied),
        ] {
            let fields =
                [("MessageSid", "SM2"), ("From", "+15558675310"), ("Body", body), ("OptOutType", kind)];
            let receipts = receive(&request("", &fields, TOKEN)).unwrap();
            assert_eq!(receipts[0].news, wanted, "{body}");
            let address = "+15558675310".to_owned();
            assert_eq!(receipts[0].about, About::Address { channel: Channel::Sms, address });
        }
        let short = [("MessageSid", "SM3"), ("From", "12345"), ("Body", "STOP")];
        assert_eq!(receive(&request("", &short, TOKEN)), Ok(Vec::new()));
    }

    #[test]
    fn calls_of_others_are_refused() {
        let fields = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
        assert_eq!(receive(&request("mid=12-1-0", &fields, "another")), Err(StatusCode::FORBIDDEN));
        let good = || request("mid=12-1-0", &fields, TOKEN);
        let other_key = HookRequest { query: "mid=12-2-0".into(), ..good() };
        assert_eq!(receive(&other_key), Err(StatusCode::FORBIDDEN));
        let other_body = HookRequest { body: "MessageSid=SM1&MessageStatus=failed".into(), ..good() };
        assert_eq!(receive(&other_body), Err(StatusCode::FORBIDDEN));
        let unsigned = HookRequest { headers: http::HeaderMap::new(), ..good() };
        assert_eq!(receive(&unsigned), Err(StatusCode::FORBIDDEN));
        assert_eq!(receive(&HookRequest { tail: "x".into(), ..good() }), Err(StatusCode::NOT_FOUND));
        assert_eq!(
            receive(&HookRequest { method: Method::GET, ..good() }),
            Err(StatusCode::METHOD_NOT_ALLOWED)
        );
        let no_form = HookRequest { body: Bytes::from_static(&[0xFF]), ..good() };
        assert_eq!(receive(&no_form), Err(StatusCode::BAD_REQUEST));
        assert_eq!(receive(&good()).unwrap().len(), 1);
    }
}
