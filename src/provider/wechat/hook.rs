//! WeChat's calls: the check of the URL, and what recipients did, in plain and in safe mode.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::Timestamp;

use super::envelope::{Query, decrypted};
use super::news::{Notice, receipts};
use crate::config::{CallbackKey, Secret, WechatSettings};
use crate::provider::{Hook, HookAnswer, HookRefusal, HookRequest};

/// WeChat's calls have one notice, of some hundred bytes.
const LONGEST: usize = 64 * 1024;

/// The hook of the account `name`; none where no token is configured to believe calls by.
pub fn hook(name: &str, settings: &WechatSettings) -> Option<Arc<dyn Hook>> {
    Some(Arc::new(WechatHook {
        name: name.to_owned(),
        app_id: settings.app_id.clone(),
        token: settings.callback_token.clone()?,
        key: settings.callback_key.clone(),
    }))
}

#[derive(Debug)]
pub(super) struct WechatHook {
    pub(super) name: String,
    pub(super) app_id: String,
    pub(super) token: Secret,
    /// In safe mode.
    pub(super) key: Option<CallbackKey>,
}

impl Hook for WechatHook {
    fn receive(&self, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
        self.receive_at(request, Timestamp::now())
    }
}

impl WechatHook {
    pub(super) fn receive_at(
        &self,
        request: &HookRequest,
        now: Timestamp,
    ) -> Result<HookAnswer, HookRefusal> {
        let query = Query::read(&request.query);
        match request.method {
            Method::GET if query.is_signed(&self.token, None, now) => Ok(answer(query.echostr)),
            Method::POST => {
                let notice = self.notice(&query, &request.body, now)?;
                let receipts = receipts(&self.name, &notice, now);
                Ok(HookAnswer { receipts, ..answer("success".to_owned()) })
            }
            Method::GET => Err(forged()),
            _ => Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "calls come by GET and POST")),
        }
    }

    /// The notice of a call that WeChat signed.
    fn notice(&self, query: &Query, body: &[u8], now: Timestamp) -> Result<Notice, HookRefusal> {
        if body.len() > LONGEST {
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "a call has at most 64 KiB"));
        }
        let text = std::str::from_utf8(body).map_err(|_| unreadable())?;
        match &self.key {
            None if query.encrypt_type == "aes" => Err(refusal(
                StatusCode::BAD_REQUEST,
                "the call is encrypted: set callback_aes_key to the account's EncodingAESKey",
            )),
            None if query.is_signed(&self.token, None, now) => Notice::read(text).ok_or_else(unreadable),
            None => Err(forged()),
            // Who forges plain calls must not be believed once calls are signed whole.
            Some(key) => {
                let encrypted = Notice::read(text).map(|notice| notice.encrypted).ok_or_else(unreadable)?;
                let encrypted = encrypted.ok_or_else(|| {
                    refusal(
                        StatusCode::BAD_REQUEST,
                        "the call is not encrypted: set the account to safe mode, or remove callback_aes_key",
                    )
                })?;
                if !query.is_signed(&self.token, Some(&encrypted), now) {
                    return Err(forged());
                }
                let message = decrypted(&encrypted, key, &self.app_id).ok_or_else(|| {
                    refusal(
                        StatusCode::BAD_REQUEST,
                        "the call cannot be decrypted: compare callback_aes_key and app_id with the console's",
                    )
                })?;
                Notice::read(&message).ok_or_else(unreadable)
            }
        }
    }
}

fn answer(text: String) -> HookAnswer {
    HookAnswer {
        content_type: Some("text/plain; charset=utf-8"),
        body: Bytes::from(text),
        ..HookAnswer::default()
    }
}

fn refusal(status: StatusCode, detail: &str) -> HookRefusal {
    HookRefusal { status, detail: detail.to_owned() }
}

fn forged() -> HookRefusal {
    refusal(
        StatusCode::UNAUTHORIZED,
        "the signature is not one by callback_token, or older than a quarter of an hour",
    )
}

fn unreadable() -> HookRefusal {
    refusal(StatusCode::BAD_REQUEST, "the body is not the XML of a WeChat call; JSON is not taken")
}

