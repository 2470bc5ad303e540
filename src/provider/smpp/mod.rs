//! SMS by SMPP 3.4 (Short Message Peer-to-Peer Protocol Specification v3.4), over few connections to a provider's SMSC.
//!
//! A bind is shared by the account's sessions: providers allow few binds and many messages on their way in each. What
//! was submitted and not answered when a bind is lost is in doubt; nothing of it is sent again. Receipts and replies
//! come over the same binds, one of which stays open while the program runs.
//!
//! The PDUs are written here and not by a crate, since truth about what left needs to know where each PDU ends among
//! the bytes that the socket took, and since a receipt must be read however loosely its provider keeps to the
//! specification.

mod account;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod link;
mod parts;
mod pdu;
mod receipt;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod transfer;
mod wire;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tracing::warn;

use self::account::Account;
use self::link::Link;
use self::transfer::transfer;
use super::{Message, Provider, Receipts, Session};
use crate::config::SmppSettings;
use crate::model::Outcome;
use crate::tls::InvalidTls;

/// One account.
pub struct Smpp {
    account: Arc<Account>,
}

impl Smpp {
    /// Reads the certificates; connects to nothing. `name` is the account's.
    ///
    /// # Errors
    /// When TLS cannot work with these settings.
    pub fn new(name: &str, settings: &SmppSettings, receipts: Receipts) -> Result<Self, InvalidTls> {
        Ok(Smpp { account: Arc::new(Account::new(name, settings, receipts)?) })
    }
}

impl fmt::Debug for Smpp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Smpp").field(&self.account.settings).finish()
    }
}

#[async_trait]
impl Provider for Smpp {
    fn session(&self) -> Box<dyn Session> {
        let account = Arc::clone(&self.account);
        let bind = account.next_bind();
        Box::new(SmppSession { account, bind, link: None })
    }

    fn references(&self) -> bool {
        true
    }

    fn chunk_size(&self) -> usize {
        self.account.settings.window.get().into()
    }

    async fn listen(&self) {
        match self.account.bound(0).await {
            Ok(link) => link.wire().retired().await,
            Err(outcome) => {
                warn!(
                    provider = self.account.name,
                    ?outcome,
                    "receipts and replies cannot come; trying until they can"
                );
            }
        }
    }
}

struct SmppSession {
    account: Arc<Account>,
    bind: usize,
    link: Option<Arc<Link>>,
}

#[async_trait]
impl Session for SmppSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        if self.link.as_ref().is_none_or(|link| link.wire().is_retired()) {
            self.link = None;
            self.link = Some(self.account.bound(self.bind).await?);
        }
        Ok(())
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        match &self.link {
            Some(link) => transfer(&self.account, link.wire(), messages).await,
            None => vec![Outcome::Returned; messages.len()],
        }
    }

    async fn close(&mut self) {
        // The last one turns off the light.
        if let Some(link) = self.link.take().and_then(Arc::into_inner) {
            link.unbind().await;
        }
    }
}
