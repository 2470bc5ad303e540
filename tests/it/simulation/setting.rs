//! What a seed decides about the daemons of a run, which are all configured alike: channels, accounts, limits, and what
//! becomes of doubts.

use std::num::NonZeroU32;
use std::time::Duration;

use campaignd::dispatch::{Limit, OnDoubt};
use campaignd::model::{Channel, Rates};
use campaignd::provider::Repeats;
use fastrand::Rng;

/// Attempts that the daemons' schedule allows.
pub(super) const ATTEMPTS: u16 = 4;
/// Between them, in seconds.
pub(super) const RETRIES: [u64; ATTEMPTS as usize - 1] = [1, 2, 4];
/// How long a key is known, in seconds, where that is longer than any run.
const LONG: u64 = 1_800;

#[derive(Debug)]
pub(super) struct Setting {
    pub(super) channels: Vec<ChannelSetting>,
    pub(super) concurrency: usize,
    /// Messages that a channel has intended and not settled, at most.
    pub(super) window: usize,
    pub(super) chunk: usize,
}

#[derive(Debug)]
pub(super) struct ChannelSetting {
    pub(super) channel: Channel,
    pub(super) limit: Limit,
    pub(super) accounts: Vec<AccountSetting>,
}

#[derive(Debug, Clone)]
pub(super) struct AccountSetting {
    /// Also its scope at the law's meters.
    pub(super) name: &'static str,
    pub(super) weight: Option<NonZeroU32>,
    pub(super) limit: Limit,
    pub(super) on_doubt: OnDoubt,
    pub(super) repeats: Repeats,
}

impl Setting {
    pub(super) fn throw(dice: &mut Rng) -> Self {
        let mut channels = vec![ChannelSetting::throw(dice, Channel::Email, &["carrier", "relief"])];
        if dice.bool() {
            channels.push(ChannelSetting::throw(dice, Channel::Sms, &["texter"]));
        }
        Setting {
            channels,
            concurrency: dice.usize(1..6),
            window: [2, 10, 40][dice.usize(0..3)],
            chunk: [1, 4, 16][dice.usize(0..3)],
        }
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &AccountSetting> {
        self.channels.iter().flat_map(|channel| &channel.accounts)
    }

    pub(super) fn channel(&self, channel: Channel) -> Option<&ChannelSetting> {
        self.channels.iter().find(|setting| setting.channel == channel)
    }

    /// Whether an account tells a message that is sent again from a new one.
    pub(super) fn drops_repeats(&self, name: &str) -> bool {
        self.accounts().any(|account| account.name == name && account.repeats != Repeats::Doubled)
    }
}

impl ChannelSetting {
    fn throw(dice: &mut Rng, channel: Channel, names: &[&'static str]) -> Self {
        let mut limit = |rates: &[&str], burst| {
            let rates = rates[dice.usize(0..rates.len())].split_terminator(',');
            Limit { rates: Rates(rates.map(|rate| rate.parse().unwrap()).collect()), burst }
        };
        let burst = NonZeroU32::new(8);
        let (limited, account_limit) =
            (limit(&["", "", "40/s", "6/s", "10/s,300/m"], None), limit(&["", "", "25/s"], None));
        let limit = Limit { burst: burst.filter(|_| dice.bool()), ..limited };
        let keyed = Repeats::Dropped(Duration::from_secs([180, LONG][dice.usize(0..2)]));
        let (repeats, resends) =
            [(Repeats::Doubled, false), (Repeats::Doubled, true), (Repeats::Doubled, true), (keyed, true)]
                [dice.usize(0..4)];
        let on_doubt = if resends { OnDoubt::Resend(repeats) } else { OnDoubt::Hold };
        let accounts = names[..dice.usize(1..=names.len())].iter().map(|name| AccountSetting {
            name,
            // One that is not listed carries only what names it.
            weight: NonZeroU32::new(dice.u32(0..4)),
            limit: account_limit.clone(),
            on_doubt,
            repeats,
        });
        let mut accounts: Vec<AccountSetting> = accounts.collect();
        let first = &mut accounts[0].weight;
        *first = first.or(Some(NonZeroU32::MIN));
        ChannelSetting { channel, limit, accounts }
    }

    /// Accounts that may carry what names `provider`.
    fn candidates(&self, provider: Option<&str>) -> impl Iterator<Item = &AccountSetting> {
        self.accounts
            .iter()
            .filter(move |account| provider.map_or(account.weight.is_some(), |named| account.name == named))
    }

    /// Whether every doubt about what names `provider` is sent again, as long as nobody and no schedule says otherwise.
    pub(super) fn always_sends_again(&self, provider: Option<&str>) -> bool {
        let endless = |account: &AccountSetting| match account.on_doubt {
            OnDoubt::Hold => false,
            OnDoubt::Resend(Repeats::Doubled) => true,
            OnDoubt::Resend(Repeats::Dropped(within)) => within.as_secs() >= LONG,
        };
        let doubled = self.candidates(provider).all(|account| account.repeats == Repeats::Doubled);
        self.candidates(provider).all(endless) && (doubled || self.candidates(provider).count() == 1)
    }
}
