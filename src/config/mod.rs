//! `config.toml` as validated types. Everything that is wrong is found in one reading, each with its line or its
//! environment variable; what comes out needs no further checks. Immutable: each part of the program gets the
//! sub-struct that it needs. Connects to nothing and reads no files but the configuration and the secrets it names.

mod bounces;
mod channel;
mod grammar;
mod http;
mod problem;
mod provider;
mod reader;
mod rules;
mod secret;
mod service;
mod tree;
mod warning;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use bounces::Bounces;
pub use channel::{ChannelConfig, OnUnknown};
pub use http::{Http, Tracking};
pub use problem::{Problem, Problems};
pub use provider::{
    AliyunSettings, ApnsSettings, CallbackKey, Cid, CodeClass, Codes, DkimKey, FcmPriority, FcmSettings,
    FcmTarget, GetuiSettings, HttpVersion, JpushSettings, MailHookSettings, ProviderConfig, ProviderKind,
    SandboxSettings, Sender, ServiceAccount, SesHookSettings, SigningKey, SmppSettings, SmtpSettings,
    TencentSettings, Tls, TwilioSettings, WebhookSettings, WechatMessage, WechatSettings,
};
pub use secret::Secret;
pub use service::{Amqp, Log, LogFormat, Store, StoreKind};

use crate::model::Channel;
use problem::{Findings, Origin};
use reader::Table;

/// Environment variables by name: those that `${NAME}` takes and those that begin with `CAMPAIGND__`.
pub type Environment = BTreeMap<String, String>;

/// The variables of this process, without those that are not UTF-8.
pub fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[derive(Debug, Clone)]
pub struct Config {
    pub store: Store,
    /// `None`: jobs come by HTTP alone.
    pub amqp: Option<Amqp>,
    pub http: Http,
    pub tracking: Tracking,
    pub bounces: Bounces,
    pub templates: Templates,
    /// The channels that the file names.
    pub channels: BTreeMap<Channel, ChannelConfig>,
    /// By name.
    pub providers: BTreeMap<String, ProviderConfig>,
    pub log: Log,
    /// How long a stop may take: from the signal to the end of the process.
    pub drain: Duration,
}

#[derive(Debug, Clone)]
pub struct Templates {
    pub dir: PathBuf,
}

impl Config {
    /// Reads the file at `path` and lays the `CAMPAIGND__` variables of `environment` over it.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn load(path: &Path, environment: &Environment) -> Result<Self, Problems> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text, environment),
            Err(error) => {
                let findings = Findings::new(path.display().to_string());
                let advice = format!("cannot be read: {error}; `--config FILE` names another");
                findings.add(Origin::File, "", advice);
                findings.or(None)
            }
        }
    }

    /// The configuration in `text`, which stands at `path`: problems name it and relative paths begin in its folder.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn parse(path: &Path, text: &str, environment: &Environment) -> Result<Self, Problems> {
        let findings = Findings::new(path.display().to_string());
        let folder = path.parent().unwrap_or(Path::new(""));
        let config = tree::read(text, environment, &findings)
            .and_then(|entries| Self::read(Table::root(entries, folder, &findings)));
        findings.or(config)
    }

    fn read(mut root: Table<'_>) -> Option<Self> {
        let store = service::store(root.table("store"));
        let amqp = service::amqp(root.table("amqp"));
        let http = http::http(root.table("http"));
        let tracking = http::tracking(root.table("tracking"));
        let bounces = bounces::bounces(root.table("bounces"));
        let log = service::log(root.table("log"));

        let mut templates = root.table("templates");
        let dir = templates.path("dir");
        let dir = dir.unwrap_or_else(|| templates.in_folder("templates"));
        templates.finish();

        let mut drain = root.table("drain");
        let deadline = drain.text("deadline", grammar::wait).unwrap_or(Duration::from_secs(30));
        drain.finish();

        let providers = provider::providers(root.table("providers"));
        let channels = channel::channels(root.table("channels"), &providers);
        root.finish();
        Some(Self {
            store: store?,
            amqp,
            http: http?,
            tracking,
            bounces,
            templates: Templates { dir },
            channels,
            // A provider without a value has left its problem.
            providers: providers.into_iter().filter_map(|(name, read)| Some((name, read?))).collect(),
            log,
            drain: deadline,
        })
    }
}

#[cfg(test)]
mod tests;
