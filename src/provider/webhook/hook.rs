//! What the receiver learns later: receipts, signed as our own requests are.

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::answer::refusal;
use super::signature::{NotBelieved, Signer};
use crate::config::WebhookSettings;
use crate::model::receipt::{About, Bounce, News};
use crate::model::{DeliveryKey, Reason, Receipt};
use crate::provider::detail::masked;
use crate::provider::{Hook, HookAnswer, HookRefusal, HookRequest};

/// 2000-01-01T00:00:00Z: an instant before it is a clock that was never set.
const FIRST_SECOND: i64 = 946_684_800;

/// The hook of the account `name`.
pub fn hook(name: &str, settings: &WebhookSettings) -> Arc<dyn Hook> {
    Arc::new(WebhookHook { name: name.to_owned(), signer: Signer::new(settings) })
}

#[derive(Debug)]
struct WebhookHook {
    name: String,
    signer: Signer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    receipts: Vec<Told>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    #[serde(deserialize_with = "key")]
    id: DeliveryKey,
    status: Status,
    bounce: Option<Kind>,
    reason: Option<String>,
    #[serde(default, deserialize_with = "instant")]
    at: Option<Timestamp>,
    detail: Option<String>,
    event_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Accepted,
    Delivered,
    Bounced,
    Complained,
    Unsubscribed,
    Replied,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Hard,
    Soft,
    Block,
}

fn key<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<DeliveryKey, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn instant<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let at = Option::<Timestamp>::deserialize(deserializer)?;
    if at.is_some_and(|at| at.as_second() < FIRST_SECOND) {
        return Err(serde::de::Error::custom("an instant before the year 2000"));
    }
    Ok(at)
}

impl Hook for WebhookHook {
    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
        self.receive_at(request, Timestamp::now())
    }
}

impl WebhookHook {
    fn receive_at(&self, request: &HookRequest, now: Timestamp) -> Result<HookAnswer, HookRefusal> {
        let refusal = |status, detail| HookRefusal { status, detail };
        if request.method != Method::POST {
            return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "receipts come by POST".to_owned()));
        }
        let signed_at = self.signer.verify(&request.headers, &request.body, now).map_err(|reason| {
            let status = match reason {
                NotBelieved::Stale => StatusCode::BAD_REQUEST,
                NotBelieved::Headers | NotBelieved::Signature => StatusCode::UNAUTHORIZED,
            };
            refusal(status, reason.to_string())
        })?;
        let call = read(&request.body).map_err(|detail| refusal(StatusCode::BAD_REQUEST, detail))?;
        let receipts = call.receipts.into_iter().map(|told| self.receipt(told, signed_at, now)).collect();
        Ok(HookAnswer { receipts, ..HookAnswer::default() })
    }

    fn receipt(&self, told: Told, signed_at: Timestamp, now: Timestamp) -> Receipt {
        let key = told.event_id.unwrap_or_else(|| told.id.to_string());
        let (word, news) = match told.status {
            Status::Accepted => ("accepted", News::Accepted),
            Status::Delivered => ("delivered", News::Delivered),
            Status::Bounced => ("bounced", bounced(told.bounce, told.reason.as_deref())),
            Status::Complained => ("complained", News::Complained),
            Status::Unsubscribed => ("unsubscribed", News::Unsubscribed),
            Status::Replied => ("replied", News::Replied),
        };
        Receipt {
            id: Receipt::id(&self.name, &key, word),
            about: About::Delivery(told.id),
            // What has been told has happened, whatever the other clock says.
            at: told.at.unwrap_or(signed_at).min(now),
            news,
            detail: told.detail.map(|detail| masked(&detail)).filter(|detail| !detail.is_empty()),
        }
    }
}

/// A bounce of no kind says nothing against the address; a kind without a reason has its usual one.
fn bounced(kind: Option<Kind>, word: Option<&str>) -> News {
    let (bounce, usual) = match kind {
        Some(Kind::Hard) => (Bounce::Hard, Reason::UnknownRecipient),
        Some(Kind::Soft) | None => (Bounce::Soft, Reason::RecipientRefused),
        Some(Kind::Block) => (Bounce::Block, Reason::PolicyRefused),
    };
    News::Bounced { bounce, reason: word.map_or(usual, |word| refusal(Some(word))) }
}

