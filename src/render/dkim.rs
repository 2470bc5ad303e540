//! DKIM: a message signed for a domain (RFC 6376), with RSA or Ed25519 (RFC 8463). Signs alone; verifies nothing.
//!
//! Header and body are taken relaxed, so that a relay may fold and trim them. The signed headers are those that speak to
//! the reader and to the receiver's filters: one-click unsubscription must be among them (RFC 8058, section 4), and so
//! must Gmail's Feedback-ID. From is named once more than it stands there: a second one breaks the signature (RFC 6376,
//! section 8.15).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use memchr::memmem;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

/// What is signed where it is there, in this order.
const SIGNED: &[&str] = &[
    "from",
    "to",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
];
/// Characters of a signature in one line.
const LINE: usize = 72;

/// Why a key cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    #[error("it is no private key in PEM")]
    NoPem,
    #[error("it is neither an RSA key of 2048 bits or more nor an Ed25519 key")]
    Unusable,
}

/// The signature could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message could not be signed with DKIM")]
pub struct Unsigned;

/// Signs for one domain by one selector.
pub struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signer { domain, selector, key: _ } = self;
        f.debug_struct("Signer").field("domain", domain).field("selector", selector).finish_non_exhaustive()
    }
}

impl Signer {
    /// `domain` and `selector` are names in ASCII; `pem` is a private key in PKCS #8 or PKCS #1.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn new(domain: String, selector: String, pem: &str) -> Result<Self, InvalidKey> {
        let unusable = |_| InvalidKey::Unusable;
        let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidKey::NoPem)? {
            PrivateKeyDer::Pkcs8(der) => {
                match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()) {
                    Ok(key) => Key::Ed25519(key),
                    Err(_) => Key::Rsa(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(unusable)?),
                }
            }
            PrivateKeyDer::Pkcs1(der) => {
                Key::Rsa(RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(unusable)?)
            }
            _ => return Err(InvalidKey::Unusable),
        };
        Ok(Signer { domain, selector, key })
    }

    /// The header that signs this one, with its line end.
    fn header(&self, header: &[u8], body_hash: &str, at: Timestamp) -> Result<String, Unsigned> {
        let Signer { domain, selector, key } = self;
        let algorithm = match key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        };
        let names: Vec<&str> = SIGNED.iter().copied().filter(|name| field(header, name).is_some()).collect();
        let signed = format!("{}:from", names.join(":"));
        let mut own = format!(
            "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;\r\n\td={domain}; s={selector}; t={};\r\n\t\
             h={signed};\r\n\tbh={body_hash};\r\n\tb=",
            at.as_second()
        );
        let hash = digest(&SHA256, &signed_data(header, &names, &own));
        let signature = STANDARD.encode(key.sign(hash.as_ref(), &signed_data(header, &names, &own))?);
        for line in signature.as_bytes().chunks(LINE) {
            own.push_str("\r\n\t ");
            own.extend(line.iter().map(|byte| char::from(*byte)));
        }
        own.push_str("\r\n");
        Ok(own)
    }
}

impl Key {
    /// RSA hashes the data itself; Ed25519 takes the hash as its message (RFC 8463, section 3).
    fn sign(&self, hash: &[u8], data: &[u8]) -> Result<Vec<u8>, Unsigned> {
        match self {
            Key::Ed25519(key) => Ok(key.sign(hash).as_ref().to_vec()),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature)
                    .map_err(|_| Unsigned)?;
                Ok(signature)
            }
        }
    }
}

/// `message` with a signature by each signer before it. Its lines end in CRLF.
///
/// # Errors
/// When one of them cannot sign.
pub fn sign(message: Bytes, signers: &[Signer], at: Timestamp) -> Result<Bytes, Unsigned> {
    if signers.is_empty() {
        return Ok(message);
    }
    let end = memmem::find(&message, b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    let (header, body) = message.split_at(end);
    let body_hash = STANDARD.encode(digest(&SHA256, &relaxed_body(body.get(2..).unwrap_or_default())));
    let mut whole = Vec::with_capacity(message.len() + 1024 * signers.len());
    for signer in signers {
        whole.extend_from_slice(signer.header(header, &body_hash, at)?.as_bytes());
    }
    whole.extend_from_slice(&message);
    Ok(whole.into())
}

/// What the signature is over: the named fields and the signature's own without its value (RFC 6376, section 3.7).
fn signed_data(header: &[u8], names: &[&str], own: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(1024);
    for name in names {
        if let Some(value) = field(header, name) {
            data.extend_from_slice(name.as_bytes());
            data.push(b':');
            relaxed_line(value, &mut data);
            data.extend_from_slice(b"\r\n");
        }
    }
    data.extend_from_slice(b"dkim-signature:");
    relaxed_line(own.split_once(':').map_or("", |(_, value)| value).as_bytes(), &mut data);
    data
}

/// The value of the first field of this name, with its folds and its last line end.
fn field<'h>(header: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let mut rest = header;
    while !rest.is_empty() {
        let end = end_of_field(rest);
        let (whole, after) = rest.split_at(end);
        if let Some((own, value)) = whole.split_at_checked(name.len())
            && own.eq_ignore_ascii_case(name.as_bytes())
            && let Some(value) = value.trim_ascii_start().strip_prefix(b":")
        {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// Behind the line end that no white space follows.
fn end_of_field(header: &[u8]) -> usize {
    let ends = memchr::memchr_iter(b'\n', header).map(|at| at + 1);
    ends.into_iter().find(|end| !matches!(header.get(*end), Some(b' ' | b'\t'))).unwrap_or(header.len())
}

/// RFC 6376, sections 3.4.2 and 3.4.4: each run of white space is one blank, none stands at the end. Line ends within a
/// field count as white space, and none stands at its beginning.
fn relaxed_line(line: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    for byte in line.trim_ascii() {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' if out.last() == Some(&b' ') && out.len() > begin => {}
            b' ' | b'\t' | b'\r' | b'\n' => out.push(b' '),
            byte => out.push(*byte),
        }
    }
}

/// RFC 6376, section 3.4.4: no empty lines at the end; what is not empty ends in CRLF.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 2);
    let mut written = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
        let line = line.get(..end).unwrap_or_default();
        let mut blank = false;
        for byte in line {
            let white = matches!(byte, b' ' | b'\t');
            match (white, blank) {
                (true, true) => {}
                (true, false) => out.push(b' '),
                (false, _) => out.push(*byte),
            }
            blank = white;
        }
        out.extend_from_slice(b"\r\n");
        if end > 0 {
            written = out.len();
        }
    }
    out.truncate(written);
    out
}

#[cfg(test)]
mod tests;
