//! What the desk asks of the rates that other daemons share: as much as waits and could soon leave, and never more.

use std::time::Duration;

use tokio::time::Instant;

use super::{Counter, Desk, SWEEP};
use crate::dispatch::supply::Order;
use crate::model::{CampaignNo, Lane};

/// An account whose workers have not asked for so long has no session that could use what is shared in time.
const COLD: Duration = Duration::from_secs(1);

impl Counter {
    fn is_cold(&self) -> bool {
        self.workers.is_empty() && self.asked.is_none_or(|asked: Instant| asked.elapsed() > COLD)
    }
}

impl Desk {
    /// Asks for what waits in the rates that others share, the narrowest scope first: what that does not let through soon
    /// is not asked of the next. Returns how long until more may be asked for.
    pub(super) fn ask(&mut self) -> Duration {
        if !self.supply.is_shared() || self.supply.is_waiting() {
            return SWEEP;
        }
        let mut order = Order::new();
        let mut carried = vec![0_u32; self.accounts.len()];
        let mut all = 0_u32;
        for (campaign, limiter) in &self.campaigns {
            let (cells, carriers) = self.waiting(*campaign);
            let soon = order.add(limiter, cells);
            all = all.saturating_add(soon);
            for (carried, waiting) in carried.iter_mut().zip(carriers) {
                *carried = carried.saturating_add(soon.min(waiting));
            }
        }
        let soon = order.add(&self.channel, all);
        for (counter, carried) in self.accounts.iter().zip(carried) {
            order.add(&counter.limiter, carried.min(soon));
        }
        self.supply.send(order).unwrap_or(SWEEP)
    }

    /// About how many cells of a campaign wait for accounts that could send them, and for each of these. An account
    /// without a session gets one first: a place in a slow rate would pass while it is dialled.
    fn waiting(&self, campaign: CampaignNo) -> (u32, Vec<u32>) {
        let (mut all, mut each) = (0_u32, vec![0_u32; self.accounts.len()]);
        for queue in Lane::ALL.iter().filter_map(|lane| self.queues.get(&(campaign, *lane))) {
            let Some(first) = queue.front() else { continue };
            let cells = u32::try_from(queue.len()).unwrap_or(u32::MAX).saturating_mul(first.cells);
            let mut ready = false;
            for (counter, waiting) in self.accounts.iter().zip(&mut each) {
                if counter.carries(first) && counter.is_cold() {
                    counter.hungry.notify_one();
                } else if counter.carries(first) {
                    *waiting = waiting.saturating_add(cells);
                    ready = true;
                }
            }
            if ready {
                all = all.saturating_add(cells);
            }
        }
        (all, each)
    }
}
