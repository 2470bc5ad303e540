//! Messages that a provider may have: whether they are sent again, until when, and by which account.
//!
//! Pure. All keys of ours belong to one message each, none to a call, so that a message may be sent again in other
//! company than before.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{Timestamp, Unit};

use super::Account;
use crate::provider::Repeats;
use crate::store::dispatching::Resend;

/// How long before a provider forgets a key it is no longer relied on: what was asked for goes out a little later, and
/// clocks of two machines differ.
const MARGIN: Duration = Duration::from_secs(120);

/// What becomes of an account's messages in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDoubt {
    /// They become `unknown`.
    Hold,
    /// They are sent again, as long as the provider tells them from new ones; for ever where it never does.
    Resend(Repeats),
}

impl OnDoubt {
    /// Until when a message may be sent again that may have left at `asked`.
    fn until(self, asked: Timestamp) -> Option<Timestamp> {
        let within = match self {
            OnDoubt::Hold => return None,
            OnDoubt::Resend(Repeats::Doubled) => return Some(Resend::ENDLESS),
            OnDoubt::Resend(Repeats::Dropped(within)) => within.saturating_sub(MARGIN),
        };
        let until = asked.checked_add(within).unwrap_or(Resend::ENDLESS).min(Resend::ENDLESS);
        // Whole seconds, so that what fails together waits together.
        Some(until.round(Unit::Second).unwrap_or(until))
    }
}

/// The leave to send again what `account` may have been given at `asked`.
pub(super) fn after_no_answer(account: &Account, asked: Timestamp) -> Option<Resend> {
    let until = account.on_doubt.until(asked)?;
    Some(Resend { until, provider: Some(account.name.clone()) })
}

/// The leave to send again, should the daemon die, what is intended at `asked` for one of `candidates`. `None` where a
/// provider's key would have to be relied on and nobody could tell which account had the message.
pub(super) fn after_crash(candidates: &[&Account], asked: Timestamp) -> Option<Resend> {
    if let [alone] = candidates {
        return after_no_answer(alone, asked);
    }
    let doubles = |account: &&Account| account.on_doubt == OnDoubt::Resend(Repeats::Doubled);
    let apps: HashSet<_> = candidates.iter().filter_map(|account| account.app.as_deref()).collect();
    // Where every account has an app of its own, the address tells the account.
    if candidates.iter().all(doubles) || apps.len() == candidates.len() {
        let until = candidates.iter().map(|account| account.on_doubt.until(asked));
        return until.min().flatten().map(|until| Resend { until, provider: None });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::testing::account;

    const KEYED: OnDoubt = OnDoubt::Resend(Repeats::Dropped(Duration::from_secs(600)));
    const DOUBLED: OnDoubt = OnDoubt::Resend(Repeats::Doubled);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn allowed(accounts: &[Account]) -> Option<(Timestamp, Option<String>)> {
        let candidates: Vec<&Account> = accounts.iter().collect();
        after_crash(&candidates, at(1_000))
            .map(|resend| (resend.until, resend.provider.as_deref().map(str::to_owned)))
    }

    #[test]
    fn a_key_is_relied_on_while_the_provider_surely_knows_it() {
        assert_eq!(allowed(&[account("a", None, KEYED)]), Some((at(1_480), Some("a".to_owned()))));
        assert_eq!(allowed(&[account("a", None, DOUBLED)]), Some((Resend::ENDLESS, Some("a".to_owned()))));
        assert_eq!(allowed(&[account("a", None, OnDoubt::Hold)]), None);
    }

    #[test]
    fn several_accounts_resend_only_where_the_account_does_not_matter() {
        let two = |first, second| [account("a", None, first), account("b", None, second)];
        assert_eq!(allowed(&two(DOUBLED, DOUBLED)), Some((Resend::ENDLESS, None)));
        assert_eq!(allowed(&two(KEYED, KEYED)), None);
        assert_eq!(allowed(&two(KEYED, DOUBLED)), None);
        assert_eq!(allowed(&two(OnDoubt::Hold, DOUBLED)), None);
        let apps = [account("a", Some("x"), KEYED), account("b", Some("y"), DOUBLED)];
        assert_eq!(allowed(&apps), Some((at(1_480), None)));
        let held = [account("a", Some("x"), KEYED), account("b", Some("y"), OnDoubt::Hold)];
        assert_eq!(allowed(&held), None);
        assert_eq!(allowed(&[]), None);
    }
}
