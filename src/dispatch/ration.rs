//! One rate that several daemons share, as far as it is ours: slices of its line.
//!
//! A shared rate is a line of time in the store on which every cell has a place, one cell's time after the other. Whoever
//! needs some takes the next slice of the line, so that no place is ever given twice. A cell leaves at its place or later
//! by at most the burst less one: then any t seconds hold at most rate × t + burst, over all who share, whoever they are.
//! What is not used by then is lost to everyone. The line is the store's clock; ours knows it as well as the request was
//! quick, and every doubt is taken against us. Pure: the time is an argument, in nanoseconds of our own clock.

use std::collections::VecDeque;

use crate::store::rates::{AHEAD, Offer};

/// Two clocks part by less than a thousandth: quartz drifts and slewing both stay below.
const DRIFT: i64 = 1_000;
/// A slice takes about so long, and is asked for no more often than that.
const SLICE: i64 = 150_000_000;
const BETWEEN: i64 = 100_000_000;
/// From a cell's place to the socket it takes so long, at times: a burst that allows less gets it as spare line.
const SPARE: i64 = 30_000_000;
/// Slices with spare line are longer, so that it is a small part of them.
const SPARE_SLICE: i64 = 1_000_000_000;
const LONGEST_SPARE: i64 = 2_000_000_000;
/// A rest of the line that is worth giving back.
const WORTH: i64 = 1_000_000_000;
/// For what is not in hand: look again when there is news.
const LATER: i64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Ration {
    /// Time of one cell.
    cell: i64,
    /// How long after its place a cell may leave.
    tolerance: i64,
    /// In the line's order.
    slices: VecDeque<Slice>,
    /// The best that is known of the store's clock.
    reading: Option<Reading>,
    /// Cells that left without a place: the next ones' go to them.
    debt: u32,
    /// Cells that left since it was asked last: as many will follow.
    spent: u32,
    /// Not asked again before.
    ask_at: i64,
}

/// A slice of the line, in nanoseconds of the store's clock.
#[derive(Debug, Clone, Copy)]
struct Slice {
    /// The place of its next cell.
    next: i64,
    end: i64,
}

/// What requests told about the store's clock: ours was between `low` and `high` ahead of it.
#[derive(Debug, Clone, Copy)]
struct Reading {
    low: i64,
    high: i64,
    at: i64,
}

/// What one slice lets leave at a moment.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// The first place that has not passed yet, and the last that has come, by the store's clock.
    first: i64,
    now: i64,
    end: i64,
}

/// A stretch at the end of the line that nobody will use: `from`, if the line still ends at `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) from: i64,
    pub(super) end: i64,
}

impl Ration {
    pub(super) fn new(cell: i64, burst: u32) -> Self {
        let tolerance = cell.saturating_mul(i64::from(burst) - 1);
        Ration {
            cell,
            tolerance,
            slices: VecDeque::new(),
            reading: None,
            debt: 0,
            spent: 0,
            ask_at: i64::MIN,
        }
    }

    /// How far behind the store's clock a slice may begin: its first places must still be good when the answer is here
    /// and their message at the socket, or one that waits alone on an idle line would never leave.
    pub(super) fn behind(&self) -> i64 {
        (self.tolerance - SPARE).min(self.tolerance / 2).max(0)
    }

    /// Whether nothing of the line is in hand.
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Cells that may leave now.
    pub(super) fn left(&self, now: i64) -> u32 {
        let left = self.slices.iter().map(|slice| self.reach(slice, now).come(self.cell)).sum();
        count(left)
    }

    /// Cells in hand that may leave within `time`.
    pub(super) fn soon(&self, now: i64, time: i64) -> u32 {
        let reach = |slice| Reach { now: self.reach(slice, now).now + time, ..self.reach(slice, now) };
        count(self.slices.iter().map(|slice| reach(slice).come(self.cell)).sum())
    }

    /// Cells in hand, those whose place is still to come included.
    fn held(&self, now: i64) -> u32 {
        let held: i64 = self.slices.iter().map(|slice| self.reach(slice, now).all(self.cell)).sum();
        count(held - i64::from(self.debt))
    }

    /// How many places can have come at once: the burst, as far as the clocks can tell. A message of more cells goes
    /// when these are there, and takes the others before their time.
    pub(super) fn full(&self, now: i64) -> u32 {
        let doubt = self.reading.map_or(0, |reading| reading.doubt(now));
        count((self.tolerance - doubt).max(0) / self.cell + 1)
    }

    /// How long until `cells` may leave, out of those in hand.
    pub(super) fn wait(&self, now: i64, cells: u32) -> i64 {
        let mut missing = i64::from(cells);
        for slice in &self.slices {
            let reach = self.reach(slice, now);
            let all = reach.all(self.cell);
            if missing <= all {
                return (reach.first + (missing - 1) * self.cell - reach.now).max(0);
            }
            missing -= all;
        }
        LATER
    }

    /// Cells leave: they take the oldest places that are still good, and what finds none is owed.
    pub(super) fn spend(&mut self, now: i64, cells: u32) {
        self.spent = self.spent.saturating_add(cells);
        self.debt = self.debt.saturating_add(self.take(now, cells));
    }

