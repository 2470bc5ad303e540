//! Signed tokens (RFC 7519) as FCM and APNs take them: RS256 and ES256, verified with the public half of the key.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// The public half of a customer's key.
#[derive(Debug)]
pub struct PublicKey {
    algorithm: &'static str,
    key: ParsedPublicKey,
}

/// What a token says, once its signature holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub header: Value,
    pub claims: Value,
}

impl PublicKey {
    /// From PEM (`BEGIN PUBLIC KEY`), for RS256. None where it is no such key.
    pub fn rsa(pem: &str) -> Option<Self> {
        PublicKey::read(pem, "RS256", &RSA_PKCS1_2048_8192_SHA256)
    }

    /// From PEM, for ES256 with its signatures of 64 bytes.
    pub fn p256(pem: &str) -> Option<Self> {
        PublicKey::read(pem, "ES256", &ECDSA_P256_SHA256_FIXED)
    }

    fn read(
        pem: &str,
        algorithm: &'static str,
        verification: &'static dyn VerificationAlgorithm,
    ) -> Option<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
        Some(PublicKey { algorithm, key: ParsedPublicKey::new(verification, &*der).ok()? })
    }

    /// The token, if it was signed with this key and says so.
    pub fn verify(&self, token: &str) -> Option<Token> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.key.verify_sig(signed.as_bytes(), &signature).ok()?;
        let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        let (header, claims): (Value, Value) = (json(header)?, json(claims)?);
        (header["alg"] == self.algorithm).then_some(Token { header, claims })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: &str) -> PublicKey {
        match algorithm {
            "RS256" => PublicKey::rsa(include_str!("../captures/rsa_test_public.pem")),
            _ => PublicKey::p256(include_str!("../captures/p256_test_public.pem")),
        }
        .unwrap()
    }

    /// The tokens in the captures of official clients.
    fn captured(algorithm: &str) -> &'static str {
        let (capture, before) = match algorithm {
            "RS256" => (include_str!("../captures/fcm_v1.txt"), "assertion="),
            _ => (include_str!("../captures/apns_h2.txt"), "authorization: bearer "),
        };
        capture.split_once(before).unwrap().1.split(['&', '\n']).next().unwrap()
    }

    #[test]
    fn captured_tokens_hold_and_altered_ones_do_not() {
        for algorithm in ["RS256", "ES256"] {
            let (key, token) = (key(algorithm), captured(algorithm));
            assert!(key.verify(token).unwrap().claims["iss"].is_string());
            for at in 0..token.len() {
                let mut altered = token.as_bytes().to_vec();
                altered[at] ^= 1;
                let altered = String::from_utf8(altered).unwrap();
                assert_eq!(key.verify(&altered), None, "{altered}");
            }
        }
        assert_eq!(key("RS256").verify(captured("ES256")), None);
        assert!(PublicKey::p256(include_str!("../captures/rsa_test_public.pem")).is_none());
    }
}
