//! What a template yields for one recipient, by channel: text only, not yet in a provider's format.
//!
//! As JSON it is what `preview --json` shows and webhooks carry: the names of the fields are users' to rely on.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Channel, segments};

/// A rendered message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "channel", rename_all = "lowercase")]
pub enum Content {
    Email(EmailContent),
    Sms(SmsContent),
    Wechat(WechatContent),
    Push(PushContent),
}

impl Content {
    /// What limits charge: an SMS's segments where its text is ours, 1 for everything else.
    pub fn cells(&self) -> u32 {
        match self {
            Content::Sms(SmsContent { text: Some(text), .. }) => segments::count(text),
            _ => 1,
        }
    }

    pub fn channel(&self) -> Channel {
        match self {
            Content::Email(_) => Channel::Email,
            Content::Sms(_) => Channel::Sms,
            Content::Wechat(_) => Channel::Wechat,
            Content::Push(_) => Channel::Push,
        }
    }
}

/// Header texts hold no CR, LF or NUL: the renderer refuses them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EmailContent {
    pub subject: String,
    /// `Name <address>`; else the provider's.
    pub from: Option<String>,
    pub reply_to: Option<String>,
    pub html: Option<String>,
    pub text: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SmsContent {
    pub text: Option<String>,
    /// Sign name, template code and parameters for Aliyun.
    pub aliyun: Option<SmsTemplate>,
    /// Sign name, template id and parameters for Tencent Cloud.
    pub tencent: Option<TencentTemplate>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SmsTemplate {
    pub sign_name: String,
    pub template_code: String,
    pub params: BTreeMap<String, String>,
}

/// Tencent Cloud knows parameters by their places alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TencentTemplate {
    pub sign_name: String,
    pub template_id: String,
    pub params: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WechatContent {
    pub template_id: String,
    pub url: Option<String>,
    pub data: BTreeMap<String, WechatValue>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WechatValue {
    pub value: String,
    pub color: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PushContent {
    pub title: String,
    pub body: String,
    pub url: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_stands_in_the_json() {
        let contents = [
            Content::Email(EmailContent::default()),
            Content::Sms(SmsContent::default()),
            Content::Wechat(WechatContent::default()),
            Content::Push(PushContent::default()),
        ];
        for (content, channel) in contents.iter().zip(Channel::ALL) {
            assert_eq!(content.channel(), *channel);
            assert_eq!(serde_json::to_value(content).unwrap()["channel"], channel.as_str());
        }
    }
}
