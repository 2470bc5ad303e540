//! WeChat and the providers of push. These have no receipts.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use campaignd_loadtest::{apns, callback, fcm, http, wechat};
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

/// Firebase Cloud Messaging, over cleartext.
#[derive(Debug, Args)]
pub(crate) struct Fcm {
    #[arg(long, default_value_t = local(18086))]
    listen: SocketAddr,
    /// Default: that of the SDK's capture
    #[arg(long)]
    project_id: Option<String>,
    #[arg(long)]
    client_email: Option<String>,
    /// A file with the public half of the service account's key, in PEM
    #[arg(long)]
    public_key: Option<PathBuf>,
    /// Seconds that an access token lives
    #[arg(long, default_value_t = 3599)]
    token_life: i64,
    /// Messages a minute; above it QUOTA_EXCEEDED
    #[arg(long)]
    per_minute: Option<u64>,
    #[command(flatten)]
    behaviour: Behaviour,
}

pub(crate) async fn fcm(args: Fcm) -> anyhow::Result<()> {
    anyhow::ensure!(args.behaviour.qps.is_none(), "--qps: FCM counts --per-minute");
    let codes = Codes { error: "UNAVAILABLE", bad: "UNREGISTERED", failed: "" };
    let usual = fcm::Options::default();
    let mut options = fcm::Options {
        token_life: args.token_life,
        per_minute: args.per_minute,
        rules: args.behaviour.rules(codes),
        seed: args.behaviour.seed(),
        http: http::Options { versions: usual.http.versions, ..unrecorded() },
        ..usual
    };
    set(&mut options.account.project_id, args.project_id.as_ref());
    set(&mut options.account.client_email, args.client_email.as_ref());
    read(&mut options.account.public_key, args.public_key.as_ref())?;
    let service = fcm::Fcm::start(args.listen, options).await.context("cannot start")?;
    print(service.addr(), || (service.tally().counts(), callback::Counts::default())).await
}

/// Apple's push service.
#[derive(Debug, Args)]
pub(crate) struct Apns {
    #[arg(long, default_value_t = local(18089))]
    listen: SocketAddr,
    /// Where the PEM of the authority that clients must trust is written
    #[arg(long)]
    authority_to: PathBuf,
    /// Default: that of the SDKs' captures
    #[arg(long)]
    team_id: Option<String>,
    #[arg(long)]
    key_id: Option<String>,
    /// A file with the public half of the team's key, in PEM
    #[arg(long)]
    public_key: Option<PathBuf>,
    #[arg(long, default_value = "com.example.app")]
    topic: String,
    /// Seconds between two provider tokens, at least
    #[arg(long, default_value_t = 1200)]
    token_updates_apart: i64,
    /// Requests at a time on one connection
    #[arg(long, default_value_t = 1000)]
    streams: u32,
    /// A connection says GOAWAY once it took so many requests
    #[arg(long)]
    requests_per_connection: Option<u64>,
    #[command(flatten)]
    behaviour: Behaviour,
}

pub(crate) async fn apns(args: Apns) -> anyhow::Result<()> {
    anyhow::ensure!(args.behaviour.qps.is_none(), "--qps: Apple publishes no rate");
    let codes = Codes { error: "ServiceUnavailable", bad: "Unregistered", failed: "" };
    let mut options = apns::Options {
        token_updates_apart: args.token_updates_apart,
        rules: args.behaviour.rules(codes),
        seed: args.behaviour.seed(),
        ..apns::Options::default()
    };
    options.http.keep = 0;
    options.http.http2.streams = args.streams;
    options.http.http2.requests = args.requests_per_connection;
    let account = &mut options.account;
    set(&mut account.team_id, args.team_id.as_ref());
    set(&mut account.key_id, args.key_id.as_ref());
    read(&mut account.public_key, args.public_key.as_ref())?;
    account.topics = [args.topic].into();
    let service = apns::Apns::start(args.listen, options).await.context("cannot start")?;
    let path = &args.authority_to;
    fs::write(path, service.authority().unwrap_or_default())
        .with_context(|| format!("cannot write {}", path.display()))?;
    print(service.addr(), || (service.tally().counts(), callback::Counts::default())).await
}

/// Replaces it with the file's content, where a file is given.
fn read(to: &mut String, path: Option<&PathBuf>) -> anyhow::Result<()> {
    if let Some(path) = path {
        *to = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(())
}
