//! What is legal in a configuration and yet probably not meant.

use std::net::IpAddr;

use hyper::Uri;
use lapin::uri::{AMQPScheme, AMQPUri};

use super::channel::{ChannelConfig, OnUnknown};
use super::provider::{ProviderKind, Tls};
use super::{Config, ProviderConfig, StoreKind};
use crate::postgres_url::SslMode;

impl Config {
    /// One sentence each, beginning with the key. None of them keeps the daemon from running.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.http.public_url.starts_with("https://") {
            warnings.push(
                "http.public_url: not https; links in messages can be read and changed on their way, and mail \
                 services distrust them"
                    .to_owned(),
            );
        }
        if !self.http.admin.ip().to_canonical().is_loopback() {
            warnings.push(
                "http.admin: reached from other machines, and without TLS of its own; put a proxy with TLS before it, or \
                 API tokens can be read on their way"
                    .to_owned(),
            );
        }
        warnings.extend(self.services_in_the_clear());
        if self.channels.is_empty() {
            warnings.push("channels: none is configured; nothing can be sent".to_owned());
        }
        for (channel, config) in &self.channels {
            if config.providers.is_empty() {
                warnings.push(format!(
                    "channels.{channel}.providers: empty; a job that does not name its provider is refused"
                ));
            }
            warnings.extend(self.doubles(config).map(|name| {
                format!(
                    "channels.{channel}.on_unknown: `resend` may send doubles, since provider `{name}` takes no \
                     idempotency key"
                )
            }));
        }
        for (name, provider) in &self.providers {
            if !self.channels.values().any(|channel| channel.providers.contains(name)) {
                warnings.push(format!(
                    "providers.{name}: in no channel's list; only what names it goes through it"
                ));
            }
            if sends_password_in_the_clear(provider) {
                warnings.push(format!("providers.{name}.tls: without it the password goes in the clear"));
            }
            if has_bounces(provider) && !self.bounces.are_read() {
                warnings.push(format!(
                    "providers.{name}.verp_domain: nothing here reads the bounces; set `lmtp` or `maildir` in [bounces]"
                ));
            }
            if let Some(key) = posts_in_the_clear(provider) {
                warnings.push(format!(
                    "providers.{name}.{key}: not https; addresses and messages can be read on their way"
                ));
            }
        }
        warnings
    }

    /// Services around the daemon to which passwords and addresses travel unprotected.
    fn services_in_the_clear(&self) -> impl Iterator<Item = String> {
        let store = match &self.store.kind {
            StoreKind::Postgres(url) if !url.network_hosts().all(is_local) => match url.mode {
                SslMode::Disable | SslMode::Prefer => Some(
                    "the password and every address may go in the clear, or to whoever poses as the server",
                ),
                SslMode::Require => Some("whoever poses as the server gets the password and every address"),
                SslMode::VerifyCa => {
                    Some("any server with a certificate of that authority may pose as this one")
                }
                SslMode::VerifyFull => None,
            },
            _ => None,
        };
        let store = store.map(|risk| format!("store.url: {risk}; set `sslmode=verify-full`"));
        let broker = self.amqp.as_ref().and_then(|amqp| amqp.url.reveal().parse::<AMQPUri>().ok());
        let exposed = broker
            .filter(|broker| broker.scheme == AMQPScheme::AMQP && !is_local(&broker.authority.host))
            .map(|_| "amqp.url: the password and the jobs go in the clear; use amqps://".to_owned());
        store.into_iter().chain(exposed)
    }

    /// The providers that cannot tell a message that is sent again from a new one.
    fn doubles<'c>(&'c self, channel: &'c ChannelConfig) -> impl Iterator<Item = &'c str> {
        let resends = channel.on_unknown == OnUnknown::Resend;
        let listed = channel.providers.iter().filter_map(|name| self.providers.get(name));
        listed
            .filter(move |provider| resends && !provider.kind.takes_idempotency_key())
            .map(|provider| provider.name.as_str())
    }
}

fn sends_password_in_the_clear(provider: &ProviderConfig) -> bool {
    match &provider.kind {
        ProviderKind::Smtp(smtp) => smtp.password.is_some() && smtp.tls == Tls::None && !is_local(&smtp.host),
        ProviderKind::Smpp(smpp) => !smpp.tls && !is_local(&smpp.host),
        _ => false,
    }
}

fn has_bounces(provider: &ProviderConfig) -> bool {
    matches!(&provider.kind, ProviderKind::Smtp(smtp) if smtp.verp_domain.is_some())
}

/// The key of a URL that leads through networks of others without TLS.
fn posts_in_the_clear(provider: &ProviderConfig) -> Option<&'static str> {
    let (key, url) = match &provider.kind {
        ProviderKind::Webhook(webhook) => ("url", &webhook.url),
        ProviderKind::Wechat(wechat) => ("base_url", &wechat.base_url),
        ProviderKind::Aliyun(aliyun) => ("base_url", &aliyun.base_url),
        ProviderKind::Tencent(tencent) => ("base_url", &tencent.base_url),
        ProviderKind::Twilio(twilio) => ("base_url", &twilio.base_url),
        ProviderKind::Jpush(jpush) => ("base_url", &jpush.base_url),
        ProviderKind::Getui(getui) => ("base_url", &getui.base_url),
        ProviderKind::Fcm(fcm) => ("base_url", &fcm.base_url),
        ProviderKind::Apns(apns) => ("base_url", &apns.base_url),
        ProviderKind::Smtp(_) | ProviderKind::Smpp(_) | ProviderKind::Sandbox(_) => return None,
    };
    let url = url.parse::<Uri>().ok()?;
    (url.scheme_str() == Some("http") && !url.host().is_some_and(is_local)).then_some(key)
}

fn is_local(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
