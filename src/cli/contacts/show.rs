//! `contacts show`, `export` and `erase`: one contact as the store has it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::anyhow;
use serde_json::json;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Output, maybe_time, time};
use crate::cli::session::Session;
use crate::store::contacts::{AddressRecord, ContactRecord};

pub(super) async fn show(config: &Path, id: &str, out: Output) -> Result<Exit, Failure> {
    let contact = Session::open(config).await?.contact(id).await?;
    out.show(&contact, || text(&contact))?;
    Ok(Exit::Done)
}

/// Contact, timeline, and every delivery with its attempts and events.
pub(super) async fn export(config: &Path, id: &str, out: Output) -> Result<Exit, Failure> {
    let session = Session::open(config).await?;
    let contact = session.contact(id).await?;
    let id = &contact.external_id;
    let timeline = session.store.timeline(id, u32::MAX).await?.unwrap_or_default();
    let campaigns: BTreeSet<&str> = timeline.iter().map(|entry| entry.campaign.as_str()).collect();
    let mut deliveries = Vec::new();
    for campaign in campaigns {
        deliveries.extend(session.store.explain(campaign, id).await?);
    }
    out.json(&json!({"contact": contact, "timeline": timeline, "deliveries": deliveries}))?;
    Ok(Exit::Done)
}

pub(super) async fn erase(config: &Path, id: &str, out: Output) -> Result<Exit, Failure> {
    let session = Session::open(config).await?;
    let id = session.contact(id).await?.external_id;
    if !session.store.erase_contact(&id).await? {
        return Err(anyhow!("the contact `{id}` was erased by someone else just now").into());
    }
    out.show(&json!({"external_id": id, "erased": true}), || format!("{id}: erased"))?;
    Ok(Exit::Done)
}

fn text(contact: &ContactRecord) -> String {
    let mut lines = vec![contact.external_id.clone()];
    let mut fact = |name: &str, value: &str| lines.push(format!("  {name:<10} {value}"));
    fact("locale", contact.locale.as_deref().unwrap_or("-"));
    fact("timezone", contact.timezone.as_deref().unwrap_or("-"));
    fact("tags", &if contact.tags.is_empty() { "-".to_owned() } else { contact.tags.join("; ") });
    contact.addresses.iter().for_each(|address| fact(address.channel.as_str(), &in_words(address)));
    // As JSON, so that text and number are told apart and no control character reaches the terminal.
    contact.attributes.iter().for_each(|(name, value)| fact(name, &value.to_string()));
    let done = &contact.engagement;
    fact("opens", &format!("{}, the last {}", done.opens, maybe_time(done.last_open_at)));
    fact("clicks", &format!("{}, the last {}", done.clicks, maybe_time(done.last_click_at)));
    fact("created", &time(contact.created_at));
    fact("updated", &time(contact.updated_at));
    lines.join("\n")
}

fn in_words(address: &AddressRecord) -> String {
    let mut words = address.address.clone();
    if !address.app.is_empty() {
        words += &format!(" (app {})", address.app);
    }
    words += &match (address.consent_at, &address.consent_source) {
        (Some(at), Some(source)) => format!(", agreed to marketing {} by {source}", time(at)),
        (Some(at), None) => format!(", agreed to marketing {}", time(at)),
        (None, _) => ", no consent to marketing".to_owned(),
    };
    if let Some(at) = address.unsubscribed_at {
        words += &format!(", unsubscribed {}", time(at));
    }
    if address.suppressed {
        words += ", suppressed";
    }
    words
}
