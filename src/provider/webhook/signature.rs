//! Signatures by Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, several for the time in which keys change.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use sha2::Sha256;

use crate::config::{SigningKey, WebhookSettings};

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// A call may be so many seconds older or younger than our clock: what is repeated later by others is refused.
const TOLERANCE: i64 = 300;

/// Why a call is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotBelieved {
    #[error(
        "`webhook-id`, `webhook-timestamp` and `webhook-signature` are needed, as Standard Webhooks has them"
    )]
    Headers,
    #[error(
        "no signature in `webhook-signature` is made with this provider's secret over id, timestamp and body"
    )]
    Signature,
    #[error("`webhook-timestamp` is more than 5 minutes from now; look at both clocks")]
    Stale,
}

/// The keys in use, the current one first.
pub(super) struct Signer(Vec<Hmac<Sha256>>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} keys)", self.0.len())
    }
}

impl Signer {
    pub(super) fn new(settings: &WebhookSettings) -> Self {
        let keys = std::iter::once(&settings.secret).chain(&settings.previous_secret);
        Signer(keys.map(keyed).collect())
    }

    /// The headers of a signed request with a JSON body; `id` holds no other characters than a header may.
    pub(super) fn headers(&self, id: &str, now: Timestamp, body: &[u8]) -> HeaderMap {
        let timestamp = now.as_second().to_string();
        let signatures = self.0.iter().map(|key| {
            format!("v1,{}", STANDARD.encode(mac(key, id, &timestamp, body).finalize().into_bytes()))
        });
        let signatures = signatures.collect::<Vec<_>>().join(" ");
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [(ID, id), (TIMESTAMP, &timestamp), (SIGNATURE, &signatures)] {
            headers.extend(
                HeaderValue::from_str(value).ok().map(|value| (header::HeaderName::from_static(name), value)),
            );
        }
        headers
    }

    /// The instant at which the call was signed. Compares in constant time.
    ///
    /// # Errors
    /// When none of the keys signed it, or not within five minutes of `now`.
    pub(super) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Timestamp, NotBelieved> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let (Some(id), Some(timestamp), Some(signatures)) = (text(ID), text(TIMESTAMP), text(SIGNATURE))
        else {
            return Err(NotBelieved::Headers);
        };
        let given: Vec<Vec<u8>> = signatures
            .split(' ')
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
            .collect();
        let signed = self.0.iter().any(|key| {
            let mac = mac(key, id, timestamp, body);
            given.iter().any(|given| mac.clone().verify_slice(given).is_ok())
        });
        if !signed {
            return Err(NotBelieved::Signature);
        }
        let at = timestamp.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        at.filter(|at| at.as_second().abs_diff(now.as_second()) <= TOLERANCE.unsigned_abs())
            .ok_or(NotBelieved::Stale)
    }
}

/// Keys are no longer than a block, so that filling one with zeros is what HMAC does (RFC 2104, section 2).
fn keyed(key: &SigningKey) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block.iter_mut().zip(key.bytes()).for_each(|(to, from)| *to = *from);
    Hmac::new(&block.into())
}

fn mac(key: &Hmac<Sha256>, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn signer(keys: &[&str]) -> Signer {
        Signer(keys.iter().map(|key| keyed(&SigningKey::read(key).unwrap())).collect())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The example of the reference implementations.
    #[test]
    fn the_published_example_comes_out() {
        let body = br#"{"test": 2432232314}"#;
        let headers = signer(&[OLD]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", at(1_614_265_330), body);
        assert_eq!(headers[ID], "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(headers[TIMESTAMP], "1614265330");
        assert_eq!(headers[SIGNATURE], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn either_side_may_change_its_key_first() {
        let (both, old, new) = (signer(&[NEW, OLD]), signer(&[OLD]), signer(&[NEW]));
        let headers = both.headers("a", at(100), b"x");
        for receiver in [&both, &old, &new] {
            assert_eq!(receiver.verify(&headers, b"x", at(100)), Ok(at(100)));
            assert_eq!(both.verify(&receiver.headers("a", at(100), b"x"), b"x", at(100)), Ok(at(100)));
        }
        assert_eq!(new.verify(&old.headers("a", at(100), b"x"), b"x", at(100)), Err(NotBelieved::Signature));
    }

    #[test]
    fn calls_are_believed_for_five_minutes() {
        let signer = signer(&[OLD]);
        let headers = signer.headers("a", at(1_000), b"x");
        for (now, wanted) in [
            (700, Ok(at(1_000))),
            (1_300, Ok(at(1_000))),
            (699, Err(NotBelieved::Stale)),
            (1_301, Err(NotBelieved::Stale)),
        ] {
            assert_eq!(signer.verify(&headers, b"x", at(now)), wanted, "{now}");
        }
        let mut without = headers.clone();
        without.remove(ID);
        assert_eq!(signer.verify(&without, b"x", at(1_000)), Err(NotBelieved::Headers));
        let endless = signer.headers("a", Timestamp::MAX, b"x");
        assert_eq!(signer.verify(&endless, b"x", at(1_000)), Err(NotBelieved::Stale));
    }

    proptest! {
        #[test]
        fn one_changed_byte_is_noticed(body in prop::collection::vec(any::<u8>(), 1..100), at_byte: usize, bit in 0..8u8) {
            let signer = signer(&[OLD]);
            let headers = signer.headers("msg", at(100), &body);
            let mut changed = body.clone();
            changed[at_byte % body.len()] ^= 1u8 << bit;
            prop_assert_eq!(signer.verify(&headers, &changed, at(100)), Err(NotBelieved::Signature));
            prop_assert_eq!(signer.verify(&headers, &body, at(100)), Ok(at(100)));
        }

        #[test]
        fn no_header_breaks_the_reader(signature in "[ -~]{0,80}", timestamp in "[ -~]{0,20}") {
            let mut headers = HeaderMap::new();
            for (name, value) in [(ID, "a"), (TIMESTAMP, &timestamp), (SIGNATURE, &signature)] {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            prop_assert!(signer(&[OLD]).verify(&headers, b"x", at(100)).is_err());
        }
    }
}
