//! What Getui is sent: a notification for one cid, and the same for the services that reach a device that is away.

use bytes::Bytes;
use serde::Serialize;

use crate::config::GetuiSettings;
use crate::model::content::PushContent;
use crate::model::{Outcome, Reason};
use crate::provider::keyed::{Keyed, content};

#[derive(Serialize)]
struct Push<'a> {
    request_id: &'a str,
    settings: Settings,
    audience: Audience<'a>,
    push_message: Online<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    push_channel: Option<Away<'a>>,
}

#[derive(Serialize)]
struct Settings {
    /// Milliseconds.
    ttl: u128,
}

#[derive(Serialize)]
struct Audience<'a> {
    cid: [&'a str; 1],
}

/// Over Getui's own connection with the app.
#[derive(Serialize)]
struct Online<'a> {
    notification: Notification<'a>,
}

#[derive(Serialize, Clone, Copy)]
struct Notification<'a> {
    title: &'a str,
    body: &'a str,
    click_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

#[derive(Serialize)]
struct Away<'a> {
    ios: Ios<'a>,
    android: Android<'a>,
}

#[derive(Serialize)]
struct Ios<'a> {
    r#type: &'static str,
    /// What the app gets beside the text: where a tap leads.
    payload: &'a str,
    aps: Aps<'a>,
    auto_badge: &'static str,
}

#[derive(Serialize)]
struct Aps<'a> {
    alert: Alert<'a>,
    sound: &'static str,
}

#[derive(Serialize)]
struct Alert<'a> {
    title: &'a str,
    body: &'a str,
}

#[derive(Serialize)]
struct Android<'a> {
    ups: Online<'a>,
}

#[derive(Serialize)]
struct Batch<'a> {
    /// Else the answer says nothing about single messages.
    is_async: bool,
    msg_list: Vec<Push<'a>>,
}

fn push<'a>(keyed: &'a Keyed<'_>, settings: &GetuiSettings) -> Result<Push<'a>, Outcome> {
    let PushContent { title, body, url } = content(keyed.message)?;
    let url = url.as_deref();
    let click_type = if url.is_some() { "url" } else { "startapp" };
    let notification = Notification { title, body, click_type, url };
    let away = || Away {
        ios: Ios {
            r#type: "notify",
            payload: url.unwrap_or_default(),
            aps: Aps { alert: Alert { title, body }, sound: "default" },
            auto_badge: "+1",
        },
        android: Android { ups: Online { notification } },
    };
    Ok(Push {
        request_id: &keyed.key,
        settings: Settings { ttl: settings.ttl.as_millis() },
        audience: Audience { cid: [&keyed.message.to] },
        push_message: Online { notification },
        push_channel: settings.vendor_channels.then(away),
    })
}

/// The body of `/push/single/cid`.
///
/// # Errors
/// `Failed` where this format cannot hold what is to be sent.
pub(super) fn single(keyed: &Keyed<'_>, settings: &GetuiSettings) -> Result<Bytes, Outcome> {
    json(&push(keyed, settings)?)
}

/// The body of `/push/single/batch/cid`.
///
/// # Errors
/// `Failed` where this format cannot hold what is to be sent.
pub(super) fn batch(messages: &[Keyed<'_>], settings: &GetuiSettings) -> Result<Bytes, Outcome> {
    let msg_list = messages.iter().map(|keyed| push(keyed, settings)).collect::<Result<_, _>>()?;
    json(&Batch { is_async: false, msg_list })
}

fn json(body: &impl Serialize) -> Result<Bytes, Outcome> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| Outcome::Failed {
        reason: Reason::RenderError,
        detail: format!("the message cannot be written as JSON: {error}"),
    })
}
