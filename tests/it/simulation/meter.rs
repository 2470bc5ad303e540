//! A rate as its provider sees it: any t seconds hold at most rate × t + burst.

use campaignd::dispatch::Limit;
use tokio::time::Instant;

/// Fills by the cells of a message, empties at the rate, and must never be fuller than the burst.
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
    /// A meter for each rate of the limit, on which the whole burst may leave at once.
    pub(super) fn full(limit: &Limit) -> Vec<Meter> {
        let meter = |rate: &campaignd::model::Rate| {
            let burst = limit.burst.map_or_else(|| rate.default_burst(), std::num::NonZeroU32::get);
            Meter { per_second: rate.per_second(), burst: burst.into(), level: 0.0, at: Instant::now() }
        };
        limit.rates.0.iter().map(meter).collect()
    }

    /// As [`Meter::full`], with the burst already gone.
    pub(super) fn drained(limit: &Limit) -> Vec<Meter> {
        let mut meters = Meter::full(limit);
        meters.iter_mut().for_each(|meter| meter.level = meter.burst);
        meters
    }

    pub(super) fn forget_debt(&mut self) {
        self.empty(Instant::now());
        self.level = self.level.min(self.burst);
    }

    /// Counts a message of `cells` that leaves now; whether it may. One of more cells than the burst goes where nothing
    /// else counts, and what follows waits for its debt.
    pub(super) fn admits(&mut self, cells: u32, now: Instant) -> bool {
        self.empty(now);
        self.level += f64::from(cells);
        self.level <= self.burst.max(cells.into()) + SLACK
    }

    fn empty(&mut self, now: Instant) {
        let emptied = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.level = (self.level - emptied).max(0.0);
        self.at = now;
    }
}
