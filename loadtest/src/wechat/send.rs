//! The routes that send: what their bodies say, and what WeChat finds wrong with them.

use std::collections::BTreeMap;

use serde_json::Value;

/// The route that a message came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/cgi-bin/message/template/send`
    Template,
    /// `/cgi-bin/message/subscribe/bizsend`, and a mini program's `.../send`
    Subscribe,
    /// `/cgi-bin/message/custom/send`
    Custom,
}

impl Kind {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/cgi-bin/message/template/send" => Some(Kind::Template),
            "/cgi-bin/message/subscribe/bizsend" | "/cgi-bin/message/subscribe/send" => Some(Kind::Subscribe),
            "/cgi-bin/message/custom/send" => Some(Kind::Custom),
            _ => None,
        }
    }
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub kind: Kind,
    /// The follower's openid.
    pub to: String,
    /// Empty in customer-service messages.
    pub template_id: String,
    pub client_msg_id: String,
    /// The body, whole.
    pub body: Value,
    pub msgid: u64,
    /// Seconds since 1970.
    pub sent_at: i64,
    /// `success`, or what its receipt says instead.
    pub status: String,
}

impl Message {
    /// What the follower reads.
    pub(super) fn text(&self) -> String {
        let body = &self.body;
        match self.kind {
            Kind::Custom => body[body["msgtype"].as_str().unwrap_or_default()].to_string(),
            Kind::Template | Kind::Subscribe => {
                [&body["template_id"], &body["data"], &body["url"], &body["miniprogram"]]
                    .map(Value::to_string)
                    .join("\n")
            }
        }
    }
}

/// Why a request is refused: the errcode and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    /// In place of the code's usual words.
    pub(super) detail: Option<String>,
}

impl From<i64> for Refusal {
    fn from(code: i64) -> Self {
        Refusal { code, detail: None }
    }
}

/// The message in a body. `templates` as in [`super::Options::templates`].
pub(super) fn message(
    kind: Kind,
    raw: &[u8],
    templates: &BTreeMap<String, Vec<String>>,
) -> Result<Message, Refusal> {
    if raw.is_empty() {
        return Err(44002.into());
    }
    if escapes_characters(raw) {
        return Err(40033.into());
    }
    let body: Value = serde_json::from_slice(raw).map_err(|_| 47001)?;
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (to, template_id, client_msg_id) = (text("touser"), text("template_id"), text("client_msg_id"));
    let word = |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
    if to.is_empty() || to.len() > 128 || !word(&to) {
        return Err(40003.into());
    }
    if client_msg_id.len() > 32 || !word(&client_msg_id) {
        return Err(argument("client_msg_id"));
    }
    match kind {
        Kind::Custom => {
            let inner = body["msgtype"].as_str().map(|kind| &body[kind]);
            if !inner.is_some_and(Value::is_object) {
                return Err(40008.into());
            }
        }
        Kind::Template | Kind::Subscribe => data(&body, &template_id, templates)?,
    }
    Ok(Message {
        kind,
        to,
        template_id,
        client_msg_id,
        body,
        msgid: 0,
        sent_at: 0,
        status: "success".to_owned(),
    })
}

/// WeChat takes no `\uXXXX`.
fn escapes_characters(raw: &[u8]) -> bool {
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && bytes.next() == Some(&b'u') {
            return true;
        }
    }
    false
}

fn argument(field: &str) -> Refusal {
    Refusal { code: 47003, detail: Some(format!("argument invalid! {field} invalid")) }
}

fn data(body: &Value, template_id: &str, templates: &BTreeMap<String, Vec<String>>) -> Result<(), Refusal> {
    if template_id.is_empty() || template_id.len() > 64 {
        return Err(40036.into());
    }
    let keys = templates.get(template_id);
    if keys.is_none() && !templates.is_empty() {
        return Err(40037.into());
    }
    let fields = body["data"].as_object().ok_or_else(|| argument("data"))?;
    let missing = keys.into_iter().flatten().find(|key| !fields.contains_key(*key));
    if let Some(key) = missing {
        return Err(argument(&format!("data.{key}")));
    }
    for (key, field) in fields {
        if !field["value"].as_str().is_some_and(|value| fits(key, value)) {
            return Err(argument(&format!("data.{key}.value")));
        }
    }
    if body["miniprogram"].is_object() && body["miniprogram"]["appid"].as_str().is_none_or(str::is_empty) {
        return Err(40013.into());
    }
    Ok(())
}

