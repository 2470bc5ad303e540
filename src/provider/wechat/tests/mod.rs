//! The account against a simulator of WeChat's platform, over real sockets.

mod calls;
mod doubt;
mod load;
mod python;
mod sending;

use std::collections::HashSet;
use std::time::Duration;

use campaignd_loadtest::wechat::{self as platform, Options};

use super::Wechat;
use crate::config::{Secret, WechatMessage, WechatSettings};
use crate::model::content::{WechatContent, WechatValue};
use crate::model::{CampaignNo, ContactNo, Content, DeliveryKey, Outcome, Purpose, Reason};
use crate::provider::{Body, Message, Permit, Provider as _, Session};

async fn platform(options: Options) -> platform::Wechat {
    platform::Wechat::start("127.0.0.1:0", options).await.unwrap()
}

fn settings(platform: &platform::Wechat) -> WechatSettings {
    WechatSettings {
        app_id: "wx1234567890abcdef".to_owned(),
        app_secret: Secret::new("0123456789abcdef0123456789abcdef"),
        message: WechatMessage::Template,
        base_url: format!("http://{}", platform.addr()),
        ca_file: None,
        timeout: Duration::from_secs(60),
        callback_token: Some(Secret::new("test_token")),
        callback_key: None,
    }
}

fn session(settings: &WechatSettings) -> Box<dyn Session> {
    Wechat::new(settings).unwrap().session()
}

/// A service message to `oOPENID_{number}`.
pub(super) fn message(number: i64) -> Message {
    let value = |value: &str, color: Option<&str>| WechatValue {
        value: value.to_owned(),
        color: color.map(str::to_owned),
    };
    let data = [
        ("content".to_owned(), value("你好", None)),
        ("keyword1".to_owned(), value("39.8元", Some("#173177"))),
    ];
    let content = WechatContent {
        template_id: "TPL".to_owned(),
        url: Some(format!("https://t.example/c/{number}")),
        data: data.into(),
    };
    Message {
        delivery: DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(number), occurrence: 0 },
        attempt: 1,
        campaign: "points".into(),
        purpose: Purpose::Service,
        to: format!("oOPENID_{number}"),
        unsubscribe: None,
        body: Body::Content(Content::Wechat(content)),
        permit: Permit::default(),
    }
}

fn messages(numbers: std::ops::RangeInclusive<i64>) -> Vec<Message> {
    numbers.map(message).collect()
}

/// Labels and reasons, which is what the ledger keeps.
fn verdicts(outcomes: &[Outcome]) -> Vec<(&'static str, Option<Reason>)> {
    outcomes.iter().map(|outcome| (outcome.as_str(), outcome.reason())).collect()
}

/// Every message has a reference of its own, and reached its recipient once.
fn all_accepted_once(platform: &platform::Wechat, outcomes: &[Outcome]) {
    let references: HashSet<&str> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Accepted { provider_ref: Some(reference) } => reference.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(references.len(), outcomes.len());
    let (counts, sent) = (platform.tally().counts(), outcomes.len() as u64);
    assert_eq!((counts.messages, counts.recipients, counts.repeated), (sent, sent, 0));
}

const ACCEPTED: (&str, Option<Reason>) = ("accepted", None);
const RETURNED: (&str, Option<Reason>) = ("returned", None);
const RETRY: (&str, Option<Reason>) = ("retry", Some(Reason::TemporaryFailure));
const NOT_SENT: (&str, Option<Reason>) = ("retry", Some(Reason::ConnectionFailed));
const NO_ANSWER: (&str, Option<Reason>) = ("unknown", Some(Reason::NoAnswer));
const LOST: (&str, Option<Reason>) = ("unknown", Some(Reason::ConnectionLost));
const THROTTLED: (&str, Option<Reason>) = ("throttled", Some(Reason::Throttled));
const ACCOUNT: (&str, Option<Reason>) = ("account_refused", Some(Reason::AccountRefused));
