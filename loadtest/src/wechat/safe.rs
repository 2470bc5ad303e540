//! How WeChat signs its calls, and encrypts them in safe mode.
//!
//! <https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Message_encryption_and_decryption_instructions.html>

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::digest::sha1_hex;

/// SHA-1 over the parts, sorted and joined.
pub(super) fn signature(parts: &[&str]) -> String {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    sha1_hex(parts.concat().as_bytes())
}

/// The padding reaches to a multiple of this, although AES asks for 16 only.
const BLOCK: usize = 32;

/// Safe mode's key.
#[derive(Clone)]
pub(super) struct Safe {
    key: [u8; 32],
    app_id: String,
}

impl std::fmt::Debug for Safe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Safe").field("app_id", &self.app_id).finish_non_exhaustive()
    }
}

impl Safe {
    /// None where the EncodingAESKey is not one: 43 characters of base64.
    pub(super) fn new(encoding_aes_key: &str, app_id: &str) -> Option<Self> {
        // The last character carries two bits too many.
        let lenient =
            GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
        let key = lenient.decode(format!("{encoding_aes_key}=")).ok()?.try_into().ok()?;
        Some(Safe { key, app_id: app_id.to_owned() })
    }

    /// 16 bytes of chance, the length, the text and the app id, padded, in AES-256-CBC and base64. None where the
    /// library refuses, which it does for no text.
    pub(super) fn encrypt(&self, text: &str, chance: [u8; 16]) -> Option<String> {
        let mut plain = chance.to_vec();
        plain.extend_from_slice(&u32::try_from(text.len()).ok()?.to_be_bytes());
        plain.extend_from_slice(text.as_bytes());
        plain.extend_from_slice(self.app_id.as_bytes());
        let padding = BLOCK - plain.len() % BLOCK;
        plain.resize(plain.len() + padding, u8::try_from(padding).ok()?);
        let iv: [u8; 16] = self.key[..16].try_into().ok()?;
        let key = UnboundCipherKey::new(&AES_256, &self.key).ok()?;
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        EncryptingKey::cbc(key).ok()?.less_safe_encrypt(&mut plain, context).ok()?;
        Some(STANDARD.encode(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURE: &str = include_str!("../../captures/wechat.txt");

    fn between<'a>(from: &str, to: &str) -> &'a str {
        CAPTURE.split_once(from).unwrap().1.split_once(to).unwrap().0
    }

    #[test]
    fn the_url_is_signed_as_the_vector_says() {
        let signed = signature(&["test_token", "1795219200", "nonce123"]);
        assert_eq!(signed, between("sha1: ", "\n"));
        assert_ne!(signature(&["test_token", "1795219201", "nonce123"]), signed);
    }

    #[test]
    fn safe_mode_is_what_wechatpy_wrote() {
        let safe = Safe::new("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "wx1234567890abcdef").unwrap();
        let encrypted = safe.encrypt(between("plaintext XML: ", "\n"), *b"0123456789abcdef").unwrap();
        assert_eq!(encrypted, between("<Encrypt><![CDATA[", "]]>"));
        let signed = signature(&["test_token", "1795219200", "nonce123", &encrypted]);
        assert_eq!(signed, between("<MsgSignature><![CDATA[", "]]>"));
        assert!(Safe::new("short", "wx").is_none());
    }
}
