//! What a template yields for one recipient, by channel: text only, not yet in a provider's format.

use std::collections::BTreeMap;

use super::segments;

/// A rendered message.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Header texts hold no CR, LF or NUL: the renderer refuses them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmailContent {
    pub subject: String,
    /// `Name <address>`; else the provider's.
    pub from: Option<String>,
    pub reply_to: Option<String>,
    pub html: Option<String>,
    pub text: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmsContent {
    pub text: Option<String>,
    /// Sign name, template code and parameters for Aliyun.
    pub aliyun: Option<SmsTemplate>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmsTemplate {
    pub sign_name: String,
    pub template_code: String,
    pub params: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WechatContent {
    pub template_id: String,
    pub url: Option<String>,
    pub data: BTreeMap<String, WechatValue>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WechatValue {
    pub value: String,
    pub color: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushContent {
    pub title: String,
    pub body: String,
    pub url: Option<String>,
}
