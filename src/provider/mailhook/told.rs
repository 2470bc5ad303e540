//! From one event of a service to the receipts that it is worth.

use jiff::Timestamp;

use crate::model::receipt::{About, Bounce, News};
use crate::model::{Channel, DeliveryKey, Receipt, address};
use crate::provider::detail::masked;

/// What one event says, in our words.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// The service's id of the event, the same in every repeat.
    pub(super) id: &'a str,
    /// From our label; mail that others send over the same account has none.
    pub(super) delivery: Option<DeliveryKey>,
    pub(super) address: Option<&'a str>,
    /// When it happened; `None`: at the time of the call.
    pub(super) at: Option<Timestamp>,
    pub(super) news: Vec<News>,
    pub(super) detail: Option<&'a str>,
}

impl Told<'_> {
    /// A receipt for each news about a delivery of ours. Of mail without our label, what concerns the address itself is
    /// kept: a dead mailbox is dead whoever wrote to it, and an opt-out that is missed is worse than one too many.
    pub(super) fn receipts(&self, provider: &str, now: Timestamp) -> Vec<Receipt> {
        let about = |news: &News| match self.delivery {
            Some(delivery) => Some(About::Delivery(delivery)),
            None if concerns_address(news) => {
                let address = address::canonical(Channel::Email, self.address?).ok()?;
                Some(About::Address { channel: Channel::Email, address })
            }
            None => None,
        };
        let detail = self.detail.map(masked).filter(|detail| !detail.is_empty());
        let receipt = |news: &News| {
            Some(Receipt {
                id: Receipt::id(provider, self.id, news.as_str()),
                about: about(news)?,
                at: Receipt::happened(self.at, now),
                news: news.clone(),
                detail: detail.clone(),
            })
        };
        self.news.iter().filter_map(receipt).collect()
    }
}

fn concerns_address(news: &News) -> bool {
    matches!(news, News::Bounced { bounce: Bounce::Hard, .. } | News::Complained | News::Unsubscribed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    fn bounced(bounce: Bounce) -> News {
        News::Bounced { bounce, reason: Reason::RecipientRefused }
    }

    #[test]
    fn mail_that_is_not_ours_tells_of_addresses_alone() {
        let now: Timestamp = "2026-04-01T10:00:00Z".parse().unwrap();
        let told = |delivery, address| Told {
            id: "e1",
            delivery,
            address,
            at: Some("2099-01-01T00:00:00Z".parse().unwrap()),
            news: vec![News::Delivered, bounced(Bounce::Soft), bounced(Bounce::Hard), News::Unsubscribed],
            detail: Some("550 no anna@example.com"),
        };
        let delivery: DeliveryKey = "1-2-0".parse().unwrap();
        let ours = told(Some(delivery), Some("Anna@Example.com")).receipts("relay", now);
        assert_eq!(ours.len(), 4);
        assert!(ours.iter().all(|receipt| receipt.about == About::Delivery(delivery) && receipt.at == now));
        assert_eq!(ours[0].detail.as_deref(), Some("550 no a***@example.com"));

        let others = told(None, Some("Anna@Example.com")).receipts("relay", now);
        let anna = About::Address { channel: Channel::Email, address: "anna@example.com".to_owned() };
        let wanted = [bounced(Bounce::Hard), News::Unsubscribed];
        assert!(others.iter().all(|receipt| receipt.about == anna));
        assert!(others.iter().map(|receipt| &receipt.news).eq(&wanted));
        assert!(told(None, Some("nobody")).receipts("relay", now).is_empty());
        assert!(told(None, None).receipts("relay", now).is_empty());
    }
}
