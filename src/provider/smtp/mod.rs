//! E-mail out: an SMTP client of our own, because throughput is what the project exists for.
//!
//! One session is one connection at a time. It pipelines, reuses the connection for `max_messages`, and says of each
//! message what certainly or possibly became of it. Chooses no recipients, sets no pace, retries nothing by itself.

mod classify;
mod command;
mod config;
mod connection;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod reply;
mod report;
#[cfg(test)]
mod tests;
mod transfer;
mod wire;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::config::Account;
pub use self::config::{InvalidSmtp, SmtpConfig, Timeouts, Tls};
use self::connection::Connection;
pub use self::report::{in_short, reported};
use self::transfer::{Buffers, Ended, Transfer};
use super::{Message, Provider, Session};
use crate::model::Outcome;

/// Between two chunks a round trip is lost, since the next envelope is not known yet: 2 % of the time at 64. More
/// would hold more permits ahead of the bytes.
const CHUNK: usize = 64;

/// One account at one SMTP server.
pub struct Smtp {
    account: Arc<Account>,
}

impl Smtp {
    /// Checks the configuration and loads the trusted certificates; connects to nothing.
    ///
    /// # Errors
    /// When the configuration cannot work.
    pub fn new(config: SmtpConfig) -> Result<Self, InvalidSmtp> {
        Ok(Smtp { account: Arc::new(Account::new(config)?) })
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Smtp").field(&self.account.config).finish()
    }
}

impl Provider for Smtp {
    fn session(&self) -> Box<dyn Session> {
        let account = Arc::clone(&self.account);
        Box::new(SmtpSession { account, connection: None, buffers: Buffers::default() })
    }

    fn defers_recipients(&self) -> bool {
        true
    }

    fn chunk_size(&self) -> usize {
        CHUNK
    }
}

struct SmtpSession {
    account: Arc<Account>,
    /// Taken out while in use: a call that is dropped halfway leaves none behind.
    connection: Option<Connection>,
    buffers: Buffers,
}

impl SmtpSession {
    fn max_messages(&self) -> u32 {
        self.account.config.max_messages.max(1)
    }
}

#[async_trait]
impl Session for SmtpSession {
    async fn ready(&mut self) -> Result<(), Outcome> {
        if let Some(mut connection) = self.connection.take() {
            if connection.messages < self.max_messages() && connection.wire.is_idle() {
                self.connection = Some(connection);
                return Ok(());
            }
            connection.quit().await;
        }
        self.connection = Some(Connection::open(&self.account).await?);
        Ok(())
    }

    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let mut outcomes = vec![None; messages.len()];
        while outcomes.iter().any(Option::is_none) {
            // Each turn settles a message or ends the loop. Why a dial failed is the next `ready`'s to tell.
            if self.ready().await.is_err() {
                break;
            }
            let Some(mut connection) = self.connection.take() else { break };
            let room = self.max_messages() - connection.messages;
            let timeouts = &self.account.config.timeouts;
            let mut transfer = Transfer::new(&mut connection, &mut self.buffers, timeouts);
            match transfer.run(messages, &mut outcomes, room).await {
                Ended::Idle => self.connection = Some(connection),
                Ended::Spent => {}
                Ended::Lost => break,
            }
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Returned)).collect()
    }

    async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.quit().await;
        }
    }
}
