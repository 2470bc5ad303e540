//! `explain`: why this contact did or did not get a campaign, from the ledger.

use std::fmt::Write;
use std::path::Path;

use anyhow::anyhow;
use clap::Args;

use super::campaigns;
use super::exit::{Exit, Failure};
use super::output::{Output, time};
use super::session::Session;
use crate::store::reports::Explanation;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd explain spring-sale-2026 C-0001
  campaignd explain spring-sale-2026 anna@example.com")]
pub(super) struct Arguments {
    /// The campaign's id
    campaign: String,
    /// The contact's external id, or an address of theirs
    contact: String,
}

pub(super) async fn explain(config: &Path, arguments: &Arguments, out: Output) -> Result<Exit, Failure> {
    let Arguments { campaign, contact } = arguments;
    let session = Session::open(config).await?;
    let mut explanations = session.store.explain(campaign, contact).await?;
    if explanations.is_empty()
        && let Some(owner) = session.store.owner_of(contact).await?
    {
        explanations = session.store.explain(campaign, &owner).await?;
    }
    if explanations.is_empty() {
        return Err(nothing(&session, campaign, contact).await);
    }
    out.show(&explanations, || explanations.iter().map(text).collect::<Vec<_>>().join("\n\n"))?;
    Ok(Exit::Done)
}

/// Which of the two is not there, or that the one never was among the other's.
async fn nothing(session: &Session, campaign: &str, contact: &str) -> Failure {
    match session.store.campaign(campaign).await {
        Err(error) => error.into(),
        Ok(None) => campaigns::unknown(campaign).into(),
        Ok(Some(_)) => match session.contact(contact).await {
            Err(failure) => failure,
            Ok(contact) => anyhow!(
                "`{campaign}` never targeted `{}`: its audience did not name this contact when it was planned",
                contact.external_id
            )
            .into(),
        },
    }
}

fn text(explanation: &Explanation) -> String {
    let delivery = &explanation.delivery;
    let who = delivery.external_id.as_deref().unwrap_or("(erased)");
    let mut text = format!("{who} in {} ({}): {}", explanation.campaign, explanation.channel, delivery.state);
    let mut add = |line: String| {
        text.push('\n');
        text.push_str(&line);
    };
    if let Some(reason) = delivery.reason {
        add(format!("  reason       {reason}"));
    }
    if let Some(due_at) = explanation.due_at {
        add(format!("  due at       {}", time(due_at)));
    }
    if let Some(provider) = &delivery.provider {
        add(format!("  provider     {provider}"));
    }
    if let Some(provider_ref) = &delivery.provider_ref {
        add(format!("  its id there {provider_ref}"));
    }
    add(format!("  attempts     {}", delivery.attempts));
    add(format!("  last change  {}", time(delivery.updated_at)));
    for attempt in &explanation.attempts_made {
        let mut line = format!("  {}  attempt {}: {}", time(attempt.at), attempt.attempt, attempt.outcome);
        for word in [attempt.reason.map(|reason| reason.to_string()), attempt.provider.clone()] {
            word.into_iter().for_each(|word| write!(line, ", {word}").unwrap_or_default());
        }
        if !attempt.detail.is_empty() {
            line = format!("{line}: {}", attempt.detail);
        }
        add(line);
    }
    for event in &explanation.events {
        let mut line = format!("  {}  {}", time(event.at), event.kind);
        if let Some(link) = &event.link {
            line = format!("{line} {link}");
        }
        if let Some(rule) = &event.machine {
            line = format!("{line} (a machine: {rule})");
        }
        if let Some(reason) = event.reason {
            line = format!("{line}, {reason}");
        }
        if let Some(detail) = &event.detail {
            line = format!("{line}: {detail}");
        }
        add(line);
    }
    text
}
