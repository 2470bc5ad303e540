//! Providers: who carries a channel's messages. Messages in, one classified outcome a message out.
//!
//! A provider knows its protocol, its error table and nothing else: no store, no limits, no templates.

pub mod aliyun;
pub mod apns;
#[cfg(test)]
mod certificate;
pub mod credential;
mod detail;
pub mod fcm;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod getui;
mod hook;
pub mod http;
pub mod http2;
pub mod jpush;
mod jwt;
mod keyed;
pub mod mailhook;
mod permit;
mod push;
mod reference;
pub mod sandbox;
mod secret_path;
pub mod smpp;
mod sms;
pub mod smtp;
pub mod tencent;
mod trust;
pub mod twilio;
mod unheard;
pub mod webhook;
pub mod wechat;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use hook::{Hook, HookAnswer, HookRefusal, HookRequest, Receipts};
pub use jwt::InvalidKey;
pub use permit::{Departures, Permit};
pub use unheard::Unheard;

use crate::model::{Content, DeliveryKey, Outcome, Purpose};

/// One message that is intended in the ledger and permitted by every limit: bytes may leave.
#[derive(Debug)]
pub struct Message {
    pub delivery: DeliveryKey,
    /// 1 for the first attempt.
    pub attempt: u16,
    /// The campaign's id.
    pub campaign: Arc<str>,
    pub purpose: Purpose,
    /// The canonical address.
    pub to: String,
    /// Where this recipient unsubscribes; `None` where the message carries no such way.
    pub unsubscribe: Option<String>,
    pub body: Body,
    /// Spent by the session as soon as the message's first byte is with the socket.
    pub permit: Permit,
}

#[derive(Debug, Clone)]
pub enum Body {
    /// For accounts that take mail as it travels.
    Email(Email),
    /// For accounts that put it into a format of their own.
    Content(Content),
}

/// A complete RFC 5322 message with CRLF line ends, not yet dot-stuffed, and its envelope.
#[derive(Debug, Clone)]
pub struct Email {
    pub envelope_from: String,
    pub envelope_to: String,
    pub content: Bytes,
}

/// One account at one provider.
#[async_trait]
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// A new session; it dials when it is first asked to be ready.
    fn session(&self) -> Box<dyn Session>;

    /// Whether receipts name the provider's own id alone, so that the ledger must find deliveries by it.
    fn references(&self) -> bool {
        false
    }

    /// What becomes of a message that is sent again.
    fn repeats(&self) -> Repeats {
        Repeats::Doubled
    }

    /// Whether a temporary failure is about the recipient, as with greylisting, and says nothing about the provider.
    fn defers_recipients(&self) -> bool {
        false
    }

    /// How many messages one call of [`Session::send`] takes at most.
    fn chunk_size(&self) -> usize;

    /// Keeps open whatever receipts come by, where they come over a connection of our own, or asks for them. Comes back
    /// when that is lost or cannot be had; to be called again after a while.
    async fn listen(&self) {
        std::future::pending().await
    }
}

/// What becomes of a message that is given to the provider once more, under the same key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// Nothing tells it from a new one: the recipient may get it twice.
    Doubled,
    /// The provider drops it, for so long after it took the first one.
    Dropped(Duration),
}

/// One worker's way to the provider: a connection, or a handle on a shared client.
#[async_trait]
pub trait Session: Send {
    /// Makes sure that [`Session::send`] can write at once: dials, negotiates TLS, authenticates where needed.
    ///
    /// # Errors
    /// `Retry`, `Throttled` or `AccountRefused`: nothing was handed over.
    async fn ready(&mut self) -> Result<(), Outcome>;

    /// Hands the messages over in order. Returns exactly one outcome a message, in the same order, whatever happens.
    async fn send(&mut self, messages: &[Message]) -> Vec<Outcome>;

    /// Says goodbye where the protocol has a word for it.
    async fn close(&mut self);
}
