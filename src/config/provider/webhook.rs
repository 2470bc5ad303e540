//! The settings of kind `webhook`.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::grammar;
use crate::config::reader::Table;

/// Most messages of one request.
const MAX_BATCH: u16 = 1_000;

/// A receiver of signed HTTP requests (standardwebhooks.com).
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// http or https, with path and maybe a query.
    pub url: String,
    pub secret: SigningKey,
    /// Signs too, and is believed too, while the receiver changes to `secret`.
    pub previous_secret: Option<SigningKey>,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Messages of one request, at most 1000.
    pub batch: NonZeroU16,
    /// The receiver promises to drop a message whose id it has already taken.
    pub idempotent: bool,
    /// For the whole answer.
    pub timeout: Duration,
}

/// A secret that both sides sign with: 24 to 64 bytes.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// `whsec_` and base64, as the standard writes secrets.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn read(text: &str) -> Result<Self, String> {
        let encoded = text.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
        match encoded {
            Some(key) if (24..=64).contains(&key.len()) => Ok(SigningKey(key)),
            _ => Err(
                "must be `whsec_` and the base64 of 24 to 64 bytes, as `openssl rand -base64 32` makes them"
                    .to_owned(),
            ),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

pub(super) fn webhook(table: &mut Table<'_>) -> Option<WebhookSettings> {
    table.require("url", "where messages are posted to, as `https://example.com/messages`");
    if !table.has("secret_file") {
        table.require("secret", "what requests are signed with: `whsec_` and base64");
    }
    let url = table.text("url", grammar::url);
    let secret = signing_key(table, "secret", "secret_file");
    let previous_secret = signing_key(table, "previous_secret", "previous_secret_file");
    let ca_file = table.path("ca_file");
    let bounds = "a whole number from 1 to 1000";
    let batch = table.number::<NonZeroU16>("batch", bounds);
    if batch.is_some_and(|batch| batch.get() > MAX_BATCH) {
        table.problem("batch", format!("must be {bounds}"));
    }
    let idempotent = table.flag("idempotent").unwrap_or(false);
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(30));
    Some(WebhookSettings {
        url: url?,
        secret: secret?,
        previous_secret,
        ca_file,
        batch: batch.unwrap_or(const { NonZeroU16::new(100).unwrap() }),
        idempotent,
        timeout,
    })
}

fn signing_key(table: &mut Table<'_>, key: &'static str, file_key: &'static str) -> Option<SigningKey> {
    let secret = table.secret(key, file_key, |text| SigningKey::read(text).map(drop))?;
    SigningKey::read(secret.reveal()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_enough_and_stay_out_of_debug() {
        let key = SigningKey::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(key.bytes().len(), 24);
        assert_eq!(format!("{key:?}"), "***");
        for bad in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_!!"] {
            let problem = SigningKey::read(bad).unwrap_err();
            assert!(!problem.contains("MfKQ") && !problem.contains("c2hvcnQ"), "{problem}");
        }
    }
}
