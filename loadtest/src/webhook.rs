//! A receiver of signed webhooks by the rules of Standard Webhooks (standardwebhooks.com), on its own reading of them.
//!
//! Verifies every request on its raw bytes; the script decides what a request with a good signature hears. What is
//! not signed right hears 401 and is counted, not recorded as a message. What it learns later it posts back, signed
//! the same way.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::net::ToSocketAddrs;
use tokio_rustls::TlsAcceptor;

use crate::callback::{Callback, Post};
use crate::faulty_http::{Action, Answer, Event, Options, Request, Server};

/// Older and younger timestamps are refused.
const TOLERANCE: Duration = Duration::from_secs(300);

/// `v1,` and the signature of `id.timestamp.body`; `secret` with its `whsec_`.
///
/// # Errors
/// When the secret is not base64.
pub fn sign(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> Result<String, base64::DecodeError> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret))?;
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
    Ok(format!("v1,{}", STANDARD.encode(signature)))
}

/// Whether the request is signed with `secret`, now.
pub fn is_signed(request: &Request, secret: &str) -> bool {
    let header = |name| request.header(name);
    let (Some(id), Some(timestamp), Some(signatures)) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
    else {
        return false;
    };
    let Ok(timestamp) = timestamp.parse::<i64>() else { return false };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let fresh = now.abs_diff(timestamp.unsigned_abs()) <= TOLERANCE.as_secs();
    let wanted = sign(secret, id, timestamp, &request.body);
    fresh && wanted.is_ok_and(|wanted| signatures.split(' ').any(|given| given == wanted))
}

/// The messages of a request.
pub fn messages(request: &Request) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    body["data"]["messages"].as_array().cloned().unwrap_or_default()
}

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    pub server: Server,
    forged: Arc<AtomicU64>,
}

impl Receiver {
    /// `script` is asked as the server's is, at [`Event::Request`] only where the signature is good.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(
        address: impl ToSocketAddrs,
        secret: &str,
        tls: Option<TlsAcceptor>,
        script: impl Fn(Event<'_>) -> Action + Send + Sync + 'static,
    ) -> io::Result<Receiver> {
        let forged = Arc::new(AtomicU64::new(0));
        let (counter, secret) = (Arc::clone(&forged), secret.to_owned());
        let options = Options { tls, ..Options::default() }.script(move |event| match event {
            Event::Request(request) if !is_signed(request, &secret) => {
                counter.fetch_add(1, Ordering::Relaxed);
                Action::Answer(Answer::new(401, "not signed with this receiver's secret"))
            }
            event => script(event),
        });
        Ok(Receiver { server: Server::start(address, options).await?, forged })
    }

    /// Requests without a good signature.
    pub fn forged(&self) -> u64 {
        self.forged.load(Ordering::Relaxed)
    }

    /// The messages of all complete requests, in their order, repeats too.
    pub fn messages(&self) -> Vec<Value> {
        self.server.requests().iter().flat_map(messages).collect()
    }
}

/// What the receiver says of its messages later; each receipt is one of the daemon's `receipts`.
#[derive(Debug)]
pub struct Receipts {
    secret: String,
    calls: AtomicU64,
}

impl Receipts {
    /// Signed with `secret`, which begins with `whsec_`.
    pub fn new(secret: &str) -> Self {
        Receipts { secret: secret.to_owned(), calls: AtomicU64::new(0) }
    }
}

impl Callback for Receipts {
    type Receipt = Value;

    fn post(&self, url: Option<&str>, receipts: &[Value]) -> Option<Post> {
        let body = json!({"receipts": receipts}).to_string();
        let id = format!("call_{}", self.calls.fetch_add(1, Ordering::Relaxed) + 1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let signature = sign(&self.secret, &id, now.try_into().ok()?, body.as_bytes()).ok()?;
        let header =
            |name, value: &str| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?));
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            header("webhook-id", &id)?,
            header("webhook-timestamp", &now.to_string())?,
            header("webhook-signature", &signature)?,
        ];
        Some(Post { url: url?.to_owned(), headers, body: body.into() })
    }

    fn took(&self, status: u16, _body: &[u8]) -> bool {
        (200..300).contains(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementations.
    #[test]
    fn the_published_example_verifies() {
        let signature = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
