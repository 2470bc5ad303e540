//! From the configuration to lanes: accounts with their providers, limits, schedules.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::rules::forms;
use crate::backoff::Schedule;
use crate::config::{
    ChannelConfig, Config, DkimKey, OnUnknown, ProviderConfig, ProviderKind, Secret, SmtpSettings, Tls,
};
use crate::dispatch::{Account, EmailSender, Format, LaneConfig, Limit, OnDoubt, ReturnPath};
use crate::model::sms_rules::TextRules;
use crate::model::{Channel, SmsRules};
use crate::provider::aliyun::Aliyun;
use crate::provider::apns::Apns;
use crate::provider::fcm::Fcm;
use crate::provider::getui::Getui;
use crate::provider::jpush::Jpush;
use crate::provider::mailhook::Label;
use crate::provider::sandbox::{self, Sandbox};
use crate::provider::smpp::Smpp;
use crate::provider::smtp::{self, Smtp, SmtpConfig};
use crate::provider::tencent::Tencent;
use crate::provider::twilio::Twilio;
use crate::provider::webhook::Webhook;
use crate::provider::wechat::Wechat;
use crate::provider::{Provider, Receipts};
use crate::render::dkim::Signer;
use crate::render::mime::Mailbox;

/// One lane a channel.
pub(super) fn lanes(
    config: &Config,
    receipts: &Receipts,
    mailbox: Option<&Arc<sandbox::Mailbox>>,
) -> Result<Vec<LaneConfig>> {
    let channels = config.channels.iter();
    channels.map(|(channel, settings)| lane(config, *channel, settings, receipts, mailbox)).collect()
}

/// Where all sandbox accounts leave their messages for reading; `None` without such an account.
pub(super) fn mailbox(config: &Config) -> Option<Arc<sandbox::Mailbox>> {
    let keeps = config.providers.values().filter_map(|provider| match &provider.kind {
        ProviderKind::Sandbox(settings) => Some(settings.keep),
        _ => None,
    });
    keeps.max().map(|keep| Arc::new(sandbox::Mailbox::new(keep)))
}

fn lane(
    config: &Config,
    channel: Channel,
    settings: &ChannelConfig,
    receipts: &Receipts,
    mailbox: Option<&Arc<sandbox::Mailbox>>,
) -> Result<LaneConfig> {
    let carriers = || config.providers.values().filter(|provider| provider.carries(channel));
    let accounts = carriers().map(|provider| {
        let listed = settings.providers.contains(&provider.name);
        account(provider, &config.http.public_url, receipts, mailbox).map(|account| Account {
            weight: account.weight.filter(|_| listed),
            on_doubt: on_doubt(settings, provider, &account),
            ..account
        })
    });
    let rules = match forms(carriers().map(|provider| &provider.kind)).text {
        true => settings.rules.clone(),
        // Nobody takes the texts that there may be.
        false => SmsRules { text: TextRules::default(), ..settings.rules.clone() },
    };
    Ok(LaneConfig {
        channel,
        rules,
        accounts: accounts.collect::<Result<_>>()?,
        limit: channel_limit(settings),
        concurrency: settings.concurrency.get(),
        unknown_window: settings.unknown_window.get(),
        retry: Schedule::new(settings.retry.clone()),
    })
}

/// As the channel says, except that a webhook's own `idempotent` asks for what is in doubt, too.
fn on_doubt(channel: &ChannelConfig, provider: &ProviderConfig, account: &Account) -> OnDoubt {
    let asked = matches!(&provider.kind, ProviderKind::Webhook(webhook) if webhook.idempotent);
    match channel.on_unknown {
        OnUnknown::Hold if !asked => OnDoubt::Hold,
        _ => OnDoubt::Resend(account.provider.repeats()),
    }
}

pub(super) fn channel_limit(settings: &ChannelConfig) -> Limit {
    Limit { rates: settings.rate.clone(), burst: settings.burst }
}

pub(super) fn account_limit(settings: &ProviderConfig) -> Limit {
    Limit { rates: settings.rate.clone(), burst: settings.burst }
}

