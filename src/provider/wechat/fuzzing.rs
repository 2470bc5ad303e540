//! What must hold of every call in WeChat's name.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::envelope::{Query, decrypted};
use super::hook::WechatHook;
use super::news::{Notice, receipts};
use crate::config::{CallbackKey, Secret};
use crate::fuzzing::assert_kept;
use crate::model::receipt::About;
use crate::model::{Channel, Receipt};
use crate::provider::{HookAnswer, HookRefusal, HookRequest};

const TOKEN: &str = "test_token";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const APP_ID: &str = "wx1234567890abcdef";
const AT: i64 = 1_795_219_200;

/// A notice is refused or tells of this account's messages and people, the same each time, in both modes, and only
/// where it is signed.
pub(crate) fn notice(input: &[u8]) {
    let Ok(xml) = std::str::from_utf8(input) else { return };
    let plain = called(false, &signature(None), xml.as_bytes());
    let safe = sealed(xml);
    let outer = format!("<xml><Encrypt><![CDATA[{safe}]]></Encrypt></xml>");
    let in_safe_mode = called(true, &signature(Some(&safe)), outer.as_bytes());
    let forged = [
        called(false, "signature=00&timestamp=1795219200&nonce=n", input),
        called(true, &signature(None), input),
        called(true, &signature(Some("other")), outer.as_bytes()),
    ];
    for refused in forged {
        let refusal = refused.expect_err("nobody signed it");
        assert!(refusal.status.is_client_error(), "{refusal:?}");
    }
    match (Notice::read(xml), plain, in_safe_mode) {
        (Some(notice), Ok(plain), Ok(safe)) => {
            assert_eq!(plain.receipts, receipts("oa", &notice, now()));
            assert_eq!(plain.receipts, safe.receipts);
            plain.receipts.iter().for_each(assert_told);
        }
        (None, Err(plain), Err(safe)) => {
            assert!(plain.status.is_client_error() && safe.status.is_client_error());
        }
        other => panic!("{other:?}"),
    }
}

/// What is sealed comes out whole; what is no envelope is none.
pub(crate) fn envelope(input: &[u8]) {
    let key = CallbackKey::read(KEY).expect("a key");
    let text = String::from_utf8_lossy(input);
    assert_eq!(decrypted(&sealed(&text), &key, APP_ID).as_deref(), Some(&*text));
    assert_eq!(decrypted(&sealed(&text), &key, "wxother"), None);
    let Some((query, envelope)) = text.split_once('\n') else { return };
    // Nobody without the key can end an envelope with the account's AppID.
    for envelope in [envelope, &STANDARD.encode(envelope)] {
        assert_eq!(decrypted(envelope, &key, APP_ID), None);
    }
    let signed = Query::read(query).is_signed(&Secret::new(TOKEN), Some(envelope), now());
    assert!(!signed, "{query}");
    if let Ok(answer) = called_by(Method::GET, false, query, &[]) {
        panic!("nobody signed it: {answer:?}");
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(AT).expect("an instant")
}

/// As WeChat encrypts.
fn sealed(message: &str) -> String {
    let key = CallbackKey::read(KEY).expect("a key");
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let mut plain = [b"0123456789abcdef", &length[..], message.as_bytes(), APP_ID.as_bytes()].concat();
    let padding = 32 - plain.len() % 32;
    plain.resize(plain.len() + padding, u8::try_from(padding).expect("at most 32"));
    let unbound = UnboundCipherKey::new(&AES_256, key.bytes()).expect("32 bytes");
    let vector = FixedLength::from(*key.bytes().first_chunk::<16>().expect("32 bytes"));
    let cipher = EncryptingKey::cbc(unbound).expect("a cipher");
    cipher.less_safe_encrypt(&mut plain, EncryptionContext::Iv128(vector)).expect("whole blocks");
    STANDARD.encode(plain)
}

/// The query of a call with a right signature.
fn signature(encrypted: Option<&str>) -> String {
    let time = AT.to_string();
    let mut parts = vec![TOKEN, &time, "n"];
    parts.extend(encrypted);
    parts.sort_unstable();
    let hash = hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, parts.concat().as_bytes()));
    match encrypted {
        None => format!("signature={hash}&timestamp={time}&nonce=n"),
        Some(_) => format!("msg_signature={hash}&timestamp={time}&nonce=n&encrypt_type=aes"),
    }
}

fn called(safe: bool, query: &str, body: &[u8]) -> Result<HookAnswer, HookRefusal> {
    called_by(Method::POST, safe, query, body)
}

fn called_by(method: Method, safe: bool, query: &str, body: &[u8]) -> Result<HookAnswer, HookRefusal> {
    let key = safe.then(|| CallbackKey::read(KEY).expect("a key"));
    let (name, app_id, token) = ("oa".to_owned(), APP_ID.to_owned(), Secret::new(TOKEN));
    let request = HookRequest {
        method,
        tail: String::new(),
        query: query.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body),
        peer: [127, 0, 0, 1].into(),
    };
    WechatHook { name, app_id, token, key }.receive_at(&request, now())
}

fn assert_told(receipt: &Receipt) {
    match &receipt.about {
        About::Reference { provider, reference } => assert!(provider == "oa" && !reference.is_empty()),
        About::Address { channel, address } => assert!(*channel == Channel::Wechat && !address.is_empty()),
        About::Delivery(_) => panic!("no key of ours travels: {receipt:?}"),
    }
    assert!(receipt.at <= now(), "{receipt:?}");
    assert_kept(receipt);
}