/// Whether a value is what its key's name promises; keys of the old templates promise nothing.
/// <https://developers.weixin.qq.com/doc/offiaccount/Subscription_Messages/api.html>, section "data"
fn fits(key: &str, value: &str) -> bool {
    let length = value.chars().count();
    let within = |most| (1..=most).contains(&length);
    let ascii = |taken: fn(u8) -> bool, most| within(most) && value.bytes().all(taken);
    match key.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "thing" => within(20),
        "number" => ascii(|c| c.is_ascii_digit() || matches!(c, b'.' | b'-'), 32),
        "letter" => ascii(|c| c.is_ascii_alphabetic(), 32),
        "character_string" => ascii(|c| c.is_ascii_graphic() || c == b' ', 32),
        "symbol" => within(5),
        "phrase" => within(5) && !value.bytes().any(|c| c.is_ascii()),
        "name" => within(if value.is_ascii() { 20 } else { 10 }),
        "phone_number" => ascii(|c| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b' '), 17),
        "car_number" => within(8),
        "amount" | "date" | "time" => within(32) && value.bytes().any(|c| c.is_ascii_digit()),
        _ => true,
    }
}

/// What WeChat says beside an errcode.
pub(super) fn words(code: i64) -> &'static str {
    match code {
        0 => "ok",
        -1 => "system error",
        40001 => "invalid credential, access_token is invalid or not latest",
        40003 => "invalid openid",
        40008 => "invalid message type",
        40013 => "invalid appid",
        40014 => "invalid access_token",
        40033 => "invalid charset. please check your request, if include \\uxxxx will create fail!",
        40036 => "invalid template_id size",
        40037 => "invalid template_id",
        40066 => "invalid url",
        40125 => "invalid appsecret",
        40164 => "invalid ip, not in whitelist",
        40241 => "The message is duplicate in 60 seconds",
        40243 => "appsecret is frozen",
        41001 => "access_token missing",
        41030 => "invalid page",
        42001 => "access_token expired",
        43002 => "require POST method",
        43004 => "require subscribe",
        43019 => "require remove blacklist",
        43101 => "user refuse to accept the msg",
        43116 => "This template_id is banned",
        43117 => "Sending messages to this openid too frequently",
        44002 => "empty post data",
        45009 => "reach max api daily quota limit",
        45011 => "api minute-quota reach limit, must slower, retry next minute",
        45015 => "response out of time limit or subscription is canceled",
        45047 => "out of response count limit",
        45103 | 45109 => "this api is retired",
        47001 => "data format error",
        47003 => "argument invalid!",
        48001 => "api unauthorized",
        48002 => "user block receive message",
        48004 => "api forbidden for irregularities",
        50002 => "user limited",
        61003 => "component is not authorized by this account",
        61007 => "api is unauthorized to component",
        _ => "refused by the script",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(raw: &str) -> i64 {
        let templates = [("TPL".to_owned(), vec!["thing1".to_owned()])].into();
        message(Kind::Template, raw.as_bytes(), &templates).map_or_else(|refusal| refusal.code, |_| 0)
    }

    #[test]
    fn what_is_wrong_with_a_body_has_a_code() {
        let with = |field: &str| format!(r#"{{"touser":"o1","template_id":"TPL","data":{{{field}}}}}"#);
        let ok = with(r#""thing1":{"value":"二十"}"#);
        assert_eq!(code(&ok), 0);
        for (raw, wanted) in [
            (String::new(), 44002),
            ("{".to_owned(), 47001),
            (ok.replace("二", "\\u4e8c"), 40033),
            (ok.replace("二", "\\\\u"), 0),
            (ok.replace("o1", "o 1"), 40003),
            (ok.replace("TPL", ""), 40036),
            (ok.replace("TPL", "other"), 40037),
            (with(""), 47003),
            (with(r#""thing1":{"value":""}"#), 47003),
            (with(r#""thing1":{"value":1}"#), 47003),
            (ok.replace("二十", &"二".repeat(20)), 0),
            (ok.replace("二十", &"二".repeat(21)), 47003),
            (ok.replace(r#""data""#, r#""client_msg_id":"a.b","data""#), 47003),
        ] {
            assert_eq!(code(&raw), wanted, "{raw}");
        }
    }

    #[test]
    fn values_are_what_their_keys_promise() {
        for (key, good, bad) in [
            ("number1", "12.5", "12a"),
            ("letter2", "abc", "ab1"),
            ("character_string3", "A-1/b", "单号"),
            ("phrase4", "已发货", "shipped"),
            ("name5", "张三", "张三张三张三张三张三张"),
            ("phone_number6", "+86 138-0000-0001", "phone"),
            ("amount7", "￥39.8", "free"),
        ] {
            assert!(fits(key, good) && !fits(key, bad), "{key}");
        }
        assert!(fits("first", &"x".repeat(100)));
    }
}
