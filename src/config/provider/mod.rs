//! `[providers.NAME]`: the accounts that carry messages, and the settings of each kind, one file a kind.

mod aliyun;
mod apns;
mod codes;
mod fcm;
mod getui;
mod jpush;
mod mailhook;
mod push;
mod sandbox;
mod smpp;
mod smtp;
mod tencent;
mod twilio;
mod webhook;
mod wechat;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::channel::rate_and_burst;
use super::grammar;
use super::problem::did_you_mean;
use super::reader::Table;
use crate::model::{Channel, Rates};

pub use aliyun::AliyunSettings;
pub use apns::ApnsSettings;
pub use codes::{CodeClass, Codes};
pub use fcm::{FcmPriority, FcmSettings, FcmTarget, HttpVersion, ServiceAccount};
pub use getui::GetuiSettings;
pub use jpush::{Cid, JpushSettings};
pub use mailhook::{MailHookSettings, SesHookSettings};
pub use sandbox::SandboxSettings;
pub use smpp::SmppSettings;
pub use smtp::{DkimKey, SmtpSettings, Tls};
pub use tencent::TencentSettings;
pub use twilio::{Sender, TwilioSettings};
pub use webhook::{SigningKey, WebhookSettings};
pub use wechat::{CallbackKey, WechatMessage, WechatSettings};

/// What `kind` may be, and the channels that each carries.
const KINDS: &[(&str, &[Channel])] = &[
    ("smtp", &[Channel::Email]),
    ("sandbox", Channel::ALL),
    ("webhook", Channel::ALL),
    ("smpp", &[Channel::Sms]),
    ("jpush", &[Channel::Push]),
    ("getui", &[Channel::Push]),
    ("fcm", &[Channel::Push]),
    ("apns", &[Channel::Push]),
    ("wechat", &[Channel::Wechat]),
    ("aliyun", &[Channel::Sms]),
    ("tencent", &[Channel::Sms]),
    ("twilio", &[Channel::Sms]),
];

/// One account at one provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    pub name: String,
    /// `None`: every channel that lists it.
    pub channel: Option<Channel>,
    /// The app whose addresses it reaches, for WeChat and push; `None`: every address of the channel.
    pub app: Option<String>,
    /// Messages, for SMS segments; empty means no limit.
    pub rate: Rates,
    /// `None`: a tenth of a second's worth, at least 1.
    pub burst: Option<NonZeroU32>,
    /// Its share of a channel that lists several.
    pub weight: NonZeroU32,
    pub kind: ProviderKind,
}

impl ProviderConfig {
    pub fn carries(&self, channel: Channel) -> bool {
        self.channel.is_none_or(|own| own == channel)
    }
}

#[derive(Debug, Clone)]
pub enum ProviderKind {
    Smtp(Box<SmtpSettings>),
    Sandbox(SandboxSettings),
    Webhook(Box<WebhookSettings>),
    Smpp(Box<SmppSettings>),
    Jpush(Box<JpushSettings>),
    Getui(Box<GetuiSettings>),
    Fcm(Box<FcmSettings>),
    Apns(Box<ApnsSettings>),
    Wechat(Box<WechatSettings>),
    Aliyun(Box<AliyunSettings>),
    Tencent(Box<TencentSettings>),
    Twilio(Box<TwilioSettings>),
}

impl ProviderKind {
    /// Whether sending again with the same key is safe from doubles.
    pub fn takes_idempotency_key(&self) -> bool {
        match self {
            ProviderKind::Smtp(_)
            | ProviderKind::Smpp(_)
            | ProviderKind::Aliyun(_)
            | ProviderKind::Tencent(_)
            | ProviderKind::Twilio(_) => false,
            // Push has a key by which a repeat replaces what is shown, and alerts once more.
            ProviderKind::Fcm(_) | ProviderKind::Apns(_) => false,
            ProviderKind::Sandbox(_) | ProviderKind::Getui(_) => true,
            ProviderKind::Jpush(jpush) => jpush.cid == Cid::Derived,
            ProviderKind::Webhook(webhook) => webhook.idempotent,
            ProviderKind::Wechat(wechat) => wechat.message == WechatMessage::Template,
        }
    }
}