/// # Errors
/// What is wrong with the JSON, and where.
fn read(body: &[u8]) -> Result<Call, String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let call = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => "$".to_owned(),
            path => format!("$.{path}"),
        };
        masked(&format!("{path}: {}", error.inner()))
    })?;
    json.end().map_err(|error| format!("$: {error}"))?;
    Ok(call)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::provider::webhook::tests::settings;

    const NOW: &str = "2026-04-01T10:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn request(body: &str) -> HookRequest {
        let signer = Signer::new(&settings("http://127.0.0.1"));
        HookRequest {
            method: Method::POST,
            tail: String::new(),
            query: String::new(),
            headers: signer.headers("msg_1", now(), body.as_bytes()),
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: [127, 0, 0, 1].into(),
        }
    }

    fn receive(request: &HookRequest, now: Timestamp) -> Result<Vec<Receipt>, HookRefusal> {
        let settings = settings("http://127.0.0.1");
        let hook = WebhookHook { name: "bridge".to_owned(), signer: Signer::new(&settings) };
        hook.receive_at(request, now).map(|answer| answer.receipts)
    }

    fn received(body: &str) -> Vec<Receipt> {
        receive(&request(body), now()).unwrap()
    }

    #[test]
    fn every_status_is_news() {
        let bounce = |bounce, reason| News::Bounced { bounce, reason };
        for (told, news) in [
            (r#""status": "accepted""#, News::Accepted),
            (r#""status": "delivered""#, News::Delivered),
            (r#""status": "complained""#, News::Complained),
            (r#""status": "unsubscribed""#, News::Unsubscribed),
            (r#""status": "replied""#, News::Replied),
            (r#""status": "bounced""#, bounce(Bounce::Soft, Reason::RecipientRefused)),
            (r#""status": "bounced", "bounce": "hard""#, bounce(Bounce::Hard, Reason::UnknownRecipient)),
            (r#""status": "bounced", "bounce": "block""#, bounce(Bounce::Block, Reason::PolicyRefused)),
            (
                r#""status": "bounced", "bounce": "soft", "reason": "mailbox_full""#,
                bounce(Bounce::Soft, Reason::MailboxFull),
            ),
            (
                r#""status": "bounced", "bounce": "hard", "reason": "E4711""#,
                bounce(Bounce::Hard, Reason::RecipientRefused),
            ),
        ] {
            let receipts = received(&format!(r#"{{"receipts": [{{"id": "12-345-0", {told}}}]}}"#));
            assert_eq!(receipts.len(), 1);
            assert_eq!(receipts[0].news, news, "{told}");
            assert_eq!(receipts[0].about, About::Delivery("12-345-0".parse().unwrap()));
            assert_eq!(receipts[0].at, now(), "without `at` it is the call's instant");
        }
    }

    #[test]
    fn repeats_have_the_same_id_and_others_another() {
        let receipts = received(
            r#"{"receipts": [
                {"id": "1-2-0", "status": "delivered", "at": "2026-04-01T09:59:00Z", "detail": "to a@x.example"},
                {"id": "1-2-0", "status": "delivered"},
                {"id": "1-2-0", "status": "replied"},
                {"id": "1-2-0", "status": "replied", "event_id": "e1"},
                {"id": "1-2-0", "status": "replied", "event_id": "e2", "at": "2099-01-01T00:00:00Z"}
            ]}"#,
        );
        let ids: std::collections::HashSet<_> = receipts.iter().map(|receipt| receipt.id).collect();
        assert_eq!((receipts.len(), ids.len(), receipts[0].id), (5, 4, receipts[1].id));
        assert_eq!(receipts[0].at, "2026-04-01T09:59:00Z".parse().unwrap());
        assert_eq!(receipts[0].detail.as_deref(), Some("to a***@x.example"));
        assert_eq!(receipts[4].at, now(), "a clock that is ahead");
    }

    #[test]
    fn calls_of_others_and_repeated_calls_are_refused() {
        let good = request(r#"{"receipts": []}"#);
        assert_eq!(receive(&good, now()).unwrap(), []);
        let status = |request: &HookRequest, now| receive(request, now).unwrap_err().status.as_u16();
        let late = "2026-04-01T10:05:01Z".parse().unwrap();
        assert_eq!(status(&good, late), 400);
        let forged = HookRequest { body: Bytes::from_static(b"{\"receipts\": [ ]}"), ..request("") };
        assert_eq!(status(&forged, now()), 401);
        let unsigned = HookRequest { headers: http::HeaderMap::new(), ..request("{}") };
        assert_eq!(status(&unsigned, now()), 401);
        assert_eq!(status(&HookRequest { method: Method::GET, ..good }, now()), 405);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (body, place) in [
            ("", "$: EOF"),
            ("{}", "$: missing field `receipts`"),
            (r#"{"receipts": [{"id": "1-2-0", "status": "sent"}]}"#, "$.receipts[0].status: unknown variant"),
            (
                r#"{"receipts": [{"id": "1-2", "status": "replied"}]}"#,
                "$.receipts[0].id: is no delivery's key",
            ),
            (
                r#"{"receipts": [{"id": "1-2-0", "status": "replied", "at": "1999-01-01T00:00:00Z"}]}"#,
                "$.receipts[0].at: an instant before the year 2000",
            ),
            (r#"{"receipts": []} {}"#, "$: trailing characters"),
        ] {
            let refusal = receive(&request(body), now()).unwrap_err();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
            assert!(refusal.detail.starts_with(place), "{}", refusal.detail);
        }
    }
}
