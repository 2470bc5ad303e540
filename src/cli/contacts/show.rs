//! `contacts show`, `export` and `erase`: one contact as the store has it.

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;

use crate::cli::exit::{Exit, Failure};
use crate::cli::operator::{deed, ending};
use crate::cli::output::{Output, maybe_time, time};
use crate::cli::session::Session;
use crate::model::audit::{Action, Ending};
use crate::store::contacts::{AddressRecord, ContactRecord};
use crate::store::exports::Kept;

pub(super) async fn show(config: &Path, id: &str, out: Output) -> Result<Exit, Failure> {
    let contact = Session::open(config).await?.contact(id).await?;
    out.show(&contact, || text(&contact))?;
    Ok(Exit::Done)
}

/// Everything kept: the contact with the evidence of consent, the timeline, and every delivery with its attempts, events
/// and their details.
pub(super) async fn export(config: &Path, id: &str, out: Output) -> Result<Exit, Failure> {
    let session = Session::open(config).await?;
    let id = session.external_id(id).await?;
    // Nobody has described a contact that lists alone have named.
    let contact = session.store.contact(&id).await?;
    let timeline = session.store.timeline(&id, u32::MAX).await?;
    let Some(kept) = session.store.kept_about(&id).await? else { return Err(gone(&id)) };
    let Kept { unsubscribes, deliveries, other_events, lists } = kept;
    out.json(&json!({
        "external_id": id, "contact": contact, "unsubscribes": unsubscribes, "timeline": timeline.unwrap_or_default(),
        "deliveries": deliveries, "other_events": other_events, "lists": lists,
    }))?;
    session.note(deed(Action::ContactExported, Ending::Done).contact(id)).await;
    Ok(Exit::Done)
}

pub(super) async fn erase(config: &Path, id: &str, out: Output) -> Result<Exit, Failure> {
    let session = Session::open(config).await?;
    let id = session.external_id(id).await?;
    let erased = session.store.erase_contact(&id).await?;
    session.note(deed(Action::ContactErased, ending(erased)).contact(&id)).await;
    if !erased {
        return Err(gone(&id));
    }
    out.show(&json!({"external_id": id, "erased": true}), || format!("{id}: erased"))?;
    Ok(Exit::Done)
}

fn gone(id: &str) -> Failure {
    anyhow!("the contact `{id}` was erased by someone else just now").into()
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
