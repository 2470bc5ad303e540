//! The desk's way to rates that other daemons share: it asks the store for slices ahead of need, and waits for none.
//!
//! One request at a time for all that is needed. While the store is away nothing comes, and nothing more leaves.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;

use super::Limit;
use super::limit::{Limiter, Scope, Share};
use super::ration::{Rest, nanos};
use crate::clock::Monotonic;
use crate::store::rates::{Offer, Wish};
use crate::store::{Error, Store};

/// What may leave within this time is worth having in hand.
const HORIZON: Duration = Duration::from_millis(450);

/// What the desk is going to need, scope by scope.
#[derive(Debug)]
pub(super) struct Order<C: Clock = Monotonic> {
    wishes: Vec<(Asked<C>, Wish)>,
    rests: Vec<(Arc<str>, Rest)>,
    /// How long until something that is needed may be asked for.
    next: Option<Duration>,
}

/// A wish under way.
#[derive(Debug)]
struct Asked<C: Clock> {
    scope: Arc<Scope<C>>,
    meter: usize,
    length: i64,
    at: i64,
}

type Answer = Pin<Box<dyn Future<Output = Result<Vec<Option<Offer>>, Error>> + Send>>;

pub(super) struct Supply {
    store: Arc<dyn Store>,
    under_way: Option<(Vec<Asked<Monotonic>>, Answer)>,
}

impl std::fmt::Debug for Supply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supply").field("asks", &self.under_way.is_some()).finish_non_exhaustive()
    }
}

impl Supply {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Supply { store, under_way: None }
    }

    /// The limiter of a scope with this name, shared where the store has other daemons.
    pub(super) fn limiter(&self, limit: &Limit, scope: &str) -> Limiter {
        Limiter::new(limit, self.is_shared().then_some(scope))
    }

    /// Whether there is anyone to share with.
    pub(super) fn is_shared(&self) -> bool {
        self.store.shared_rates().is_some()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.under_way.is_some()
    }

    /// Sends the order off. Returns how long until more may be asked for, unless an answer comes before.
    pub(super) fn send(&mut self, order: Order) -> Option<Duration> {
        if order.wishes.is_empty() && order.rests.is_empty() {
            return order.next;
        }
        let (asked, wishes): (Vec<_>, Vec<Wish>) = order.wishes.into_iter().unzip();
        let store = self.store.clone();
        let answer = async move {
            let Some(rates) = store.shared_rates() else { return Ok(Vec::new()) };
            for (line, rest) in order.rests {
                rates.give_back(&line, rest.from / 1_000 + 1, rest.end / 1_000).await?;
            }
            rates.take(&wishes).await
        };
        self.under_way = Some((asked, Box::pin(answer)));
        None
    }

    /// Resolves when an answer has come, and its slices are where they belong. May be dropped at any time.
    ///
    /// # Errors
    /// When the store refuses.
    pub(super) async fn answered(&mut self) -> Result<(), Error> {
        let Some((asked, answer)) = &mut self.under_way else { return pending().await };
        let offers = match answer.await {
            Err(error) if error.is_transient() => Vec::new(),
            offers => offers?,
        };
        for (asked, offer) in asked.iter().zip(offers) {
            if let Some(offer) = offer {
                asked.receive(offer);
            }
        }
        self.under_way = None;
        Ok(())
    }
}

impl<C: Clock> Asked<C> {
    fn receive(&self, offer: Offer) {
        if let Some(share) = &self.scope.meters[self.meter].share {
            share.ration().receive(offer, self.length, self.at, self.scope.time());
        }
    }
}

impl<C: Clock + Clone> Order<C> {
    pub(super) fn new() -> Self {
        Order { wishes: Vec::new(), rests: Vec::new(), next: None }
    }

    /// Notes what `limiter` needs for `cells` that wait. Returns how many of them it lets through soon.
    pub(super) fn add(&mut self, limiter: &Limiter<C>, cells: u32) -> u32 {
        let scope = limiter.scope();
        let reserved = scope.reserved();
        let mut cells = cells;
        for (number, meter) in scope.meters.iter().enumerate() {
            // What is on its way must find its place when it leaves.
            let needed = cells.saturating_add(reserved).min(scope.paced(meter, HORIZON));
            let soon = match &meter.share {
                Some(share) => self.order(scope, (number, share), needed),
                None => needed,
            };
            cells = cells.min(soon.saturating_sub(reserved));
        }
        cells
    }

    fn order(&mut self, scope: &Arc<Scope<C>>, (number, share): (usize, &Share), needed: u32) -> u32 {
        let (mut ration, now) = (share.ration(), scope.time());
        self.rests.extend(ration.forget(now).map(|rest| (share.line.clone(), rest)));
        if let Some(length) = ration.wish(now, needed) {
            let wish = Wish { line: share.line.clone(), length: time(length), behind: time(ration.behind()) };
            self.wishes.push((Asked { scope: scope.clone(), meter: number, length, at: now }, wish));
        } else if let Some(wait) = ration.asks_in(now, needed) {
            self.next = Some(self.next.map_or(time(wait), |next| next.min(time(wait))));
        }
        ration.soon(now, nanos(HORIZON))
    }
}

fn time(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.unsigned_abs())
}

#[cfg(test)]
mod tests;
