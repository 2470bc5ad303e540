//! The envelope of Amazon SNS: its fields, what of it is signed, and the certificate that signs.
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use webpki::EndEntityCert;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    #[serde(rename = "Type")]
    pub(super) kind: Kind,
    pub(super) message_id: String,
    pub(super) topic_arn: String,
    pub(super) subject: Option<String>,
    pub(super) message: String,
    pub(super) timestamp: String,
    pub(super) signature_version: String,
    pub(super) signature: String,
    #[serde(rename = "SigningCertURL")]
    pub(super) signing_cert_url: String,
    #[serde(rename = "SubscribeURL")]
    pub(super) subscribe_url: Option<String>,
    pub(super) token: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    Notification,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
}

/// A certificate that no signature can be checked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no certificate in PEM with an RSA key of at least 2048 bits")]
pub(super) struct NoCertificate;

/// The public half of the key that a topic's envelopes are signed with.
#[derive(Debug, Clone)]
pub(super) struct SigningKey {
    sha1: ParsedPublicKey,
    sha256: ParsedPublicKey,
}

impl SigningKey {
    /// The certificate is taken as it is: it came over TLS from the topic's own host, or from the operator.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn of_certificate(pem: &[u8]) -> Result<Self, NoCertificate> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| NoCertificate)?;
        let certificate = EndEntityCert::try_from(&der).map_err(|_| NoCertificate)?;
        Self::of_public_key(&certificate.subject_public_key_info())
    }

    /// Of a `SubjectPublicKeyInfo` in DER.
    pub(super) fn of_public_key(spki: &[u8]) -> Result<Self, NoCertificate> {
        let key = |algorithm| ParsedPublicKey::new(algorithm, spki).map_err(|_| NoCertificate);
        Ok(SigningKey {
            sha1: key(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY)?,
            sha256: key(&RSA_PKCS1_2048_8192_SHA256)?,
        })
    }

    pub(super) fn signed(&self, envelope: &Envelope) -> bool {
        let key = match envelope.signature_version.as_str() {
            "1" => &self.sha1,
            "2" => &self.sha256,
            _ => return false,
        };
        let signature = STANDARD.decode(&envelope.signature).unwrap_or_default();
        key.verify_sig(envelope.signed_text().as_bytes(), &signature).is_ok()
    }
}

impl Envelope {
    /// Names and values of the signed fields, each on its own line, in the order of their names.
    fn signed_text(&self) -> String {
        let kind = match self.kind {
            Kind::Notification => "Notification",
            Kind::SubscriptionConfirmation => "SubscriptionConfirmation",
            Kind::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        };
        let notified = self.kind == Kind::Notification;
        let fields = [
            ("Message", Some(self.message.as_str())),
            ("MessageId", Some(&self.message_id)),
            ("Subject", self.subject.as_deref().filter(|_| notified)),
            ("SubscribeURL", self.subscribe_url.as_deref().filter(|_| !notified)),
            ("Timestamp", Some(&self.timestamp)),
            ("Token", self.token.as_deref().filter(|_| !notified)),
            ("TopicArn", Some(&self.topic_arn)),
            ("Type", Some(kind)),
        ];
        let mut text = String::with_capacity(self.message.len() + 400);
        for (name, value) in fields.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            for line in [name, "\n", value, "\n"] {
                text.push_str(line);
            }
        }
        text
    }
}
