//! Numbers that the store hands out. Each is a type of its own, so that a contact never passes for a campaign.

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// One campaign's number in the ledger; a standing campaign takes a new one each month.
    CampaignNo
);
number!(
    /// One contact's number; never used again after an erasure.
    ContactNo
);
number!(
    /// One address's number; a delivery freezes it when it is planned.
    AddressNo
);
number!(
    /// A slice of a campaign that one daemon leases and sends as a whole.
    BatchNo
);

/// A tracked link of a campaign: its position in the campaign's link table, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkNo(pub u16);

/// The ledger's natural key: one recipient of one campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryKey {
    pub campaign: CampaignNo,
    pub contact: ContactNo,
    /// 0 in bulk campaigns, 1.. for repeated entries of a list, the message id's hash in standing campaigns.
    pub occurrence: i64,
}

/// `12-345-0`: what providers carry for us and echo in their receipts.
impl std::fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.campaign, self.contact, self.occurrence)
    }
}

impl std::str::FromStr for DeliveryKey {
    type Err = NoDeliveryKey;

    fn from_str(text: &str) -> Result<Self, NoDeliveryKey> {
        let mut numbers = text.split('-').map(|part| part.parse::<i64>().map_err(|_| NoDeliveryKey));
        let mut next = || numbers.next().ok_or(NoDeliveryKey)?;
        let key =
            DeliveryKey { campaign: CampaignNo(next()?), contact: ContactNo(next()?), occurrence: next()? };
        if numbers.next().is_some() { Err(NoDeliveryKey) } else { Ok(key) }
    }
}

/// A text that names no delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no delivery's key, as `12-345-0`")]
pub struct NoDeliveryKey;