/// The providers in `table`; without a value where one is declared but wrong.
pub(super) fn providers(table: Table<'_>) -> BTreeMap<String, Option<ProviderConfig>> {
    let named = table.into_tables().into_iter().map(|(name, table)| {
        let provider = match grammar::provider_name(&name) {
            Ok(()) => provider(&name, table),
            Err(problem) => {
                table.refuse(problem);
                None
            }
        };
        (name, provider)
    });
    named.collect()
}

fn provider(name: &str, mut table: Table<'_>) -> Option<ProviderConfig> {
    let built = KINDS.iter().map(|(kind, _)| *kind).collect::<Vec<_>>().join(", ");
    table.require("kind", &format!("this version has: {built}"));
    // Which keys a provider has depends on its kind: without one, nothing more can be said about it.
    let (kind, channels) =
        table.text("kind", |kind| match KINDS.iter().find(|(known, _)| *known == kind) {
            Some(known) => Ok(*known),
            None => {
                let kinds = KINDS.iter().map(|(known, _)| *known);
                let near = did_you_mean(kind, kinds);
                Err(format!("unknown provider kind `{kind}`{near}"))
            }
        })?;
    let channel = channel(&mut table, kind, channels);
    let app = table.text("app", grammar::line);
    if app.is_some() && !matches!(channel, Some(Channel::Wechat | Channel::Push)) {
        table.problem("app", "belongs to accounts of the channels wechat and push alone");
    }
    let (rate, burst) = rate_and_burst(&mut table);
    if !rate.0.is_empty() && channel.is_none() {
        table.problem("rate", "needs a `channel` beside it: each channel keeps its own limits");
    }
    let weight = table.number("weight", "a whole number from 1 to 4294967295").unwrap_or(NonZeroU32::MIN);
    let settings = match kind {
        "smtp" => smtp::smtp(&mut table).map(|smtp| ProviderKind::Smtp(Box::new(smtp))),
        "smpp" => smpp::smpp(&mut table).map(|smpp| ProviderKind::Smpp(Box::new(smpp))),
        "webhook" => webhook::webhook(&mut table).map(|webhook| ProviderKind::Webhook(Box::new(webhook))),
        "jpush" => jpush::jpush(&mut table).map(|jpush| ProviderKind::Jpush(Box::new(jpush))),
        "getui" => getui::getui(&mut table).map(|getui| ProviderKind::Getui(Box::new(getui))),
        "fcm" => fcm::fcm(&mut table).map(|fcm| ProviderKind::Fcm(Box::new(fcm))),
        "apns" => apns::apns(&mut table).map(|apns| ProviderKind::Apns(Box::new(apns))),
        "wechat" => wechat::wechat(&mut table).map(|wechat| ProviderKind::Wechat(Box::new(wechat))),
        "aliyun" => aliyun::aliyun(&mut table).map(|aliyun| ProviderKind::Aliyun(Box::new(aliyun))),
        "tencent" => tencent::tencent(&mut table).map(|tencent| ProviderKind::Tencent(Box::new(tencent))),
        "twilio" => twilio::twilio(&mut table).map(|twilio| ProviderKind::Twilio(Box::new(twilio))),
        _ => Some(ProviderKind::Sandbox(sandbox::sandbox(&mut table))),
    };
    table.finish();
    Some(ProviderConfig { name: name.to_owned(), channel, app, rate, burst, weight, kind: settings? })
}

/// The channel that the provider says it carries, else the only one of its kind.
fn channel(table: &mut Table<'_>, kind: &str, channels: &[Channel]) -> Option<Channel> {
    let only = match channels {
        [only] => Some(*only),
        _ => None,
    };
    let channel = table.text("channel", str::parse).or(only);
    if let Some(wrong) = channel.filter(|channel| !channels.contains(channel)) {
        let carried = channels.iter().map(|channel| channel.as_str()).collect::<Vec<_>>().join(", ");
        table.problem("channel", format!("kind `{kind}` carries {carried}, not {wrong}"));
    }
    channel
}
