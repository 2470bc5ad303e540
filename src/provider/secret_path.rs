//! The secret end of a hook's path: how calls of providers that sign nothing are told from others'.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::StatusCode;

use super::{HookRefusal, HookRequest};
use crate::config::Secret;

#[derive(Debug)]
pub(super) struct SecretPath(Secret);

impl SecretPath {
    pub(super) fn new(secret: Secret) -> Self {
        SecretPath(secret)
    }

    /// Compares in constant time.
    ///
    /// # Errors
    /// Where the path does not end with the secret.
    pub(super) fn check(&self, request: &HookRequest) -> Result<(), HookRefusal> {
        let (wanted, given) = (self.0.reveal().as_bytes(), request.tail.as_bytes());
        verify_slices_are_equal(wanted, given).map_err(|_| HookRefusal {
            status: StatusCode::NOT_FOUND,
            detail: "the path does not end with this provider's hook_secret".to_owned(),
        })
    }
}
