//! JSON Web Tokens (RFC 7519) signed with the private keys that providers hand out.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::model::Outcome;

/// Why a private key cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    #[error("the private key must be PEM with a line `-----BEGIN PRIVATE KEY-----` (PKCS #8)")]
    Pem,
    #[error("the private key is none of {0}")]
    Kind(&'static str),
}

/// A private key and its id.
pub(super) struct Signer {
    id: String,
    key: Key,
}

enum Key {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Signer {
    /// ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4). `pem` is PKCS #8.
    ///
    /// # Errors
    /// When `pem` holds no such key.
    pub(super) fn es256(id: &str, pem: &str) -> Result<Self, InvalidKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidKey::Pem)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
            .map_err(|_| InvalidKey::Kind("ECDSA on P-256"))?;
        Ok(Signer { id: id.to_owned(), key: Key::Es256(pair) })
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3). `pem` is PKCS #8.
    ///
    /// # Errors
    /// When `pem` holds no such key.
    pub(super) fn rs256(id: &str, pem: &str) -> Result<Self, InvalidKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidKey::Pem)?;
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|_| InvalidKey::Kind("RSA, 2048 bits or more"))?;
        Ok(Signer { id: id.to_owned(), key: Key::Rs256(pair) })
    }

    /// # Errors
    /// `AccountRefused`, when the key cannot sign.
    pub(super) fn token(&self, claims: &Value) -> Result<String, Outcome> {
        let alg = match self.key {
            Key::Es256(_) => "ES256",
            Key::Rs256(_) => "RS256",
        };
        let header = json!({"alg": alg, "kid": self.id, "typ": "JWT"});
        let mut token = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.sign(token.as_bytes()).map_err(|_| Outcome::AccountRefused {
            detail: "the private key cannot sign; check key".to_owned(),
        })?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Es256(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Key::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::sync::LazyLock;

    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::KeyPair as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// A private key as providers hand them out, and its public half.
    pub(in crate::provider) struct Pair {
        pub(in crate::provider) private: String,
        pub(in crate::provider) public: String,
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let body = STANDARD.encode(der);
        let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    pub(in crate::provider) fn p256() -> Pair {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        Pair { private: pem("PRIVATE KEY", private.as_ref()), public: pem("PUBLIC KEY", public.as_ref()) }
    }

    /// The same at every call: making one takes a while.
    pub(in crate::provider) fn rsa() -> &'static Pair {
        static PAIR: LazyLock<Pair> = LazyLock::new(new_rsa);
        &PAIR
    }

    fn new_rsa() -> Pair {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        Pair { private: pem("PRIVATE KEY", private.as_ref()), public: pem("PUBLIC KEY", public.as_ref()) }
    }

    /// Header and claims, where another implementation finds the signature right.
    pub(in crate::provider) fn verified(token: &str, public: &str) -> Option<Value> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/jwt.py");
        let mut python = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("python3 is needed for this test; scripts/setup installs it");
        let given = json!({"token": token, "key": public}).to_string();
        python.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        match output.status.code() {
            Some(0) => Some(serde_json::from_slice(&output.stdout).unwrap()),
            Some(1) if output.stdout.is_empty() => None,
            other => panic!("{script} ended with {other:?}"),
        }
    }

    const CAPTURES: [(&str, &str); 2] = [
        (
            include_str!("../../tests/data/push/apns_token.txt"),
            include_str!("../../tests/data/push/p256_public.pem"),
        ),
        (
            include_str!("../../tests/data/push/fcm_assertion.txt"),
            include_str!("../../tests/data/push/rsa_public.pem"),
        ),
    ];

    #[test]
    fn the_other_implementation_takes_what_official_clients_sign_and_nothing_else() {
        for (token, public) in CAPTURES {
            let token = token.trim();
            assert!(verified(token, public).is_some(), "{token}");
            let (head, signature) = token.rsplit_once('.').unwrap();
            let rest = signature.get(1..).unwrap();
            let first = if signature.starts_with('A') { 'B' } else { 'A' };
            assert_eq!(verified(&format!("{head}.{first}{rest}"), public), None);
        }
    }

    #[test]
    fn tokens_are_right_by_another_implementation() {
        let claims = json!({"iss": "TEAMID1234", "iat": 1_795_281_583});
        let (p256, rsa) = (p256(), rsa());
        for (signer, public, alg) in [
            (Signer::es256("KEYID12345", &p256.private).unwrap(), &p256.public, "ES256"),
            (Signer::rs256("KEYID12345", &rsa.private).unwrap(), &rsa.public, "RS256"),
        ] {
            let token = signer.token(&claims).unwrap();
            let header = json!({"alg": alg, "kid": "KEYID12345", "typ": "JWT"});
            assert_eq!(verified(&token, public), Some(json!({"header": header, "claims": claims})));
        }
    }

    #[test]
    fn keys_of_another_kind_are_refused_and_stay_out_of_debug() {
        let (p256, rsa) = (p256(), rsa());
        assert!(matches!(Signer::es256("K", &rsa.private), Err(InvalidKey::Kind(_))));
        assert!(matches!(Signer::rs256("K", &p256.private), Err(InvalidKey::Kind(_))));
        assert!(matches!(Signer::es256("K", &p256.public), Err(InvalidKey::Pem)));
        let shown = format!("{:?}", Signer::es256("KEYID12345", &p256.private).unwrap());
        assert!(shown.contains("KEYID12345") && shown.len() < 60, "{shown}");
    }
}
