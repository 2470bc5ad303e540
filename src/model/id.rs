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
