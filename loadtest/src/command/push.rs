//! WeChat and the providers of push.

use std::net::SocketAddr;

use anyhow::Context as _;
use campaignd_loadtest::wechat;
use clap::Args;

use super::behaviour::{Behaviour, Codes};
use super::listen::{local, set, unrecorded};
use super::print;

/// WeChat's platform.
#[derive(Debug, Args)]
pub(crate) struct Wechat {
    #[arg(long, default_value_t = local(18091))]
    listen: SocketAddr,
    /// Default: that of the SDK's capture
    #[arg(long)]
    app_id: Option<String>,
    #[arg(long)]
    secret: Option<String>,
    /// What calls to the customer are signed with
    #[arg(long)]
    callback_token: Option<String>,
    /// Calls to the customer are encrypted with this key of 43 characters
    #[arg(long)]
    encoding_aes_key: Option<String>,
    /// Where events are posted
    #[arg(long)]
    receipts_to: Option<String>,
    /// Seconds that an access token lives
    #[arg(long, default_value_t = 7200)]
    token_life: i64,
    /// Template messages a day; above it 45009
    #[arg(long)]
    daily: Option<u64>,
    /// Messages a minute; above it 45011
    #[arg(long)]
    per_minute: Option<u64>,
    /// Messages at a time; above it -1
    #[arg(long)]
    at_once: Option<usize>,
    #[command(flatten)]
    behaviour: Behaviour,
}

pub(crate) async fn wechat(args: Wechat) -> anyhow::Result<()> {
    anyhow::ensure!(args.behaviour.qps.is_none(), "--qps: WeChat counts --per-minute and --at-once");
    let codes = Codes { error: "-1", bad: "43004", failed: "failed:user block" };
    let mut options = wechat::Options {
        token_life: args.token_life,
        daily: args.daily,
        per_minute: args.per_minute,
        at_once: args.at_once,
        rules: args.behaviour.rules(codes),
        seed: args.behaviour.seed(),
        http: unrecorded(),
        ..wechat::Options::default()
    };
    options.receipts = args.behaviour.plan(options.receipts);
    let account = &mut options.account;
    set(&mut account.app_id, args.app_id.as_ref());
    set(&mut account.secret, args.secret.as_ref());
    set(&mut account.token, args.callback_token.as_ref());
    account.encoding_aes_key = args.encoding_aes_key;
    let service = wechat::Wechat::start(args.listen, options).await.context("cannot start")?;
    args.receipts_to.into_iter().for_each(|url| service.callbacks().aim(url));
    print(service.addr(), || (service.tally().counts(), service.callbacks().counts())).await
}
