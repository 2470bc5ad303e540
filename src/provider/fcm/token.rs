//! Access tokens of a service account: a signed assertion is exchanged for one (RFC 7523; Google: Using OAuth 2.0 for
//! server to server applications).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::InvalidFcm;
use crate::config::FcmSettings;
use crate::model::{Outcome, Reason};
use crate::provider::credential::{Issued, Issuer};
use crate::provider::detail::masked;
use crate::provider::http::{Client, Endpoint, InvalidEndpoint, NoAnswer, Timeouts, retry_after};
use crate::provider::jwt::Signer;

/// Whom the assertion is for: always this, wherever it is sent to.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// Seconds that an assertion is good for.
const ASSERTION_LIVES: i64 = 3_600;
/// Without `expires_in`.
const TOKEN_LIVES: Duration = Duration::from_secs(3_600);
const TOKEN_EARLY: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct ServiceAccountTokens {
    signer: Signer,
    email: String,
    endpoint: Arc<Endpoint>,
    path_and_query: String,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    /// Seconds.
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

impl ServiceAccountTokens {
    pub(super) fn new(settings: &FcmSettings, timeouts: Timeouts) -> Result<Self, InvalidFcm> {
        let account = &settings.key;
        let signer = Signer::rs256(&account.private_key_id, account.private_key.reveal())?;
        let no_url = || InvalidFcm::TokenEndpoint(InvalidEndpoint::Url);
        let url: Uri = settings.token_url.parse().map_err(|_| no_url())?;
        let (scheme, authority) = url.scheme_str().zip(url.authority()).ok_or_else(no_url)?;
        let base = format!("{scheme}://{authority}");
        let endpoint = Endpoint::new(&base, settings.ca_file.as_deref(), timeouts);
        Ok(ServiceAccountTokens {
            signer,
            email: account.client_email.clone(),
            endpoint: Arc::new(endpoint.map_err(InvalidFcm::TokenEndpoint)?),
            path_and_query: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    fn assertion(&self, now: Timestamp) -> Result<String, Outcome> {
        let now = now.as_second();
        self.signer.token(&json!({
            "iss": self.email, "aud": AUDIENCE, "scope": SCOPE, "iat": now, "exp": now + ASSERTION_LIVES,
        }))
    }
}

#[async_trait]
impl Issuer for ServiceAccountTokens {
    type Value = HeaderValue;

    async fn issue(&self) -> Result<Issued<HeaderValue>, Outcome> {
        let now = Timestamp::now();
        // The assertion is base64url and dots, which forms carry as they are.
        let body = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
            self.assertion(now)?
        );
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, form)]);
        let mut client = Client::new(Arc::clone(&self.endpoint));
        match client.request(Method::POST, &self.path_and_query, headers, body.into(), || ()).await {
            Ok(response) => issued(&response, now),
            Err(NoAnswer::NotSent(outcome)) => Err(outcome),
            // No message is in it: asking again does no harm.
            Err(NoAnswer::InDoubt { detail, .. }) => Err(again(None, detail)),
        }
    }
}

fn issued(response: &Response<Bytes>, now: Timestamp) -> Result<Issued<HeaderValue>, Outcome> {
    let status = response.status().as_u16();
    let after = retry_after(response.headers(), now);
    let refusal: Option<Refusal> = serde_json::from_slice(response.body()).ok();
    let words = refusal.map_or_else(String::new, |refusal| {
        format!(": {} {}", refusal.error, refusal.error_description.unwrap_or_default())
    });
    let detail = masked(&format!("no access token: HTTP {status}{words}"));
    match status {
        200..=299 => read(response.body()).ok_or_else(|| again(None, detail)),
        408 | 500.. => Err(again(after, detail)),
        429 => Err(Outcome::Throttled { after, detail }),
        _ => Err(Outcome::AccountRefused { detail: format!("{detail}; check key, token_url and the clock") }),
    }
}

fn read(body: &[u8]) -> Option<Issued<HeaderValue>> {
    let token: Token = serde_json::from_slice(body).ok()?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.access_token)).ok()?;
    value.set_sensitive(true);
    Some(Issued {
        value,
        lives: token.expires_in.map_or(TOKEN_LIVES, Duration::from_secs),
        early: TOKEN_EARLY,
    })
}

fn again(after: Option<Duration>, detail: String) -> Outcome {
    Outcome::Retry { reason: Reason::ConnectionFailed, after, detail }
}
