//! Who called, and what the call holds: WeChat's signature and, in safe mode, its encryption.
//!
//! The signature of the plain mode covers the time and a nonce and not the message: whoever has seen one call can
//! write others for as long as its time is believed. In safe mode the message is signed, too.

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::config::{CallbackKey, Secret};

/// Seconds that the call's time may lie before or after ours. WeChat names no figure; it repeats a call within seconds.
const TOLERANCE: u64 = 900;
/// Random bytes before the message.
const RANDOM: usize = 16;
/// The message's padding fills up to this, not to the cipher's 16.
const PADDED_TO: u8 = 32;

/// What a call's query says, decoded.
#[derive(Debug, Default)]
pub(super) struct Query {
    signature: String,
    msg_signature: String,
    timestamp: String,
    nonce: String,
    pub(super) echostr: String,
    pub(super) encrypt_type: String,
}

impl Query {
    pub(super) fn read(query: &str) -> Query {
        let mut read = Query::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let field = match name {
                "signature" => &mut read.signature,
                "msg_signature" => &mut read.msg_signature,
                "timestamp" => &mut read.timestamp,
                "nonce" => &mut read.nonce,
                "echostr" => &mut read.echostr,
                "encrypt_type" => &mut read.encrypt_type,
                _ => continue,
            };
            *field = percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned();
        }
        read
    }

    /// Whether whoever knows `token` signed the call, and `encrypted` with it, within a quarter of an hour of `now`.
    /// Compares in constant time.
    pub(super) fn is_signed(&self, token: &Secret, encrypted: Option<&str>, now: Timestamp) -> bool {
        let mut signed = vec![token.reveal(), &self.timestamp, &self.nonce];
        signed.extend(encrypted);
        signed.sort_unstable();
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, signed.concat().as_bytes());
        let given = if encrypted.is_some() { &self.msg_signature } else { &self.signature };
        let fresh =
            self.timestamp.parse::<i64>().is_ok_and(|seconds| seconds.abs_diff(now.as_second()) <= TOLERANCE);
        fresh && verify_slices_are_equal(hex::encode(hash).as_bytes(), given.as_bytes()).is_ok()
    }
}

