//! Permits of the rate limits, from the moment when they are given until their message leaves.
//!
//! Tells when a message left; who may leave when is the dispatcher's.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A scope whose rate counts messages as they leave.
pub trait Departures: Debug + Send + Sync {
    /// A message that is charged `cells` leaves now, or never will.
    fn depart(&self, cells: u32);
}

/// Permission for one message in every scope that limits it. Spent at the latest when it is dropped.
#[derive(Debug, Default)]
pub struct Permit {
    scopes: Vec<Arc<dyn Departures>>,
    cells: u32,
    spent: AtomicBool,
}

impl Permit {
    /// For a message that is charged `cells` in each scope.
    pub fn new(scopes: Vec<Arc<dyn Departures>>, cells: u32) -> Self {
        Permit { scopes, cells, spent: AtomicBool::new(false) }
    }

    /// The message's first byte is with the socket. Later calls change nothing.
    pub fn spend(&self) {
        if self.spent.swap(true, Ordering::AcqRel) {
            return;
        }
        for scope in &self.scopes {
            scope.depart(self.cells);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.spend();
    }
}
