//! The time that a simulator lives in: the system's, or one that a test sets, so that a captured request is fresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// Clones share their time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<AtomicI64>);

const SYSTEM: i64 = i64::MIN;

impl Clock {
    pub fn system() -> Self {
        Clock(Arc::new(AtomicI64::new(SYSTEM)))
    }

    /// Stands still at so many seconds since 1970.
    pub fn pinned(seconds: i64) -> Self {
        Clock(Arc::new(AtomicI64::new(seconds)))
    }

    pub fn pin(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    /// Seconds since 1970.
    pub fn seconds(&self) -> i64 {
        match self.0.load(Ordering::Relaxed) {
            SYSTEM => Timestamp::now().as_second(),
            pinned => pinned,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::system()
    }
}

/// Seconds since 1970 as the clock on a wall in Beijing shows them (`2026-11-21 08:00:00`): what providers there write.
pub fn beijing(seconds: i64, format: &str) -> String {
    shown(seconds, Offset::constant(8), format)
}

/// The same in UTC.
pub fn utc(seconds: i64, format: &str) -> String {
    shown(seconds, Offset::UTC, format)
}

fn shown(seconds: i64, offset: Offset, format: &str) -> String {
    let instant = Timestamp::from_second(seconds).unwrap_or_default();
    instant.to_zoned(TimeZone::fixed(offset)).strftime(format).to_string()
}
