//! tests
use crate::model::content::{WechatContent, WechatValue};
use crate::model::{CampaignNo, ContactNo, Content, DeliveryKey, Purpose};
use crate::provider::{Body, Message, Permit};

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
