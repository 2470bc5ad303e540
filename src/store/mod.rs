//! The store: the only truth about what was sent. Traits at the level of the domain, one a concern;
//! each store implements all of them, and no caller writes SQL.

pub mod audit;
pub mod campaigns;
pub mod contacts;
pub mod dispatching;
pub mod exports;
pub mod jobs;
pub mod keys;
mod metric;
pub mod overview;
pub mod planning;
pub mod postgres;
pub mod rates;
pub mod receipts;
pub mod references;
pub mod reports;
pub mod sqlite;
pub mod tokens;
pub mod tracking;

use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::model::Channel;

pub use audit::Audit;
pub use campaigns::Campaigns;
pub use contacts::Contacts;
pub use dispatching::Dispatching;
pub use exports::Exports;
pub use jobs::Jobs;
pub use keys::Keys;
pub use overview::Overviews;
pub use planning::Planning;
pub use rates::SharedRates;
pub use receipts::Receipts;
pub use references::References;
pub use reports::Reports;
pub use tokens::Tokens;
pub use tracking::Tracking;

/// Everything that a store can do.
pub trait Store:
    Admin
    + Jobs
    + Contacts
    + Campaigns
    + Planning
    + Dispatching
    + Receipts
    + References
    + Tracking
    + Reports
    + Overviews
    + Tokens
    + Keys
    + Audit
    + Exports
{
}

impl<T> Store for T where
    T: Admin
        + Jobs
        + Contacts
        + Campaigns
        + Planning
        + Dispatching
        + Receipts
        + References
        + Tracking
        + Reports
        + Overviews
        + Tokens
        + Keys
        + Audit
        + Exports
{
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is wrong with the request; try again.
    #[error("the store is away")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The schema is not the one that this program needs.
    #[error("the store's schema has version {found}, this program needs {needed}: run `campaignd migrate`")]
    Schema { found: i32, needed: i32 },
    /// A fault of the program or a damaged store.
    #[error("the store refused")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// What a stored code stands for.
fn decode<T>(code: i16, from: fn(i16) -> Option<T>) -> Result<T> {
    from(code).ok_or_else(|| {
        Error::Refused(format!("the store holds code {code}, which this program does not know").into())
    })
}

/// The store itself.
#[async_trait]
pub trait Admin: Send + Sync + std::fmt::Debug {
    /// Brings the schema up to this program's version. Returns the versions before and after.
    async fn migrate(&self) -> Result<(i32, i32)>;

    /// Whether the store answers and its schema fits.
    async fn check(&self) -> Result<()>;

    /// What was made at the first start, lives in the store and never changes.
    async fn secrets(&self) -> Result<Secrets>;

    /// Connections in use and idle, for metrics.
    fn pool(&self) -> Pool;

    /// Rates that daemons share; `None` where the store has one daemon at a time, whose own limits suffice.
    fn shared_rates(&self) -> Option<&dyn SharedRates> {
        None
    }
}

#[derive(Clone)]
pub struct Secrets {
    /// Hashes addresses for the suppression list. Another key would match nobody: those of the erased cannot be hashed again.
    pub suppression: [u8; 32],
}

impl Secrets {
    /// The keyed hash under which a tombstone and the audit log remember a contact; 16 bytes.
    fn contact_hash(&self, external_id: &str) -> Result<Vec<u8>> {
        self.address_hash(Channel::Email, &format!("contact:{external_id}"))
    }

    /// The keyed hash under which a suppression remembers an address; 16 bytes.
    fn address_hash(&self, channel: Channel, address: &str) -> Result<Vec<u8>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.suppression)
            .map_err(|error| Error::Refused(error.into()))?;
        mac.update(&channel.code().to_be_bytes());
        mac.update(address.as_bytes());
        let mut hash = mac.finalize().into_bytes().to_vec();
        hash.truncate(16);
        Ok(hash)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(***)")
    }
}

/// 32 bytes that nobody can guess.
fn fresh_secret() -> [u8; 32] {
    let [one, other] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(uuid::Uuid::into_bytes);
    Sha256::digest([one, other].concat()).into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    pub idle: usize,
    pub in_use: usize,
}

/// How long a caller waits for a connection before the store counts as away.
pub const CONNECTION_WAIT: Duration = Duration::from_secs(5);
