//! A rate as its provider sees it: any t seconds hold at most rate × t + burst.

use tokio::time::Instant;

/// Fills by one a message, empties at the rate, and must never be fuller than the burst.
#[derive(Debug)]
pub(super) struct Meter {
    per_second: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

/// Rounding of a cell's time to nanoseconds.
const SLACK: f64 = 1e-6;

impl Meter {
    pub(super) fn new(per_second: f64, burst: u32) -> Self {
        Meter { per_second, burst: burst.into(), level: 0.0, at: Instant::now() }
    }

    /// Counts a message that leaves now; whether it may.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let emptied = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.level = (self.level - emptied).max(0.0) + 1.0;
        self.at = now;
        self.level <= self.burst + SLACK
    }
}
