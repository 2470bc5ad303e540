//! Dispatch: leased batches become messages, permits and outcomes.
//!
//! One lane a channel. Its poller finds campaigns that are due and runs a [`stream`] for each: lease, intent,
//! render. Rendered messages wait at the [`desk`], which alone takes from the limits and deals to the [`worker`]s,
//! one a connection. Outcomes of all lanes meet in group commits, their next intents in others: the [`ledger`].

mod brake;
mod campaigns;
mod circuit;
mod compose;
mod desk;
mod doubt;
mod heart;
mod holdings;
mod hours;
mod lane;
mod ledger;
mod limit;
mod listener;
mod prepared;
mod ration;
mod rendering;
mod retry;
mod stream;
mod supply;
#[cfg(test)]
mod testing;
mod worker;

use std::num::NonZeroU32;
use std::sync::Arc;

pub use campaigns::Campaigns;
pub use compose::{ComposeError, EmailSender, Format, Labels, ReturnPath, compose};
pub use doubt::OnDoubt;
pub use heart::Heart;
pub use holdings::Holdings;
pub use lane::{Lane, LaneHandle};
pub use ledger::{Ledger, Recorder, ledger};
pub use limit::Limiter;

use crate::backoff::Schedule;
use crate::model::{Channel, Rates, SmsRules};
use crate::provider::Provider;

/// One provider account as its lane uses it.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: Arc<str>,
    pub provider: Arc<dyn Provider>,
    pub format: Format,
    /// The app whose addresses it reaches, for WeChat and push; `None`: every address of the channel.
    pub app: Option<Arc<str>>,
    /// Share of the channel's messages, against the other accounts' weights; `None` for one that the channel does not
    /// list: it carries only what names it.
    pub weight: Option<NonZeroU32>,
    pub limit: Limit,
    pub on_doubt: OnDoubt,
}

/// Rates of one scope as they are configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limit {
    pub rates: Rates,
    pub burst: Option<NonZeroU32>,
}

/// What a lane is made of.
#[derive(Debug, Clone)]
pub struct LaneConfig {
    pub channel: Channel,
    pub accounts: Vec<Account>,
    pub limit: Limit,
    /// Connections, or requests under way, over all accounts.
    pub concurrency: usize,
    /// Messages that are intended and not settled in the store, at most.
    pub unknown_window: usize,
    pub retry: Schedule,
    pub rules: SmsRules,
}
