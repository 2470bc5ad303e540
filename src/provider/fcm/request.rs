//! What Google is sent of a message.

use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::FcmSettings;
use crate::model::content::PushContent;
use crate::model::{DeliveryKey, Outcome};
use crate::provider::Message;
use crate::provider::http2::Post;
use crate::provider::push::within_limit;

/// Bytes of an analytics label at most.
const MAX_LABEL: usize = 50;

/// # Errors
/// `Rejected`: Google would not take it.
pub(super) fn post(
    settings: &FcmSettings,
    path: &str,
    message: &Message,
    push: &PushContent,
    now: Timestamp,
) -> Result<Post, Outcome> {
    let notification = json!({"title": push.title, "body": push.body});
    let data = data(message.delivery, push);
    within_limit(format!("{notification}{data}").as_bytes())?;
    let key = message.delivery.to_string();
    let mut body = json!({"message": {
        settings.target.as_str(): message.to,
        "notification": notification,
        "data": data,
        "android": {
            "priority": settings.priority.as_str(),
            "ttl": format!("{}s", settings.ttl.as_secs()),
            // What has them in common with an earlier message replaces it, on its way and on the device.
            "collapse_key": key,
            "notification": {"tag": key},
        },
        "apns": {
            "headers": {
                "apns-collapse-id": key,
                "apns-expiration": expiration(settings, now).to_string(),
            },
            "payload": {"aps": {"sound": "default"}},
        },
    }});
    let message_body = &mut body["message"];
    if let Some(channel) = &settings.android_channel {
        message_body["android"]["notification"]["channel_id"] = json!(channel);
    }
    // Browsers follow nothing else.
    if let Some(link) = push.url.as_deref().filter(|url| url.starts_with("https://")) {
        message_body["webpush"] = json!({"fcm_options": {"link": link}});
    }
    if let Some(label) = label(&message.campaign) {
        message_body["fcm_options"] = json!({"analytics_label": label});
    }
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
    Ok(Post { path: path.to_owned(), headers, body: body.to_string().into() })
}

/// What the app on the device finds.
fn data(key: DeliveryKey, push: &PushContent) -> Value {
    let mut data = json!({"campaignd": key.to_string()});
    if let Some(url) = &push.url {
        data["url"] = json!(url);
    }
    data
}

/// Seconds since 1970; 0: tried once.
fn expiration(settings: &FcmSettings, now: Timestamp) -> i64 {
    match i64::try_from(settings.ttl.as_secs()) {
        Ok(0) => 0,
        lives => now.as_second().saturating_add(lives.unwrap_or(i64::MAX)),
    }
}

/// The campaign's id, where Google takes it: `[a-zA-Z0-9-_.~%]{1,50}`.
fn label(campaign: &str) -> Option<&str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    ((1..=MAX_LABEL).contains(&campaign.len()) && campaign.bytes().all(fits)).then_some(campaign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FcmTarget;
    use crate::model::Reason;
    use crate::provider::fcm::tests::{message, settings};

    fn push() -> PushContent {
        PushContent {
            title: "双11".to_owned(),
            body: "hi".to_owned(),
            url: Some("https://shop.example/s".to_owned()),
        }
    }

    fn body(settings: &FcmSettings, message: &Message, push: &PushContent) -> Value {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let post = post(settings, "/send", message, push, now).unwrap();
        assert_eq!(
            (post.path.as_str(), &post.headers["content-type"]),
            ("/send", &HeaderValue::from_static("application/json"))
        );
        serde_json::from_slice(&post.body).unwrap()
    }

    #[test]
    fn a_request_carries_what_google_documents() {
        let settings =
            FcmSettings { android_channel: Some("promo".to_owned()), ..settings("http://h.example") };
        assert_eq!(
            body(&settings, &message(7, "device-token"), &push()),
            json!({"message": {
                "token": "device-token",
                "notification": {"title": "双11", "body": "hi"},
                "data": {"campaignd": "12-7-0", "url": "https://shop.example/s"},
                "android": {"priority": "high", "ttl": "86400s", "collapse_key": "12-7-0",
                            "notification": {"tag": "12-7-0", "channel_id": "promo"}},
                "apns": {"headers": {"apns-collapse-id": "12-7-0", "apns-expiration": "1795305600"},
                         "payload": {"aps": {"sound": "default"}}},
                "webpush": {"fcm_options": {"link": "https://shop.example/s"}},
                "fcm_options": {"analytics_label": "spring"},
            }})
        );
    }

    #[test]
    fn installations_have_a_field_of_their_own() {
        let settings = FcmSettings { target: FcmTarget::Fid, ..settings("http://h.example") };
        let body = body(&settings, &message(7, "an-installation"), &push());
        assert_eq!(
            (&body["message"]["fid"], body["message"].get("token")),
            (&json!("an-installation"), None)
        );
    }

    #[test]
    fn a_link_into_the_app_is_not_the_browsers() {
        let push = PushContent { url: Some("app://spring".to_owned()), ..push() };
        let body = body(&settings("http://h.example"), &message(7, "t"), &push);
        assert_eq!(
            (&body["message"]["data"]["url"], body["message"].get("webpush")),
            (&json!("app://spring"), None)
        );
    }

    #[test]
    fn labels_are_what_google_takes() {
        for (campaign, wanted) in [
            ("spring-sale_2026.v~1%", true),
            (&"x".repeat(50), true),
            (&"x".repeat(51), false),
            ("", false),
            ("双11", false),
            ("a b", false),
        ] {
            assert_eq!(label(campaign).is_some(), wanted, "{campaign}");
        }
    }

    #[test]
    fn what_is_too_long_does_not_go_out() {
        let settings = settings("http://h.example");
        let long = PushContent { body: "x".repeat(4_096), ..push() };
        let refused = post(&settings, "/", &message(7, "t"), &long, Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!((refused.as_str(), refused.reason()), ("rejected", Some(Reason::MessageRefused)));
        let short = PushContent { body: "x".repeat(3_900), ..push() };
        assert!(post(&settings, "/", &message(7, "t"), &short, Timestamp::UNIX_EPOCH).is_ok());
    }
}
