//! One account at one SMSC: its settings, its binds, and what all sessions share.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::link::Link;
use super::parts::Parts;
use super::pdu::Address;
use super::receipt::Ids;
use crate::config::SmppSettings;
use crate::model::Outcome;
use crate::provider::Receipts;
use crate::provider::trust::Trust;
use crate::tls::InvalidTls;

pub(super) struct Account {
    pub(super) name: String,
    pub(super) settings: SmppSettings,
    pub(super) trust: Option<Trust>,
    pub(super) source: Address,
    pub(super) receipts: Receipts,
    pub(super) parts: Parts,
    binds: Vec<Mutex<Bind>>,
    sessions: AtomicUsize,
    /// Of the last message in several parts.
    reference: AtomicU8,
}

/// A connection that lives as long as somebody uses it.
#[derive(Debug, Default)]
struct Bind {
    link: Weak<Link>,
    failed: Option<(Instant, Outcome)>,
}

impl Account {
    /// Reads the certificates; connects to nothing.
    pub(super) fn new(name: &str, settings: &SmppSettings, receipts: Receipts) -> Result<Self, InvalidTls> {
        let trust = if settings.tls {
            Some(Trust::new(&settings.host, settings.ca_file.as_deref(), &[])?)
        } else {
            None
        };
        let mut source = Address::sender(settings.from.as_deref().unwrap_or_default());
        source.ton = settings.from_ton.unwrap_or(source.ton);
        source.npi = settings.from_npi.unwrap_or(source.npi);
        Ok(Account {
            name: name.to_owned(),
            trust,
            source,
            receipts,
            parts: Parts::default(),
            binds: (0..settings.binds.get()).map(|_| Mutex::default()).collect(),
            sessions: AtomicUsize::new(0),
            reference: AtomicU8::new(fastrand::u8(..)),
            settings: settings.clone(),
        })
    }

    pub(super) fn ids(&self) -> Ids {
        Ids { hex: self.settings.hex_ids }
    }

    /// Tells a message in several parts from the others to the same recipient.
    pub(super) fn next_reference(&self) -> u8 {
        self.reference.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of the bind that the next session uses: all in turn.
    pub(super) fn next_bind(&self) -> usize {
        self.sessions.fetch_add(1, Ordering::Relaxed) % self.binds.len().max(1)
    }

    /// The bind with this number; opened where it is not open. Whoever waits for another's attempt shares its failure.
    ///
    /// # Errors
    /// `Retry`, `Throttled` or `AccountRefused`.
    pub(super) async fn bound(self: &Arc<Self>, number: usize) -> Result<Arc<Link>, Outcome> {
        let asked = Instant::now();
        let mut bind = self.binds[number].lock().await;
        if let Some(link) = bind.link.upgrade().filter(|link| !link.wire().is_retired()) {
            return Ok(link);
        }
        if let Some((at, outcome)) = &bind.failed
            && *at > asked
        {
            return Err(outcome.clone());
        }
        match Link::open(self).await {
            Ok(link) => {
                let link = Arc::new(link);
                *bind = Bind { link: Arc::downgrade(&link), failed: None };
                Ok(link)
            }
            Err(outcome) => {
                bind.failed = Some((Instant::now(), outcome.clone()));
                Err(outcome)
            }
        }
    }
}