/// The message that `encrypted` holds; `None` where it was not made with `key` for the account `app_id`.
///
/// AES-256-CBC, its vector the key's first half, over: 16 random bytes, the length as 4 bytes, the message, the
/// account's AppID, 1 to 32 bytes that each hold their number.
pub(super) fn decrypted(encrypted: &str, key: &CallbackKey, app_id: &str) -> Option<String> {
    let mut bytes = STANDARD.decode(encrypted).ok()?;
    let vector: [u8; 16] = *key.bytes().first_chunk()?;
    let cipher = DecryptingKey::cbc(UnboundCipherKey::new(&AES_256, key.bytes()).ok()?).ok()?;
    let context = DecryptionContext::Iv128(FixedLength::from(vector));
    let plain: &[u8] = cipher.decrypt(&mut bytes, context).ok()?;
    let padding = *plain.last()?;
    let plain = plain.get(..plain.len().checked_sub(padding.into())?)?;
    let (length, rest) = plain.get(RANDOM..)?.split_first_chunk::<4>()?;
    let (message, owner) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let whole = (1..=PADDED_TO).contains(&padding) && owner == app_id.as_bytes();
    whole.then(|| String::from_utf8(message.to_vec()).ok()).flatten()
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    pub(in super::super) const APP_ID: &str = "wx1234567890abcdef";
    pub(in super::super) const TOKEN: &str = "test_token";
    /// The time of the captures.
    pub(in super::super) const AT: i64 = 1_795_219_200;
    /// What wechatpy 1.8.18 makes of `PLAIN` with the random bytes `0123456789abcdef`.
    pub(in super::super) const ENCRYPTED: &str = "Q3stYC6hdFzMh9T8HCvyDBheUbtOFT5Wnoy+DO9e/EmCkmSsPOYkkXqMGz3Ww9OH/UeE9WoGO/xkuNmRWcRMq90/9Q1CBPWDrxMcb3UIOXBk6F8w19LRjDzZWLwEFSp4LUKgdxJ5wB6IJirQhJo/C1A91O9ATJX8WSLYcAuWmT0IJeMWIEpPn6kYpxdpqOMo7+djyMVB0lCIo2hw7TwYx55pJmGkpG/XLFAOI+zGyqeY3hOd534gLzk6TXxct2qF8TquydlikF10wt5VjMerxxn618C4FRQwAtlS9TD1QPS3csZCYfGVOtNPy79J19YxfbeYiSVseO+kPN7cognJjc+kdYxllT8+NmfROQ538KSeXiI49eQl3C3aHqLST/4P+8Cus0dj4mrZoNAsE5bu/q7w6GXf/yQovOB/GPJioo9Nw6Ok+vd5YeZqR8rJBRQIVwyYOYWz8oI4X2Eb7ZSDGg==";
    pub(in super::super) const PLAIN: &str = "<xml><ToUserName><![CDATA[gh_7f083739789a]]></ToUserName><FromUserName><![CDATA[oia2TjuEGTNoeX76QEjQNrcURxG8]]></FromUserName><CreateTime>1795219200</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[TEMPLATESENDJOBFINISH]]></Event><MsgID>200163836</MsgID><Status><![CDATA[success]]></Status></xml>";

    fn key() -> CallbackKey {
        CallbackKey::read(KEY).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(AT).unwrap()
    }

    /// Encrypted as WeChat does it, its padding as long as `padding`.
    fn encrypted(message: &str, app_id: &str, padding: u8) -> String {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let mut plain = [b"0123456789abcdef", &length[..], message.as_bytes(), app_id.as_bytes()].concat();
        plain.extend(vec![padding; padding.into()]);
        let cipher = EncryptingKey::cbc(UnboundCipherKey::new(&AES_256, key().bytes()).unwrap()).unwrap();
        let vector = FixedLength::from(*key().bytes().first_chunk::<16>().unwrap());
        cipher.less_safe_encrypt(&mut plain, EncryptionContext::Iv128(vector)).unwrap();
        STANDARD.encode(plain)
    }

    #[test]
    fn the_captured_calls_are_believed() {
        let plain = Query::read(
            "signature=12e196f5e4264daaff0a7d04b888a8164482d7ef&timestamp=1795219200&nonce=nonce123&echostr=a%2Bb",
        );
        let token = Secret::new(TOKEN);
        assert!(plain.is_signed(&token, None, now()));
        assert_eq!(plain.echostr, "a+b");
        let safe = Query::read(
            "msg_signature=fcafa3536a5a6397dba4612b7e5c6a28c6b24e0f&timestamp=1795219200&nonce=nonce123&encrypt_type=aes",
        );
        assert!(safe.is_signed(&token, Some(ENCRYPTED), now()));
        assert_eq!(decrypted(ENCRYPTED, &key(), APP_ID).unwrap(), PLAIN);

        assert!(!plain.is_signed(&Secret::new("test_tokem"), None, now()));
        assert!(!plain.is_signed(&token, Some(ENCRYPTED), now()));
        assert!(!safe.is_signed(&token, Some(&ENCRYPTED.replacen('Q', "R", 1)), now()));
        assert!(!Query::read("").is_signed(&token, None, now()));
        for (seconds, believed) in [(AT - 901, false), (AT - 900, true), (AT + 900, true), (AT + 901, false)]
        {
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(plain.is_signed(&token, None, now), believed, "{seconds}");
        }
    }

    #[test]
    fn messages_for_others_and_damaged_ones_are_none() {
        let message = |app_id, padding| decrypted(&encrypted("<xml/>", app_id, padding), &key(), APP_ID);
        // 16 + 4 + 6 + 18 bytes: to a multiple of 16, then of 32.
        assert_eq!(message(APP_ID, 4).as_deref(), Some("<xml/>"));
        assert_eq!(message(APP_ID, 20).as_deref(), Some("<xml/>"));
        assert_eq!(message(APP_ID, 36), None);
        assert_eq!(message("wx1234567890abcdee", 20), None);
        let other = CallbackKey::read(&KEY.replace('a', "b")).unwrap();
        assert_eq!(decrypted(ENCRYPTED, &other, APP_ID), None);
        for bad in ["", "!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA=="] {
            assert_eq!(decrypted(bad, &key(), APP_ID), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encrypted_comes_out(message in "\\PC{0,200}") {
            let length = RANDOM + 4 + message.len() + APP_ID.len();
            let padding = u8::try_from(32 - length % 32).unwrap();
            let sent = encrypted(&message, APP_ID, padding);
            prop_assert_eq!(decrypted(&sent, &key(), APP_ID), Some(message));
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..10).prop_map(|blocks| {
            blocks.iter().flat_map(|byte| [*byte; 16]).collect::<Vec<_>>()
        })) {
            prop_assert_eq!(decrypted(&STANDARD.encode(bytes), &key(), APP_ID), None);
        }
    }
}
