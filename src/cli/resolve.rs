//! `resolve`: settling by hand what only a person can find out.

use std::path::Path;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::exit::{Exit, Failure};
use super::operator::deed;
use super::output::Output;
use super::session::Session;
use crate::model::audit::{Action, Ending};
use crate::store::campaigns::Resolution;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd resolve spring-sale-2026 C-0001 sent        # the provider's log shows it
  campaignd resolve spring-sale-2026 C-0001 not-sent    # it does not; nothing is sent again")]
pub(super) struct Arguments {
    /// The campaign's id
    campaign: String,
    /// The contact's external id, or an address of theirs
    contact: String,
    /// What became of the message
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fate {
    /// The provider took it: it counts as accepted
    Sent,
    /// It never left: it counts as rejected, `resolved_by_hand`
    NotSent,
}

pub(super) async fn resolve(config: &Path, arguments: &Arguments, out: Output) -> Result<Exit, Failure> {
    let Arguments { campaign, contact, fate } = arguments;
    let session = Session::open(config).await?;
    let sent = *fate == Fate::Sent;
    let mut external_id = contact.clone();
    let mut resolution = session.store.resolve(campaign, &external_id, sent).await?;
    if resolution == Resolution::NotFound
        && let Some(owner) = session.store.owner_of(contact).await?
    {
        resolution = session.store.resolve(campaign, &owner, sent).await?;
        external_id = owner;
    }
    let ending = match resolution {
        Resolution::Done => Ending::Done,
        Resolution::NotFound => Ending::NotFound,
        Resolution::NotUnknown => Ending::Refused,
    };
    let way = if sent { "sent" } else { "not-sent" };
    let deed = deed(Action::DeliveryResolved, ending).subject(campaign).contact(&external_id).detail(way);
    session.note(deed).await;
    let state = if sent { "accepted" } else { "rejected" };
    match resolution {
        Resolution::Done => {
            let done = json!({"campaign": campaign, "external_id": external_id, "state": state});
            out.show(&done, || format!("{external_id} in {campaign}: {state}"))?;
            Ok(Exit::Done)
        }
        Resolution::NotFound => {
            Err(anyhow!("`{campaign}` has no delivery to `{contact}`; `campaignd campaigns` lists campaigns")
                .into())
        }
        Resolution::NotUnknown => Err(anyhow!(
            "the delivery of `{campaign}` to `{external_id}` is not `unknown`, so there is nothing to resolve; \
             `campaignd explain` shows what became of it"
        )
        .into()),
    }
}
