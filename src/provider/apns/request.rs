//! What Apple is sent of a message.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::config::ApnsSettings;
use crate::model::content::PushContent;
use crate::model::{DeliveryKey, Outcome, Reason};
use crate::provider::Message;
use crate::provider::http2::Post;
use crate::provider::push::within_limit;

/// # Errors
/// `Rejected`: Apple would not take it.
pub(super) fn post(
    settings: &ApnsSettings,
    message: &Message,
    push: &PushContent,
    now: Timestamp,
) -> Result<Post, Outcome> {
    if !message.to.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let detail = "the address is no device token of APNs, which has hexadecimal digits only".to_owned();
        return Err(Outcome::Rejected { reason: Reason::RecipientRefused, detail });
    }
    let body = payload(settings, message.delivery, push).to_string();
    within_limit(body.as_bytes())?;
    Ok(Post {
        path: format!("/3/device/{}", message.to),
        headers: headers(settings, message, now)?,
        body: body.into(),
    })
}

fn payload(settings: &ApnsSettings, key: DeliveryKey, push: &PushContent) -> Value {
    let mut aps = json!({"alert": {"title": push.title, "body": push.body}});
    if let Some(sound) = &settings.sound {
        aps["sound"] = json!(sound);
    }
    let mut payload = json!({"aps": aps, "campaignd": key.to_string()});
    if let Some(url) = &push.url {
        payload["url"] = json!(url);
    }
    payload
}

/// The id and the collapse id are the delivery's: a repeat replaces what the device already shows.
fn headers(settings: &ApnsSettings, message: &Message, now: Timestamp) -> Result<HeaderMap, Outcome> {
    let lives = i64::try_from(settings.ttl.as_secs()).unwrap_or(i64::MAX);
    let expiration = if lives == 0 { 0 } else { now.as_second().saturating_add(lives) };
    let headers = [
        ("apns-topic", settings.topic.clone()),
        ("apns-push-type", "alert".to_owned()),
        ("apns-id", id(message.delivery).to_string()),
        ("apns-collapse-id", message.delivery.to_string()),
        ("apns-expiration", expiration.to_string()),
        ("apns-priority", settings.priority.to_string()),
    ];
    let header = |(name, value): (&'static str, String)| {
        let value = HeaderValue::try_from(value).map_err(|_| Outcome::AccountRefused {
            detail: format!("{name} cannot be written as a header; check topic"),
        })?;
        Ok((HeaderName::from_static(name), value))
    };
    headers.into_iter().map(header).collect()
}

/// The same at every attempt.
fn id(key: DeliveryKey) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("campaignd\n{key}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::apns::tests::{message, settings};

    fn now() -> Timestamp {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    fn push() -> PushContent {
        PushContent { title: "双11".to_owned(), body: "hi".to_owned(), url: Some("app://spring".to_owned()) }
    }

    #[test]
    fn a_request_carries_what_apple_documents() {
        let token = "a".repeat(64);
        let post = post(&settings("http://h.example"), &message(7, &token), &push(), now()).unwrap();
        assert_eq!(post.path, format!("/3/device/{token}"));
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        assert_eq!(
            body,
            json!({"aps": {"alert": {"title": "双11", "body": "hi"}, "sound": "default"},
                   "campaignd": "12-7-0", "url": "app://spring"})
        );
        for (name, value) in [
            ("apns-topic", "com.example.app"),
            ("apns-push-type", "alert"),
            ("apns-collapse-id", "12-7-0"),
            ("apns-expiration", "1795305600"),
            ("apns-priority", "10"),
        ] {
            assert_eq!(post.headers[name], value, "{name}");
        }
    }

    #[test]
    fn the_id_is_the_deliverys_at_every_attempt() {
        let first = message(7, "aa");
        let later = Message { attempt: 5, ..message(7, "aa") };
        let of = |message: &Message| {
            post(&settings("http://h.example"), message, &push(), now()).unwrap().headers["apns-id"].clone()
        };
        assert_eq!(of(&first), of(&later));
        assert_ne!(of(&first), of(&message(8, "aa")));
        let id = of(&first);
        assert_eq!(id.to_str().unwrap().parse::<Uuid>().unwrap().to_string(), id.to_str().unwrap());
    }

    #[test]
    fn the_longest_key_fits_into_a_collapse_id() {
        let longest = format!("{0}-{0}-{0}", i64::MAX).len();
        assert!(longest <= 64, "{longest}");
    }

    #[test]
    fn nothing_that_apple_would_refuse_goes_out() {
        let settings = settings("http://h.example");
        let refused = |message: &Message, push: &PushContent| {
            post(&settings, message, push, now()).unwrap_err().reason().unwrap()
        };
        assert_eq!(refused(&message(7, "fcm:token"), &push()), Reason::RecipientRefused);
        let long = |n| PushContent { body: "x".repeat(n), ..push() };
        let rest = post(&settings, &message(7, "aa"), &long(0), now()).unwrap().body.len();
        assert_eq!(post(&settings, &message(7, "aa"), &long(4_096 - rest), now()).unwrap().body.len(), 4_096);
        assert_eq!(refused(&message(7, "aa"), &long(4_097 - rest)), Reason::MessageRefused);
    }

    #[test]
    fn without_a_ttl_it_is_tried_once() {
        let settings = ApnsSettings { ttl: std::time::Duration::ZERO, ..settings("http://h.example") };
        let post = post(&settings, &message(7, "aa"), &push(), now()).unwrap();
        assert_eq!(post.headers["apns-expiration"], "0");
    }
}
