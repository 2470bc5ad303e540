//! Builds the parts from the configuration. The only module that knows all of them.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use crate::config::{Config, ProviderConfig, ProviderKind, SmtpSettings, Tls};
use crate::dispatch::{Account, EmailSender, Limit};
use crate::lifecycle::Signals;
use crate::provider::smtp::{self, Smtp, SmtpConfig};
use crate::store::Store;
use crate::store::postgres::PgStore;

/// The configured store; connects when first asked for something.
///
/// # Errors
/// When its URL cannot be read.
pub fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(PgStore::new(config.store.url.reveal(), config.store.connections)?))
}

/// A provider's account; connects to nothing.
///
/// # Errors
/// When its settings cannot work.
pub fn account(provider: &ProviderConfig) -> anyhow::Result<Account> {
    let ProviderKind::Smtp(settings) = &provider.kind;
    Ok(Account {
        name: provider.name.as_str().into(),
        provider: Arc::new(Smtp::new(smtp_config(settings))?),
        sender: Arc::new(sender(settings)?),
        weight: provider.weight,
        limit: Limit { rates: provider.rate.clone(), burst: provider.burst },
    })
}

fn smtp_config(settings: &SmtpSettings) -> SmtpConfig {
    SmtpConfig {
        tls: match settings.tls {
            Tls::None => smtp::Tls::None,
            Tls::StartTls => smtp::Tls::StartTls,
            Tls::Implicit => smtp::Tls::Implicit,
        },
        ca_file: settings.ca_file.clone(),
        username: settings.username.clone(),
        password: settings.password.as_ref().map(|password| password.reveal().to_owned()),
        helo_name: settings.helo_name.clone(),
        max_messages: settings.max_messages.get(),
        ..SmtpConfig::new(&settings.host, settings.port)
    }
}

fn sender(settings: &SmtpSettings) -> anyhow::Result<EmailSender> {
    Ok(EmailSender {
        from: settings.from.parse().context("from")?,
        reply_to: settings.reply_to.as_deref().map(str::parse).transpose().context("reply_to")?,
        return_path: settings.return_path.clone(),
        list_id: settings.list_id.clone(),
        unsubscribe_mailto: settings.unsubscribe_mailto.clone(),
    })
}

/// The daemon, from its start until it is told to stop. `path` is the configuration's file, read again on SIGHUP.
///
/// # Errors
/// When a part cannot start or dies.
pub async fn run(config: Config, path: PathBuf) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    open_store(&config)?.check().await?;
    tracing::info!(config = %path.display(), "ready");
    signals.stop().await;
    Ok(())
}
