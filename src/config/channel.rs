//! `[channels.NAME]`: who carries a channel, how fast, and what becomes of failures and doubts.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::grammar;
use super::problem::did_you_mean;
use super::provider::ProviderConfig;
use super::reader::Table;
use super::rules::rules;
use crate::model::{AutoPause, Channel, Rates, SmsRules};

#[derive(Debug, Clone)]
pub struct ChannelConfig {
    /// Names of providers of this channel, each once.
    pub providers: Vec<String>,
    /// Messages, for SMS segments; empty means no limit.
    pub rate: Rates,
    /// `None`: a tenth of a second's worth, at least 1.
    pub burst: Option<NonZeroU32>,
    /// Sessions with providers at the same time.
    pub concurrency: NonZeroUsize,
    /// Messages handed over and not yet settled in the store, at most.
    pub unknown_window: NonZeroUsize,
    pub on_unknown: OnUnknown,
    /// Waits before the second, third, ... attempt.
    pub retry: Vec<Duration>,
    /// When campaigns are paused by themselves; `None`: never.
    pub auto_pause: Option<AutoPause>,
    /// Whether the channel carries marketing where its rules forbid it; WeChat only.
    pub allow_marketing: bool,
    /// What messages are held to; SMS only.
    pub rules: SmsRules,
}

/// What becomes of a delivery that the provider may or may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// It stays `unknown` until a receipt or a hand settles it.
    Hold,
    /// It is sent again with the same idempotency key.
    Resend,
}

/// The channels in `table`. A provider without a value is declared but has a problem of its own.
pub(super) fn channels(
    table: Table<'_>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
) -> BTreeMap<Channel, ChannelConfig> {
    let mut channels = BTreeMap::new();
    for (name, table) in table.into_tables() {
        match name.parse::<Channel>() {
            Ok(channel) => drop(channels.insert(channel, channel_config(table, channel, providers))),
            Err(problem) => {
                let near = did_you_mean(&name, Channel::ALL.iter().map(|channel| channel.as_str()));
                table.refuse(format!("{problem}{near}"));
            }
        }
    }
    channels
}

fn channel_config(
    mut table: Table<'_>,
    channel: Channel,
    declared: &BTreeMap<String, Option<ProviderConfig>>,
) -> ChannelConfig {
    let mut seen = Vec::new();
    let providers = table.list("providers", |name| {
        known_provider(name, channel, declared)?;
        if seen.iter().any(|other| other == name) {
            return Err(format!("`{name}` stands here twice; `weight` is what gives it a greater share"));
        }
        seen.push(name.to_owned());
        Ok(name.to_owned())
    });
    let (rate, burst) = rate_and_burst(&mut table);
    let at_least_1 = "a whole number, at least 1";
    let concurrency = table.number("concurrency", at_least_1);
    let unknown_window = table.number("unknown_window", at_least_1);
    let on_unknown = table.word("on_unknown", &[("hold", OnUnknown::Hold), ("resend", OnUnknown::Resend)]);
    let retry = table.list("retry", grammar::wait);
    let auto_pause = auto_pause(&mut table);
    let allow_marketing = table.flag("allow_marketing");
    if allow_marketing.is_some() && channel != Channel::Wechat {
        table.problem("allow_marketing", "belongs to `channels.wechat` alone");
    }
    let ruled = table.has("rules");
    let rules = rules(&mut table);
    if ruled && channel != Channel::Sms {
        table.problem("rules", "belongs to `channels.sms` alone");
    }
    table.finish();
    ChannelConfig {
        providers: providers.unwrap_or_default(),
        rate,
        burst,
        concurrency: concurrency.unwrap_or(const { NonZeroUsize::new(64).unwrap() }),
        unknown_window: unknown_window.unwrap_or(const { NonZeroUsize::new(1_000).unwrap() }),
        on_unknown: on_unknown.unwrap_or(OnUnknown::Hold),
        retry: retry.unwrap_or_else(|| [60, 300, 900, 3_600, 14_400].map(Duration::from_secs).to_vec()),
        auto_pause,
        allow_marketing: allow_marketing.unwrap_or(false),
        rules,
    }
}

fn auto_pause(table: &mut Table<'_>) -> Option<AutoPause> {
    if !table.has("auto_pause") {
        return None;
    }
    let mut table = table.table("auto_pause");
    let (bounce, complaint) = (table.share("bounce"), table.share("complaint"));
    let after: Option<u32> = table.number("after", "a whole number of deliveries");
    if bounce.is_none() && complaint.is_none() {
        table.problem("after", "does nothing without `bounce` or `complaint` beside it");
    }
    table.finish();
    Some(AutoPause { bounce, complaint, after: after.unwrap_or(1_000).into() })
}

fn known_provider(
    name: &str,
    channel: Channel,
    declared: &BTreeMap<String, Option<ProviderConfig>>,
) -> Result<(), String> {
    match declared.get(name) {
        Some(Some(ProviderConfig { channel: Some(other), .. })) if *other != channel => {
            Err(format!("provider `{name}` carries {other}, not {channel}"))
        }
        Some(_) => Ok(()),
        None => {
            let near = did_you_mean(name, declared.keys().map(String::as_str));
            Err(format!("no `[providers.{name}]` in this file{near}"))
        }
    }
}

/// `rate` and the `burst` beside it.
pub(super) fn rate_and_burst(table: &mut Table<'_>) -> (Rates, Option<NonZeroU32>) {
    let rates = Rates(table.list("rate", str::parse).unwrap_or_default());
    let burst = table.number("burst", "a whole number from 1 to 4294967295");
    if burst.is_some() && rates.0.is_empty() {
        table.problem("burst", "does nothing without a `rate` beside it");
    }
    (rates, burst)
}
