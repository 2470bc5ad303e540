//! `send-test`: one marked message through the real provider. It belongs to no campaign, is in no report, and takes
//! nothing from any limit.

use std::path::Path;

use anyhow::{Context, anyhow};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::operator::deed;
use super::output::Output;
use super::rendering::{Rendered, Subject};
use super::session::Session;
use crate::app;
use crate::config::{Config, ProviderConfig};
use crate::dispatch::{Account, Labels, compose};
use crate::model::audit::{Action, Ending};
use crate::model::{Channel, Content, Outcome, Purpose, address};
use crate::provider::Receipts;

/// What the subject of a test message begins with.
const MARK: &str = "[TEST] ";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd send-test spring-sale --to me@example.com --contact C-0001 --data '{\"discount\": \"20 %\"}'
  campaignd send-test spring-sale --to me@example.com --contact C-0001 --provider relay")]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Where it goes: an address of the channel, not necessarily the contact's
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// email, sms, wechat or push; else the provider's, else the template's first
    #[arg(long)]
    channel: Option<Channel>,
    /// An account of the configuration; else the first of the channel
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
}

pub(super) async fn send_test(config: &Path, arguments: &Arguments, out: Output) -> Result<Exit, Failure> {
    let session = Session::unchecked(config)?;
    let template = arguments.subject.template(&session.config)?;
    let provider = arguments.provider(&session.config)?;
    let channel = match (arguments.channel, provider) {
        (Some(channel), _) => channel,
        (None, Some(ProviderConfig { channel: Some(channel), .. })) => *channel,
        (None, _) => template.channels().min().unwrap_or(Channel::Email),
    };
    let to = address::canonical(channel, &arguments.to).context("--to").map_err(Failure::usage)?;
    let provider = match provider {
        Some(provider) if !provider.carries(channel) => {
            return Err(Failure::usage(anyhow!("the provider `{}` does not carry {channel}", provider.name)));
        }
        Some(provider) => provider,
        None => first_of(&session.config, channel)?,
    };
    session.check().await?;
    // Nobody waits for what the provider says later.
    let (receipts, _) = Receipts::new(1);
    let account =
        app::account(provider, &session.config.http.public_url, &receipts, None).map_err(Failure::usage)?;
    let mut rendered = arguments.subject.render(&session, &template, channel, true).await?;
    if let Content::Email(email) = &mut rendered.content {
        email.subject.insert_str(0, MARK);
    }
    let contact = rendered.contact.external_id.clone();
    let outcome = send(&account, rendered, &to).await?;
    let accepted = matches!(outcome, Outcome::Accepted { .. });
    let ending = if accepted { Ending::Done } else { Ending::Failed };
    let detail = format!("{} by {}", template.name(), provider.name);
    session.note(deed(Action::TestSent, ending).contact(&contact).detail(detail)).await;
    let answer = json!({
        "provider": provider.name, "contact": contact, "outcome": outcome.as_str(),
        "reason": outcome.reason(), "detail": outcome.detail(),
    });
    let words = || match outcome.detail() {
        Some(detail) if !detail.is_empty() => format!("{}: {}: {detail}", provider.name, outcome.as_str()),
        _ => format!("{}: {}", provider.name, outcome.as_str()),
    };
    out.show(&answer, words)?;
    Ok(if accepted { Exit::Done } else { Exit::Failed })
}

impl Arguments {
    /// The account that the user names.
    fn provider<'c>(&self, config: &'c Config) -> Result<Option<&'c ProviderConfig>, Failure> {
        let Some(name) = &self.provider else { return Ok(None) };
        let found = config.providers.get(name).ok_or_else(|| {
            let names: Vec<&str> = config.providers.keys().map(String::as_str).collect();
            Failure::usage(anyhow!("there is no provider `{name}`; there: {}", names.join(", ")))
        });
        found.map(Some)
    }
}

fn first_of(config: &Config, channel: Channel) -> Result<&ProviderConfig, Failure> {
    let listed = config.channels.get(&channel).and_then(|channel| channel.providers.first());
    listed.and_then(|name| config.providers.get(name)).ok_or_else(|| {
        Failure::usage(anyhow!("no provider carries {channel}: list one in [channels.{channel}]"))
    })
}

async fn send(account: &Account, rendered: Rendered, to: &str) -> Result<Outcome, Failure> {
    let labels = Labels {
        delivery: rendered.delivery,
        campaign: &"test".into(),
        purpose: Purpose::Marketing,
        attempt: 1,
        at: Timestamp::now(),
        to,
        unsubscribe: Some(&rendered.unsubscribe_url),
        keyring: &rendered.keyring,
    };
    let message = compose(rendered.content, &account.format, labels)?;
    let mut session = account.provider.session();
    let outcome = match session.ready().await {
        Err(outcome) => outcome,
        Ok(()) => {
            let outcomes = session.send(&[message]).await;
            outcomes.into_iter().next().unwrap_or(Outcome::Returned)
        }
    };
    session.close().await;
    Ok(outcome)
}
