//! What the settings of the push services have in common.

use std::num::NonZeroU16;
use std::time::Duration;

/// How long a notification is tried where the device is away.
pub(super) const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Requests at once over one connection.
pub(super) const STREAMS: NonZeroU16 = NonZeroU16::new(100).expect("is not 0");

/// # Errors
/// When `text` is no private key in PEM; it is not repeated.
pub(super) fn pem(text: &str) -> Result<(), String> {
    if text.contains("-----BEGIN PRIVATE KEY-----") {
        return Ok(());
    }
    Err("must be a private key in PEM, which begins with `-----BEGIN PRIVATE KEY-----`".to_owned())
}
