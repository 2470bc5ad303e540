//! The access token: `stable_token` in its normal mode, which never takes the current one from other programs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::answer::without_token;
use crate::config::Secret;
use crate::model::{Outcome, Reason};
use crate::provider::credential::{Issued, Issuer};
use crate::provider::http::{Client, Endpoint, NoAnswer};

/// Within the last five minutes of a token WeChat gives the next one, and both are good.
const EARLY: Duration = Duration::from_secs(240);

#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) app_id: String,
    pub(super) app_secret: Secret,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    /// Seconds.
    expires_in: u32,
}

#[async_trait]
impl Issuer for Tokens {
    type Value = Secret;

    async fn issue(&self) -> Result<Issued<Secret>, Outcome> {
        let asked = json!({
            "grant_type": "client_credential",
            "appid": self.app_id,
            "secret": self.app_secret.reveal(),
            "force_refresh": false,
        });
        let body = Bytes::from(asked.to_string());
        let mut client = Client::new(Arc::clone(&self.endpoint));
        let posted = client.request(Method::POST, "/cgi-bin/stable_token", json_headers(), body, || {});
        let response = posted.await.map_err(|no_answer| match no_answer {
            NoAnswer::NotSent(outcome) => outcome,
            NoAnswer::InDoubt { detail, .. } => Outcome::Retry {
                reason: Reason::ConnectionFailed,
                after: None,
                detail: format!("no access token: {detail}"),
            },
        })?;
        match serde_json::from_slice(response.body()) {
            Ok(Given { access_token, expires_in }) if !access_token.is_empty() => {
                let lives = Duration::from_secs(expires_in.into());
                Ok(Issued { value: Secret::new(access_token), lives, early: EARLY.min(lives / 2) })
            }
            _ => Err(without_token(&response, Timestamp::now())),
        }
    }
}

pub(super) fn json_headers() -> HeaderMap {
    let json = const { HeaderValue::from_static("application/json; charset=utf-8") };
    HeaderMap::from_iter([(header::CONTENT_TYPE, json)])
}
