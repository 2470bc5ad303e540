//! What JPush is sent: a notification for one registration id, in the terms of each platform.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::config::JpushSettings;
use crate::model::content::PushContent;
use crate::model::{Outcome, Reason};
use crate::provider::keyed::{Keyed, content};

#[derive(Serialize)]
struct Single<'a> {
    cid: &'a str,
    audience: Audience<'a>,
    #[serde(flatten)]
    push: Push<'a>,
}

#[derive(Serialize)]
struct Audience<'a> {
    registration_id: [&'a str; 1],
}

#[derive(Serialize)]
struct Batch<'a> {
    /// By cid.
    pushlist: BTreeMap<&'a str, Target<'a>>,
}

#[derive(Serialize)]
struct Target<'a> {
    target: &'a str,
    #[serde(flatten)]
    push: Push<'a>,
}

#[derive(Serialize)]
struct Push<'a> {
    platform: &'static str,
    notification: Notification<'a>,
    options: Options,
}

#[derive(Serialize)]
struct Notification<'a> {
    android: Android<'a>,
    ios: Ios<'a>,
}

#[derive(Serialize)]
struct Android<'a> {
    alert: &'a str,
    title: &'a str,
    extras: Extras<'a>,
}

#[derive(Serialize)]
struct Ios<'a> {
    alert: Alert<'a>,
    badge: &'static str,
    sound: &'static str,
    extras: Extras<'a>,
}

#[derive(Serialize)]
struct Alert<'a> {
    title: &'a str,
    body: &'a str,
}

/// What the app gets beside the text: where a tap leads.
#[derive(Serialize, Clone, Copy)]
struct Extras<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

#[derive(Serialize)]
struct Options {
    /// Seconds.
    time_to_live: u64,
    apns_production: bool,
}

fn push<'a>(content: &'a PushContent, settings: &JpushSettings) -> Push<'a> {
    let PushContent { title, body, url } = content;
    let extras = Extras { url: url.as_deref() };
    Push {
        platform: "all",
        notification: Notification {
            android: Android { alert: body, title, extras },
            ios: Ios { alert: Alert { title, body }, badge: "+1", sound: "default", extras },
        },
        options: Options { time_to_live: settings.ttl.as_secs(), apns_production: settings.apns_production },
    }
}

/// The body of `/v3/push`.
///
/// # Errors
/// `Failed` where this format cannot hold what is to be sent.
pub(super) fn single(messages: &[Keyed<'_>], settings: &JpushSettings) -> Result<Bytes, Outcome> {
    let [Keyed { message, key }] = messages else {
        return Err(unwritable("one request of this interface carries one message"));
    };
    let audience = Audience { registration_id: [&message.to] };
    json(&Single { cid: key, audience, push: push(content(message)?, settings) })
}

/// The body of `/v3/push/batch/regid/single`.
///
/// # Errors
/// `Failed` where this format cannot hold what is to be sent.
pub(super) fn batch(messages: &[Keyed<'_>], settings: &JpushSettings) -> Result<Bytes, Outcome> {
    let targets = messages.iter().map(|Keyed { message, key }| {
        Ok((key.as_str(), Target { target: &message.to, push: push(content(message)?, settings) }))
    });
    json(&Batch { pushlist: targets.collect::<Result<_, Outcome>>()? })
}

fn json(body: &impl Serialize) -> Result<Bytes, Outcome> {
    let written = serde_json::to_vec(body).map(Bytes::from);
    written.map_err(|error| unwritable(&format!("the message cannot be written as JSON: {error}")))
}

fn unwritable(detail: &str) -> Outcome {
    Outcome::Failed { reason: Reason::RenderError, detail: detail.to_owned() }
}