#[cfg(test)]
mod tests {
    use super::super::envelope::tests::{APP_ID, AT, ENCRYPTED, KEY, PLAIN, TOKEN};
    use super::*;
    use crate::model::receipt::{About, News};

    const SIGNED: &str =
        "signature=12e196f5e4264daaff0a7d04b888a8164482d7ef&timestamp=1795219200&nonce=nonce123";
    const SAFE: &str = "signature=x&timestamp=1795219200&nonce=nonce123&openid=o&encrypt_type=aes\
                        &msg_signature=fcafa3536a5a6397dba4612b7e5c6a28c6b24e0f";

    fn hook(safe: bool) -> WechatHook {
        let key = safe.then(|| CallbackKey::read(KEY).unwrap());
        WechatHook { name: "oa".to_owned(), app_id: APP_ID.to_owned(), token: Secret::new(TOKEN), key }
    }

    fn called(hook: &WechatHook, method: Method, query: &str, body: &str) -> Result<HookAnswer, HookRefusal> {
        let request = HookRequest {
            method,
            tail: String::new(),
            query: query.to_owned(),
            headers: http::HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: [127, 0, 0, 1].into(),
        };
        hook.receive_at(&request, Timestamp::from_second(AT).unwrap())
    }

    fn safe_body() -> String {
        format!(
            "<xml><ToUserName><![CDATA[gh]]></ToUserName><Encrypt><![CDATA[{ENCRYPTED}]]></Encrypt></xml>"
        )
    }

    #[test]
    fn the_check_of_the_url_hears_its_own_text() {
        for safe in [false, true] {
            let answer = called(&hook(safe), Method::GET, &format!("{SIGNED}&echostr=123%3C"), "").unwrap();
            assert_eq!((&*answer.body, answer.receipts.len()), (&b"123<"[..], 0));
            let forged = called(&hook(safe), Method::GET, &format!("{SIGNED}0&echostr=123"), "");
            assert_eq!(forged.unwrap_err().status, StatusCode::UNAUTHORIZED);
        }
    }

    #[test]
    fn both_modes_yield_the_same_receipt_and_hear_success() {
        let plain = called(&hook(false), Method::POST, SIGNED, PLAIN).unwrap();
        let safe = called(&hook(true), Method::POST, SAFE, &safe_body()).unwrap();
        assert_eq!(plain.receipts, safe.receipts);
        assert_eq!((&*plain.body, &*safe.body), (&b"success"[..], &b"success"[..]));
        let [receipt] = plain.receipts.as_slice() else { panic!("{plain:?}") };
        let about = About::Reference { provider: "oa".to_owned(), reference: "200163836".to_owned() };
        assert_eq!((&receipt.about, &receipt.news), (&about, &News::Delivered));
    }

    #[test]
    fn calls_of_others_and_of_the_other_mode_are_refused() {
        let status = |safe, query: &str, body: &str| {
            called(&hook(safe), Method::POST, query, body).unwrap_err().status.as_u16()
        };
        assert_eq!(status(false, &SIGNED.replace("nonce123", "nonce124"), PLAIN), 401);
        assert_eq!(status(false, SAFE, &safe_body()), 400);
        assert_eq!(status(true, SIGNED, PLAIN), 400);
        assert_eq!(status(true, &SAFE.replace("fcaf", "fcae"), &safe_body()), 401);
        assert_eq!(status(true, SAFE, &safe_body().replace("Q3st", "Q3su")), 401);
        assert_eq!(status(false, SIGNED, "{\"MsgType\": \"text\"}"), 400);
        assert_eq!(status(false, SIGNED, &" ".repeat(LONGEST + 1)), 413);
        let bomb = "<!DOCTYPE x [<!ENTITY a \"b\">]><xml><Content>&a;</Content></xml>";
        assert_eq!(status(false, SIGNED, bomb), 400);
        assert_eq!(called(&hook(false), Method::PUT, SIGNED, "").unwrap_err().status.as_u16(), 405);
        let other = WechatHook { app_id: "wxother".to_owned(), ..hook(true) };
        let refusal = called(&other, Method::POST, SAFE, &safe_body()).unwrap_err();
        assert!(refusal.detail.contains("app_id"), "{}", refusal.detail);
    }
}
