//! The token that every request carries: signed for with the master secret, good for a day.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::answer;
use crate::config::{GetuiSettings, Secret};
use crate::model::{Outcome, Reason};
use crate::provider::credential::{Issued, Issuer};
use crate::provider::http::{Client, Endpoint, NoAnswer};

/// Tokens are renewed so long before they end.
const EARLY: Duration = Duration::from_secs(10 * 60);
/// A token is used at least so long, whatever the clocks say: Getui gives 100 a minute at most.
const SHORTEST: Duration = Duration::from_secs(60);

/// Marked as sensitive: stays out of `Debug`.
#[derive(Debug)]
pub(super) struct Token(pub(super) HeaderValue);

/// Where tokens are given.
#[derive(Debug)]
pub(super) struct Desk {
    endpoint: Arc<Endpoint>,
    app_key: String,
    master_secret: Secret,
}

#[derive(Serialize)]
struct Login<'a> {
    sign: &'a str,
    timestamp: &'a str,
    appkey: &'a str,
}

#[derive(Deserialize)]
struct Given {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    token: String,
    /// Milliseconds of the Unix epoch, as a text or a number.
    expire_time: Value,
}

impl Desk {
    pub(super) fn new(endpoint: Arc<Endpoint>, settings: &GetuiSettings) -> Self {
        let GetuiSettings { app_key, master_secret, .. } = settings;
        Desk { endpoint, app_key: app_key.clone(), master_secret: master_secret.clone() }
    }

    fn login(&self, now: Timestamp) -> Result<Bytes, Outcome> {
        let timestamp = now.as_millisecond().to_string();
        let sign = sign(&self.app_key, &timestamp, self.master_secret.reveal());
        let login = Login { sign: &sign, timestamp: &timestamp, appkey: &self.app_key };
        serde_json::to_vec(&login).map(Bytes::from).map_err(|error| retry(error.to_string()))
    }
}

#[async_trait]
impl Issuer for Desk {
    type Value = Token;

    async fn issue(&self) -> Result<Issued<Token>, Outcome> {
        let now = Timestamp::now();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
        let mut client = Client::new(Arc::clone(&self.endpoint));
        match client.request(Method::POST, "/auth", headers, self.login(now)?, || {}).await {
            Ok(response) => issued(&response, now),
            Err(NoAnswer::NotSent(outcome)) => Err(outcome),
            Err(NoAnswer::InDoubt { detail, .. }) => Err(retry(format!("no token: {detail}"))),
        }
    }
}

/// SHA-256 of the three, in hexadecimal; `timestamp` in milliseconds.
fn sign(app_key: &str, timestamp: &str, master_secret: &str) -> String {
    hex::encode(Sha256::digest(format!("{app_key}{timestamp}{master_secret}")))
}

fn issued(response: &Response<Bytes>, now: Timestamp) -> Result<Issued<Token>, Outcome> {
    if let Some(refusal) = answer::no_token(response) {
        return Err(refusal);
    }
    let unreadable = || retry("no token: the answer has none that can be used".to_owned());
    let Given { data: Data { token, expire_time } } =
        serde_json::from_slice(response.body()).map_err(|_| unreadable())?;
    let mut value = HeaderValue::try_from(token).map_err(|_| unreadable())?;
    value.set_sensitive(true);
    let ends = expire_time.as_str().map_or_else(|| expire_time.as_i64(), |text| text.parse().ok());
    let ends = ends.and_then(|ends| Timestamp::from_millisecond(ends).ok()).ok_or_else(unreadable)?;
    let lives = Duration::try_from(ends.duration_since(now)).unwrap_or_default().max(SHORTEST);
    Ok(Issued { value: Token(value), lives, early: EARLY.min(lives / 2) })
}

fn retry(detail: String) -> Outcome {
    Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s testAppKey1605000000000testMasterSecret | sha256sum`
    #[test]
    fn the_signature_is_what_other_tools_compute() {
        assert_eq!(
            sign("testAppKey", "1605000000000", "testMasterSecret"),
            "a756eb6c5eb3cb0f29bb276904619bfdf03eb1aa7f691f543af9c9ecd15b7d44"
        );
    }

    #[test]
    fn tokens_live_until_their_end_and_never_for_nothing() {
        let now = "2026-04-01T10:00:00Z".parse::<Timestamp>().unwrap();
        let given = |expires: &str| {
            let body = format!(r#"{{"code": 0, "data": {{"token": "t", "expire_time": {expires}}}}}"#);
            issued(&Response::new(Bytes::from(body)), now).map(|given| (given.lives, given.early))
        };
        let at = |seconds: i64| now.as_millisecond() + seconds * 1_000;
        let day = (Duration::from_secs(86_400), EARLY);
        assert_eq!(given(&format!("\"{}\"", at(86_400))), Ok(day));
        assert_eq!(given(&at(86_400).to_string()), Ok(day));
        assert_eq!(given(&at(-5).to_string()), Ok((SHORTEST, SHORTEST / 2)));
        for bad in ["null", "\"soon\"", "true"] {
            assert_eq!(given(bad).unwrap_err().as_str(), "retry", "{bad}");
        }
    }
}
