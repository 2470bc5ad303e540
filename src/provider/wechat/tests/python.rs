//! Calls whose signature and encryption Python made by its own reading of the rules.

use std::io::Write as _;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::config::CallbackKey;
use crate::model::receipt::About;
use crate::provider::HookRequest;
use crate::provider::wechat::hook;

const KEY: &str = "Zm9yLWEtdGVzdC1hbmQtbm90LWZvci1yZWFsLXVzZSE";

/// Runs `tests/python/wechat.py`; without `python3`, which `scripts/setup` installs, the test fails.
fn made(calls: &[Value]) -> Vec<Value> {
    let mut python = Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/wechat.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(Value::from(calls).to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn calls_that_python_made_are_read_whatever_their_length() {
    let platform = platform(Options::default()).await;
    let plain = settings(&platform);
    let safe = WechatSettings { callback_key: Some(CallbackKey::read(KEY).unwrap()), ..plain.clone() };
    let mut calls = Vec::new();
    for length in 0..40 {
        let openid = format!("o{}", "x".repeat(length));
        let xml = format!(
            "<xml><FromUserName><![CDATA[{openid}]]></FromUserName><MsgType><![CDATA[text]]></MsgType>\
             <Content><![CDATA[你好 🎉]]></Content><MsgId>{length}</MsgId></xml>"
        );
        let call = json!({"token": "test_token", "timestamp": Timestamp::now().as_second().to_string(),
                          "nonce": format!("n/{length}+ "), "xml": xml});
        let mut secret = call.clone();
        secret["key"] = KEY.into();
        secret["app_id"] = plain.app_id.as_str().into();
        secret["random"] = "fedcba9876543210".into();
        calls.extend([call, secret]);
    }
    let hooks = [hook("oa", &plain).unwrap(), hook("oa", &safe).unwrap()];
    for (index, call) in made(&calls).iter().enumerate() {
        let request = HookRequest {
            method: Method::POST,
            tail: String::new(),
            query: call["query"].as_str().unwrap().to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(call["body"].as_str().unwrap().as_bytes()),
            peer: [127, 0, 0, 1].into(),
        };
        let answer = hooks[index % 2].receive(&request).unwrap();
        let [receipt] = answer.receipts.as_slice() else { panic!("{answer:?}") };
        let About::Address { address, .. } = &receipt.about else { panic!("{receipt:?}") };
        assert_eq!(address.len(), 1 + index / 2);
        let forged = HookRequest { query: request.query.replace("nonce=", "nonce=0"), ..request };
        assert_eq!(hooks[index % 2].receive(&forged).unwrap_err().status.as_u16(), 401);
    }
}