    /// Takes places; returns how many cells got none.
    fn take(&mut self, now: i64, cells: u32) -> u32 {
        let mut missing = i64::from(cells);
        for at in 0..self.slices.len() {
            let reach = self.reach(&self.slices[at], now);
            let taken = missing.min(reach.all(self.cell));
            if taken > 0 {
                self.slices[at].next = reach.first + taken * self.cell;
                missing -= taken;
            }
        }
        count(missing)
    }

    /// Cells that were meant to leave and do not.
    pub(super) fn lose(&mut self, now: i64, cells: u32) {
        self.take(now, cells.min(self.left(now)));
    }

    /// How much more of the line is needed for `cells`, in whole microseconds; `None` while nothing is, or it is too soon
    /// to ask.
    pub(super) fn wish(&mut self, now: i64, cells: u32) -> Option<i64> {
        if self.asks_in(now, cells)? > 0 {
            return None;
        }
        let missing = cells.saturating_add(std::mem::take(&mut self.spent)).saturating_sub(self.held(now));
        self.ask_at = now + BETWEEN;
        let spare = self.spare();
        let slice = if spare > 0 { SPARE_SLICE } else { SLICE };
        let most = (slice / self.cell).max(1);
        let length = self.cell.saturating_mul(most.min(missing.into())).saturating_add(spare);
        Some((length / 1_000 + 1) * 1_000)
    }

    /// How long until more may be asked for, where `cells` need it.
    pub(super) fn asks_in(&self, now: i64, cells: u32) -> Option<i64> {
        (cells > self.held(now)).then(|| self.ask_at.saturating_sub(now).max(0))
    }

    fn spare(&self) -> i64 {
        if self.tolerance >= SPARE {
            0
        } else {
            (self.cell / 20).clamp(SPARE - self.tolerance, LONGEST_SPARE)
        }
    }

    /// The store's answer to a wish for `length` that was asked at `asked`.
    pub(super) fn receive(&mut self, offer: Offer, length: i64, asked: i64, now: i64) {
        let (store, from) = (offer.now.saturating_mul(1_000), offer.from.saturating_mul(1_000));
        self.read(Reading { low: asked - store, high: now - store, at: now });
        if !offer.taken {
            let free = asked + (from - store) - nanos(AHEAD);
            self.ask_at = self.ask_at.max(free);
            return;
        }
        let end = from.saturating_add(length);
        match self.slices.back_mut() {
            Some(last) if last.end == from => last.end = end,
            _ => self.slices.push_back(Slice { next: from, end }),
        }
        self.debt = self.take(now, self.debt);
    }

    /// Both what was known and what is new are true, unless the store's clock was set or is another's now.
    fn read(&mut self, new: Reading) {
        let known = self.reading.map_or(new, |known| {
            let (low, high) = known.bounds(new.at);
            Reading { low: new.low.max(low), high: new.high.min(high), at: new.at }
        });
        self.reading = Some(if known.low <= known.high { known } else { new });
    }

    /// Drops slices that are used up or whose time has passed; the next one may continue the last. Returns the rest of the
    /// last instead, where that is worth giving back.
    pub(super) fn forget(&mut self, now: i64) -> Option<Rest> {
        // The store's clock shows this at the latest.
        let latest = now.saturating_sub(self.reading?.bounds(now).0);
        while let Some(slice) = self.slices.front().copied() {
            if self.reach(&slice, now).all(self.cell) > 0 {
                return None;
            }
            let (is_last, from) = (self.slices.len() == 1, slice.next.max(latest));
            if is_last && from < slice.end && slice.end - from < WORTH {
                return None;
            }
            self.slices.pop_front();
            if is_last && slice.end - from >= WORTH {
                return Some(Rest { from, end: slice.end });
            }
        }
        None
    }

    fn reach(&self, slice: &Slice, now: i64) -> Reach {
        let Some(reading) = self.reading else { return Reach { first: 0, now: 0, end: 0 } };
        let (low, high) = reading.bounds(now);
        let late = (self.tolerance - (high - low)).max(0);
        let cut = (high - low - self.tolerance).max(0);
        let now = now - high;
        Reach { first: slice.next.max(now - late), now, end: slice.end - cut }
    }
}

impl Reading {
    /// How far our clock is ahead of the store's, at least and at most.
    fn bounds(&self, now: i64) -> (i64, i64) {
        let drift = (now - self.at) / DRIFT;
        (self.low - drift, self.high + drift)
    }

    fn doubt(&self, now: i64) -> i64 {
        let (low, high) = self.bounds(now);
        high - low
    }
}

impl Reach {
    /// Cells whose place has come.
    fn come(self, cell: i64) -> i64 {
        if self.first > self.now { 0 } else { self.all(cell).min((self.now - self.first) / cell + 1) }
    }

    /// Cells that may leave, now or later.
    fn all(self, cell: i64) -> i64 {
        (self.end - self.first).max(0) / cell
    }
}

fn count(cells: i64) -> u32 {
    u32::try_from(cells.max(0)).unwrap_or(u32::MAX)
}

pub(super) fn nanos(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
