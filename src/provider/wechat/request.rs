//! What goes out: the three kinds of message as WeChat's interfaces take them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;

use crate::config::WechatMessage;
use crate::model::content::WechatValue;
use crate::model::{Content, DeliveryKey};
use crate::provider::{Body, Message};

/// The value that a text of the customer service is.
const TEXT: &str = "content";

/// `POST /cgi-bin/message/template/send`.
#[derive(Serialize)]
struct Template<'a> {
    touser: &'a str,
    template_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    client_msg_id: String,
    data: BTreeMap<&'a str, Value<'a>>,
}

/// `POST /cgi-bin/message/subscribe/bizsend`; the page is what opens, its name for a URL.
#[derive(Serialize)]
struct Subscription<'a> {
    touser: &'a str,
    template_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'a str>,
    data: BTreeMap<&'a str, Value<'a>>,
}

#[derive(Serialize)]
struct Value<'a> {
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    color: Option<&'a str>,
}

/// `POST /cgi-bin/message/custom/send`.
#[derive(Serialize)]
struct Custom<'a> {
    touser: &'a str,
    msgtype: &'static str,
    text: Text,
}

#[derive(Serialize)]
struct Text {
    content: String,
}

/// Where messages of a kind are posted to.
pub(super) fn path(kind: WechatMessage) -> &'static str {
    match kind {
        WechatMessage::Template => "/cgi-bin/message/template/send",
        WechatMessage::Subscribe => "/cgi-bin/message/subscribe/bizsend",
        WechatMessage::Custom => "/cgi-bin/message/custom/send",
    }
}

/// UTF-8 as it is: WeChat takes no `\uXXXX` (40033).
///
/// # Errors
/// When the message has not what this kind needs.
pub(super) fn body(kind: WechatMessage, message: &Message) -> serde_json::Result<Bytes> {
    let missing = |what| Err(serde::ser::Error::custom(what));
    let Body::Content(Content::Wechat(content)) = &message.body else {
        return missing("it has no [wechat] content");
    };
    let (touser, template_id, url) = (&*message.to, &*content.template_id, content.url.as_deref());
    let written = match kind {
        WechatMessage::Template => serde_json::to_vec(&Template {
            touser,
            template_id,
            url,
            client_msg_id: client_msg_id(message.delivery),
            data: values(&content.data, |value| value.color.as_deref()),
        }),
        WechatMessage::Subscribe => {
            let data = values(&content.data, |_| None);
            serde_json::to_vec(&Subscription { touser, template_id, page: url, data })
        }
        WechatMessage::Custom => {
            let Some(text) = content.data.get(TEXT) else {
                return missing("a text of the customer service is the value `content` of [wechat.data]");
            };
            let lines = [Some(&*text.value), url];
            let content = lines.into_iter().flatten().collect::<Vec<_>>().join("\n");
            serde_json::to_vec(&Custom { touser, msgtype: "text", text: Text { content } })
        }
    };
    written.map(Bytes::from)
}

fn values<'a>(
    data: &'a BTreeMap<String, WechatValue>,
    color: impl Fn(&'a WechatValue) -> Option<&'a str>,
) -> BTreeMap<&'a str, Value<'a>> {
    data.iter()
        .map(|(name, value)| (name.as_str(), Value { value: &value.value, color: color(value) }))
        .collect()
}

/// The same at every attempt, and another for every other delivery: its 24 bytes in the 32 characters of
/// `A-Za-z0-9_-` that WeChat takes at most.
fn client_msg_id(delivery: DeliveryKey) -> String {
    let numbers = [delivery.campaign.0, delivery.contact.0, delivery.occurrence];
    URL_SAFE_NO_PAD.encode(numbers.map(i64::to_be_bytes).concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{CampaignNo, ContactNo};
    use crate::provider::wechat::tests::message;

    fn written(kind: WechatMessage, message: &Message) -> Value {
        serde_json::from_slice(&body(kind, message).unwrap()).unwrap()
    }

    #[test]
    fn each_kind_is_written_as_its_interface_takes_it() {
        let message = message(1);
        let data = json!({"content": {"value": "你好"}, "keyword1": {"value": "39.8元", "color": "#173177"}});
        assert_eq!(
            written(WechatMessage::Template, &message),
            json!({"touser": "oOPENID_1", "template_id": "TPL", "url": "https://t.example/c/1", "data": data,
                   "client_msg_id": "AAAAAAAAAAwAAAAAAAAAAQAAAAAAAAAA"})
        );
        assert_eq!(
            written(WechatMessage::Subscribe, &message),
            json!({"touser": "oOPENID_1", "template_id": "TPL", "page": "https://t.example/c/1",
                   "data": {"content": {"value": "你好"}, "keyword1": {"value": "39.8元"}}})
        );
        assert_eq!(
            written(WechatMessage::Custom, &message),
            json!({"touser": "oOPENID_1", "msgtype": "text", "text": {"content": "你好\nhttps://t.example/c/1"}})
        );
    }

    #[test]
    fn a_message_without_url_has_none_and_chinese_stays_as_it_is() {
        let mut message = message(1);
        let Body::Content(Content::Wechat(content)) = &mut message.body else { unreachable!() };
        content.url = None;
        content.data.remove("keyword1");
        let text = body(WechatMessage::Template, &message).unwrap();
        assert!(!String::from_utf8(text.to_vec()).unwrap().contains("url"));
        let text = body(WechatMessage::Custom, &message).unwrap();
        assert_eq!(text, r#"{"touser":"oOPENID_1","msgtype":"text","text":{"content":"你好"}}"#);
    }

    #[test]
    fn what_a_kind_needs_is_named() {
        let mut message = message(1);
        let Body::Content(Content::Wechat(content)) = &mut message.body else { unreachable!() };
        content.data.remove("content");
        assert!(body(WechatMessage::Custom, &message).unwrap_err().to_string().contains("[wechat.data]"));
        assert!(body(WechatMessage::Subscribe, &message).is_ok());
    }

    proptest! {
        #[test]
        fn ids_are_as_wechat_takes_them_and_differ(a: [i64; 3], b: [i64; 3]) {
            let id = |[campaign, contact, occurrence]: [i64; 3]| client_msg_id(DeliveryKey {
                campaign: CampaignNo(campaign), contact: ContactNo(contact), occurrence,
            });
            prop_assert!(id(a).len() == 32);
            prop_assert!(id(a).bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')));
            prop_assert_eq!(a == b, id(a) == id(b));
        }
    }
}
