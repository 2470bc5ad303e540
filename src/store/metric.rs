//! What a counter counts. The numbers are in both stores and never change.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::reports::{Counts, HourCount};
use super::{Result, decode};
use crate::model::{Reason, State};

pub(super) const METRIC_STATE: i16 = 1;
pub(super) const METRIC_SENT: i16 = 2;
pub(super) const METRIC_OPENS: i16 = 3;
pub(super) const METRIC_UNIQUE_OPENS: i16 = 4;
pub(super) const METRIC_MACHINE_OPENS: i16 = 5;
pub(super) const METRIC_CLICKS: i16 = 6;
pub(super) const METRIC_UNIQUE_CLICKS: i16 = 7;
pub(super) const METRIC_MACHINE_CLICKS: i16 = 8;
pub(super) const METRIC_UNSUBSCRIBES: i16 = 9;
pub(super) const METRIC_COMPLAINTS: i16 = 10;
pub(super) const METRIC_LINK_CLICKS: i16 = 11;
pub(super) const METRIC_UNIQUE_LINK_CLICKS: i16 = 12;
pub(super) const METRIC_SEGMENTS: i16 = 13;

/// Where a counter is of no link.
pub(super) const NO_LINK: i16 = -1;

/// Counters of one campaign, as a report puts them together.
#[derive(Default)]
pub(super) struct Sums {
    counts: Counts,
    series: BTreeMap<Timestamp, HourCount>,
}

impl Sums {
    /// Adds a counter that is of no link; `state` and `reason` by their codes.
    pub(super) fn add(
        &mut self,
        metric: i16,
        (state, reason): (i16, i16),
        hour: Timestamp,
        n: i64,
    ) -> Result<()> {
        let counts = &mut self.counts;
        match metric {
            METRIC_STATE => {
                let state = decode(state, State::from_code)?;
                let reason = (reason != 0).then(|| decode(reason, Reason::from_code)).transpose()?;
                if state.is_sent() {
                    counts.sent += n;
                }
                counts.states.push((state, reason, n));
            }
            METRIC_SENT => self.hour(hour).sent += n,
            METRIC_OPENS => {
                counts.opens.total += n;
                self.hour(hour).opens += n;
            }
            METRIC_CLICKS => {
                counts.clicks.total += n;
                self.hour(hour).clicks += n;
            }
            METRIC_UNIQUE_OPENS => counts.opens.unique += n,
            METRIC_MACHINE_OPENS => counts.opens.machine += n,
            METRIC_UNIQUE_CLICKS => counts.clicks.unique += n,
            METRIC_MACHINE_CLICKS => counts.clicks.machine += n,
            METRIC_UNSUBSCRIBES => counts.unsubscribes += n,
            METRIC_COMPLAINTS => counts.complaints += n,
            METRIC_SEGMENTS => counts.segments += n,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Counts {
        Counts { series: self.series.into_values().collect(), ..self.counts }
    }

    fn hour(&mut self, hour: Timestamp) -> &mut HourCount {
        self.series.entry(hour).or_insert(HourCount { hour, sent: 0, opens: 0, clicks: 0 })
    }
}
