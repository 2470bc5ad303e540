//! Whose message a report is about.

use std::collections::BTreeSet;

use super::report::Report;
use crate::model::{CampaignNo, ContactNo, DeliveryKey};
use crate::token::{Keyring, Kind};

/// What the address for a message's bounces has before its token.
const VERP: &str = "bounce+";
/// What the address of a message's link to unsubscribe has before its token.
const UNSUBSCRIBE: &str = "/u/";

pub(super) struct Claims<'a> {
    pub(super) keyring: &'a Keyring,
    pub(super) message_ids: bool,
}

impl Claims<'_> {
    /// The deliveries by the first of these that names any: the envelope, the report's own header, what the returned
    /// message's says.
    pub(super) fn deliveries(&self, recipients: &[String], report: &Report) -> BTreeSet<DeliveryKey> {
        let returned = &report.returned;
        let bounces = |texts: &[String]| -> BTreeSet<DeliveryKey> {
            let tokens = texts.iter().flat_map(|text| tokens_after(text, VERP));
            tokens.filter_map(|token| self.keyring.verify_bounce(token)).collect()
        };
        let unsubscribes = || -> BTreeSet<DeliveryKey> {
            let tokens = returned.unsubscribe.iter().flat_map(|text| tokens_after(text, UNSUBSCRIBE));
            let claims = tokens.filter_map(|token| self.keyring.verify(Kind::Unsubscribe, token));
            claims.map(|claims| claims.delivery).collect()
        };
        let message_id = || returned.message_id.as_deref().filter(|_| self.message_ids).and_then(delivery_of);
        [recipients, &report.recipients, &returned.senders]
            .into_iter()
            .map(bounces)
            .chain(std::iter::once_with(unsubscribes))
            .chain(std::iter::once_with(|| message_id().into_iter().collect()))
            .find(|found: &BTreeSet<DeliveryKey>| !found.is_empty())
            .unwrap_or_default()
    }
}

/// What stands behind each `marker`, in any case, as far as a token goes.
fn tokens_after<'t>(text: &'t str, marker: &'static str) -> impl Iterator<Item = &'t str> {
    let ends = text.char_indices().filter_map(move |(at, _)| {
        let end = at + marker.len();
        text.get(at..end).filter(|found| found.eq_ignore_ascii_case(marker)).map(|_| end)
    });
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    ends.filter_map(move |end| text.get(end..)?.split(|c| !is_token(c)).next())
}

/// `campaign.contact.occurrence@domain`, as our messages are named.
fn delivery_of(message_id: &str) -> Option<DeliveryKey> {
    let (local, _) = message_id.trim_matches(['<', '>', ' ']).split_once('@')?;
    let mut numbers = local.split('.').map(str::parse);
    let mut number = || numbers.next()?.ok();
    let key =
        DeliveryKey { campaign: CampaignNo(number()?), contact: ContactNo(number()?), occurrence: number()? };
    numbers.next().is_none().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_wherever_relays_leave_them() {
        let found = |text| tokens_after(text, VERP).collect::<Vec<_>>();
        assert_eq!(found("<BOUNCE+abc@b.example>, bounce+d@b.example"), ["abc", "d"]);
        assert_eq!(found("SRS0=Hx=4J=b.example=bounce+abc@relay.example"), ["abc"]);
        assert_eq!(found("bounce@b.example böunce+x"), Vec::<&str>::new());
    }

    #[test]
    fn only_names_like_ours_are_deliveries() {
        let key = DeliveryKey { campaign: CampaignNo(7), contact: ContactNo(9), occurrence: -3 };
        assert_eq!(delivery_of("<7.9.-3@shop.example>"), Some(key));
        for other in ["<7.9@shop.example>", "<7.9.1.2@shop.example>", "7.9.1", "<a.b.c@d>", ""] {
            assert_eq!(delivery_of(other), None, "{other}");
        }
    }
}
