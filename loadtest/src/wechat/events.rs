//! What WeChat calls the customer for: how a template message ended, who came and went, and what was written.
//!
//! XML, signed in the query; in safe mode the XML is encrypted and the signature covers it, too. The customer answers
//! `success` or nothing.

use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::safe::{Safe, signature};
use crate::callback::{Callback, Post, with_query};
use crate::clock::Clock;
use crate::http::form;

/// What happened to one follower, at so many seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub openid: String,
    pub at: i64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// `TEMPLATESENDJOBFINISH` with `success` or what its receipt says instead.
    Finished {
        msgid: u64,
        status: String,
    },
    /// `subscribe_msg_sent_event`: a subscribe message's end, with an error code of 0 or another.
    Sent {
        msgid: u64,
        template_id: String,
        error_code: String,
    },
    /// `subscribe_msg_popup_event`: the follower took or refused one more message of this template.
    Asked {
        template_id: String,
        accepted: bool,
    },
    Subscribe,
    Unsubscribe,
    /// A message with this `MsgId`.
    Text {
        msgid: u64,
        content: String,
    },
}

impl Event {
    fn xml(&self, original_id: &str) -> String {
        let text = |name: &str, value: &str| format!("<{name}>{}</{name}>", cdata(value));
        let event = |name: &str, rest: String| text("MsgType", "event") + &text("Event", name) + &rest;
        let what = match &self.what {
            What::Finished { msgid, status } => {
                event("TEMPLATESENDJOBFINISH", format!("<MsgID>{msgid}</MsgID>") + &text("Status", status))
            }
            What::Sent { msgid, template_id, error_code } => {
                let status = if error_code == "0" { "success" } else { "failed" };
                let list = text("TemplateId", template_id)
                    + &text("MsgID", &msgid.to_string())
                    + &text("ErrorCode", error_code)
                    + &text("ErrorStatus", status);
                event("subscribe_msg_sent_event", listed("SubscribeMsgSentEvent", &list))
            }
            What::Asked { template_id, accepted } => {
                let answer = if *accepted { "accept" } else { "reject" };
                let list = text("TemplateId", template_id)
                    + &text("SubscribeStatusString", answer)
                    + &text("PopupScene", "2");
                event("subscribe_msg_popup_event", listed("SubscribeMsgPopupEvent", &list))
            }
            What::Subscribe => event("subscribe", text("EventKey", "")),
            What::Unsubscribe => event("unsubscribe", text("EventKey", "")),
            What::Text { msgid, content } => {
                text("MsgType", "text") + &text("Content", content) + &format!("<MsgId>{msgid}</MsgId>")
            }
        };
        let (to, from) = (text("ToUserName", original_id), text("FromUserName", &self.openid));
        format!("<xml>{to}{from}<CreateTime>{}</CreateTime>{what}</xml>", self.at)
    }
}

fn listed(name: &str, list: &str) -> String {
    format!("<{name}><List>{list}</List></{name}>")
}

/// A section that ends where the text ends, whatever the text says.
fn cdata(text: &str) -> String {
    format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
}

/// How WeChat writes its calls.
#[derive(Debug)]
pub struct Events {
    pub(super) original_id: String,
    pub(super) token: String,
    pub(super) safe: Option<Safe>,
    pub(super) clock: Clock,
}

impl Events {
    /// The query that proves a call to be WeChat's.
    pub(super) fn signed(&self) -> (String, String, String) {
        let (timestamp, nonce) = (self.clock.seconds().to_string(), fastrand::u32(..).to_string());
        let signature = signature(&[&self.token, &timestamp, &nonce]);
        (format!("signature={signature}&timestamp={timestamp}&nonce={nonce}"), timestamp, nonce)
    }
}

impl Callback for Events {
    type Receipt = Event;

    /// One event a call.
    fn post(&self, url: Option<&str>, events: &[Event]) -> Option<Post> {
        let (url, event) = (url?, events.first()?);
        let (mut query, timestamp, nonce) = self.signed();
        query.push_str(&format!("&openid={}", form::encode(&event.openid)));
        let mut body = event.xml(&self.original_id);
        if let Some(safe) = &self.safe {
            let encrypted = safe.encrypt(&body, fastrand::u128(..).to_ne_bytes())?;
            let signature = signature(&[&self.token, &timestamp, &nonce, &encrypted]);
            query.push_str(&format!("&encrypt_type=aes&msg_signature={signature}"));
            let to = cdata(&self.original_id);
            body =
                format!("<xml><ToUserName>{to}</ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>");
        }
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("text/xml"))];
        Some(Post { url: with_query(url, &query), headers, body: body.into() })
    }

    fn took(&self, status: u16, body: &[u8]) -> bool {
        status == 200 && matches!(body, b"" | b"success")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_template_message_reads_as_in_the_vendor_s_example() {
        let what = What::Finished { msgid: 200_163_836, status: "success".to_owned() };
        let event = Event { openid: "oia2TjuEGTNoeX76QEjQNrcURxG8".to_owned(), at: 1_795_219_200, what };
        let captured = include_str!("../../captures/wechat.txt");
        assert!(captured.contains(&event.xml("gh_7f083739789a")));
    }

    #[test]
    fn no_text_ends_its_section() {
        assert_eq!(cdata("a]]>b"), "<![CDATA[a]]]]><![CDATA[>b]]>");
    }
}
