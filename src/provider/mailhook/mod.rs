//! What the e-mail services behind relays tell later: Amazon SES, SendGrid, Mailgun and Postmark.
//!
//! Mail goes to them by SMTP with a [`Label`], their events come back with it by HTTP. A hook believes only what its
//! service signed, or sent with the secret where the service signs nothing. Opens and clicks are left alone: our own
//! links count them.

mod label;
mod mailgun;
mod postmark;
mod sendgrid;
mod ses;
mod sns;
#[cfg(test)]
mod tests;
mod token;
mod told;
mod verdict;

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

pub use self::label::Label;
pub use self::ses::InvalidSes;
use super::{Hook, HookRefusal, HookRequest};
use crate::config::MailHookSettings;

/// Services come again with a call for up to a day; some seconds more, and as many that their clock may be ahead.
const OLDEST: i64 = 25 * 3_600;
const YOUNGEST: i64 = 300;

/// Why an account's hook cannot work.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMailHook {
    #[error(transparent)]
    Ses(#[from] InvalidSes),
    #[error(
        "public_key is no key of P-256: copy the verification key from SendGrid's settings of the event webhook"
    )]
    PublicKey,
}

/// The hook of the account `name`, whose mail is from `from`, an address or `Name <address>`.
///
/// # Errors
/// When the settings cannot work.
pub fn hook(name: &str, from: &str, settings: &MailHookSettings) -> Result<Arc<dyn Hook>, InvalidMailHook> {
    Ok(match settings {
        MailHookSettings::Ses(ses) => Arc::new(ses::SesHook::new(name, from, ses)?),
        MailHookSettings::SendGrid { public_key } => {
            Arc::new(sendgrid::SendGridHook::new(name, public_key).ok_or(InvalidMailHook::PublicKey)?)
        }
        MailHookSettings::Mailgun { signing_key } => Arc::new(mailgun::MailgunHook::new(name, signing_key)),
        MailHookSettings::Postmark { login, path } => {
            Arc::new(postmark::PostmarkHook::new(name, login.as_ref(), path.as_ref()))
        }
    })
}

fn refusal(status: StatusCode, detail: impl Into<String>) -> HookRefusal {
    HookRefusal { status, detail: detail.into() }
}

fn posted(request: &HookRequest) -> Result<(), HookRefusal> {
    if request.method == Method::POST {
        return Ok(());
    }
    Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "events come by POST"))
}

/// Whether a call that says that it was made at this second may still come.
fn is_fresh(second: i64, now: Timestamp) -> bool {
    now.as_second().checked_sub(second).is_some_and(|age| (-YOUNGEST..=OLDEST).contains(&age))
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, HookRefusal> {
    serde_json::from_slice(body)
        // What stands there is not repeated: it may be an address.
        .map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            refusal(StatusCode::BAD_REQUEST, format!("the body is not what the service documents: {place}"))
        })
}
