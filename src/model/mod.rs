//! Pure types and rules of the domain: what a job, a contact, a delivery, an outcome and an event are,
//! and which changes of state are legal. Knows no runtime, no SQL and no HTTP.

pub mod access;
pub mod address;
pub mod audience;
pub mod audit;
pub mod campaign;
pub mod channel;
pub mod contact;
pub mod content;
pub mod delivery;
pub mod event;
pub mod filter;
pub mod id;
mod instant;
pub mod job;
mod json;
pub mod opt_out;
pub mod outcome;
pub mod rate;
pub mod receipt;
pub mod segments;
pub mod sms_rules;
pub mod tracking_key;

pub use address::InvalidAddress;
pub use campaign::{AutoPause, CampaignStatus, Control, PauseCause, Quality};
pub use channel::{Channel, Lane, Purpose};
pub use content::Content;
pub use delivery::{Reason, State};
pub use event::{Event, EventKind};
pub use filter::Filter;
pub use id::{AddressNo, BatchNo, CampaignNo, ContactNo, DeliveryKey, LinkNo};
pub use job::Job;
pub use outcome::Outcome;
pub use rate::{Rate, Rates};
pub use receipt::Receipt;
pub use sms_rules::SmsRules;
pub use tracking_key::TrackingKey;
