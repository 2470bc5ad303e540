//! Permits of the rate limits, from the moment when they are given until their message leaves.
//!
//! Says when a message left; who may leave when is the dispatcher's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// Permission for one message in every scope that limits it. Spent at the latest when it is dropped.
#[derive(Debug, Default)]
pub struct Permit {
    scopes: Vec<Arc<Departures>>,
    spent: AtomicBool,
}

/// When permits of one scope were spent, until its limiter asks.
#[derive(Debug, Default)]
pub struct Departures(Mutex<Vec<Instant>>);

impl Permit {
    pub fn new(scopes: Vec<Arc<Departures>>) -> Self {
        Permit { scopes, spent: AtomicBool::new(false) }
    }

    /// The message's first byte is with the socket. Later calls change nothing.
    pub fn spend(&self) {
        if self.spent.swap(true, Ordering::AcqRel) {
            return;
        }
        let now = Instant::now();
        for scope in &self.scopes {
            scope.note(now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.spend();
    }
}

impl Departures {
    pub fn note(&self, at: Instant) {
        if let Ok(mut spent) = self.0.lock() {
            spent.push(at);
        }
    }

    /// What came since the last call, in no order.
    pub fn drain(&self) -> Vec<Instant> {
        self.0.lock().map(|mut spent| std::mem::take(&mut *spent)).unwrap_or_default()
    }
}