/// A provider's account; connects to nothing. Providers call us under `public_url`; what a sandbox takes stands in
/// `mailbox`.
///
/// # Errors
/// When its settings cannot work; the message names the key.
pub fn account(
    settings: &ProviderConfig,
    public_url: &str,
    receipts: &Receipts,
    mailbox: Option<&Arc<sandbox::Mailbox>>,
) -> Result<Account> {
    let (provider, format) = carrier(settings, public_url, receipts, mailbox)
        .with_context(|| format!("providers.{}", settings.name))?;
    Ok(Account {
        name: settings.name.as_str().into(),
        provider,
        format,
        app: settings.app.as_deref().map(Into::into),
        weight: Some(settings.weight),
        limit: account_limit(settings),
        on_doubt: OnDoubt::Hold,
    })
}

/// Who carries the account's messages, and the form in which they are handed over.
fn carrier(
    settings: &ProviderConfig,
    public_url: &str,
    receipts: &Receipts,
    mailbox: Option<&Arc<sandbox::Mailbox>>,
) -> Result<(Arc<dyn Provider>, Format)> {
    let (name, receipts) = (&settings.name, receipts.clone());
    let provider: Arc<dyn Provider> = match &settings.kind {
        ProviderKind::Smtp(smtp) => {
            let format = Format::Mime(Arc::new(email_sender(smtp)?));
            return Ok((Arc::new(Smtp::new(smtp_config(smtp))?), format));
        }
        ProviderKind::Sandbox(behaviour) => {
            Arc::new(Sandbox::new(name, behaviour.clone(), receipts, mailbox.cloned()))
        }
        ProviderKind::Smpp(smpp) => Arc::new(Smpp::new(name, smpp, receipts)?),
        ProviderKind::Webhook(webhook) => Arc::new(Webhook::new(webhook)?),
        ProviderKind::Jpush(jpush) => Arc::new(Jpush::new(jpush)?),
        ProviderKind::Getui(getui) => Arc::new(Getui::new(getui)?),
        ProviderKind::Fcm(fcm) => Arc::new(Fcm::new(fcm)?),
        ProviderKind::Apns(apns) => Arc::new(Apns::new(apns)?),
        ProviderKind::Wechat(wechat) => Arc::new(Wechat::new(wechat)?),
        ProviderKind::Aliyun(aliyun) => Arc::new(Aliyun::new(name, aliyun, receipts)?),
        ProviderKind::Tencent(tencent) => Arc::new(Tencent::new(name, tencent, receipts)?),
        ProviderKind::Twilio(twilio) => Arc::new(Twilio::new(name, twilio, public_url, receipts)?),
    };
    Ok((provider, Format::Content))
}

fn smtp_config(settings: &SmtpSettings) -> SmtpConfig {
    let mut config = SmtpConfig::new(settings.host.clone(), settings.port);
    config.tls = match settings.tls {
        Tls::None => smtp::Tls::None,
        Tls::StartTls => smtp::Tls::StartTls,
        Tls::Implicit => smtp::Tls::Implicit,
    };
    config.ca_file.clone_from(&settings.ca_file);
    config.username.clone_from(&settings.username);
    config.password = settings.password.as_ref().map(Secret::reveal).map(str::to_owned);
    config.helo_name.clone_from(&settings.helo_name);
    config.max_messages = settings.max_messages.get();
    config
}

fn email_sender(settings: &SmtpSettings) -> Result<EmailSender> {
    let mailbox = |key: &str, text: &str| {
        text.parse::<Mailbox>().with_context(|| format!("{key} is no mailbox as `Shop <news@example.com>`"))
    };
    let signer = |key: &DkimKey| {
        let (domain, selector) = (key.domain.clone(), key.selector.clone());
        let context = || format!("dkim: the key of {selector}._domainkey.{domain}");
        Signer::new(domain.clone(), selector.clone(), key.key.reveal()).with_context(context)
    };
    let return_path = match (&settings.verp_domain, &settings.return_path) {
        (Some(domain), _) => ReturnPath::Verp { domain: domain.clone() },
        (None, Some(address)) => ReturnPath::Address(address.clone()),
        (None, None) => ReturnPath::From,
    };
    Ok(EmailSender {
        from: mailbox("from", &settings.from)?,
        reply_to: settings.reply_to.as_deref().map(|text| mailbox("reply_to", text)).transpose()?,
        return_path,
        list_id: settings.list_id.clone(),
        unsubscribe_mailto: settings.unsubscribe_mailto.clone(),
        label: settings.hook.as_ref().map(Label::new),
        dkim: settings.dkim.iter().map(signer).collect::<Result<_>>()?,
    })
}
