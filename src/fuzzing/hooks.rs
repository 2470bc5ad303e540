//! Providers' calls.

use crate::provider::fuzzing::Accounts;

thread_local! {
    static ACCOUNTS: Accounts = Accounts::new();
}

/// A call that was not signed is refused; one that was is understood or refused, and never an error of ours.
pub(super) fn hook(input: &[u8]) {
    ACCOUNTS.with(|accounts| accounts.called(input));
}
