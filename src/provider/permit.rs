//! Permits of the rate limits, from the moment when they are given until their message leaves.
//!
//! Tells when a message left; who may leave when is the dispatcher's.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A message that may not leave for so long is handed back.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A scope whose rate counts messages as they leave.
pub trait Departures: Debug + Send + Sync {
    /// A message that is charged `cells` leaves now.
    fn depart(&self, cells: u32);

    /// A message that was given its permit does not leave; its cells are gone all the same.
    fn stay(&self, cells: u32) {
        self.depart(cells);
    }

    /// How long until messages of `cells` that have their permits may leave: nothing, unless they were held up for longer
    /// than their permits are good for.
    fn wait(&self, _cells: u32) -> Duration {
        Duration::ZERO
    }
}

/// Permission for one message in every scope that limits it. Gone at the latest when it is dropped.
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

    /// What each scope is charged.
    pub fn cells(&self) -> u32 {
        self.cells
    }

    /// Whether the message may leave at this moment. Where others share a rate, a permit that was not used for long is
    /// good for nothing until there is room again.
    pub fn is_good(&self) -> bool {
        self.wait(self.cells).is_zero()
    }

    /// Waits until the message may leave together with others of the same scopes, `cells` in all; `false` where it may
    /// not for long.
    pub async fn good_for(&self, cells: u32) -> bool {
        let began = Instant::now();
        loop {
            match self.wait(cells) {
                Duration::ZERO => return true,
                _ if began.elapsed() > LONGEST_WAIT => return false,
                wait => sleep(wait.min(LOOK)).await,
            }
        }
    }

    fn wait(&self, cells: u32) -> Duration {
        self.scopes.iter().map(|scope| scope.wait(cells)).max().unwrap_or_default()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.spent.swap(true, Ordering::AcqRel) {
            for scope in &self.scopes {
                scope.stay(self.cells);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Lets messages leave at an instant, and counts what became of their cells.
    #[derive(Debug)]
    struct Gate {
        opens: Instant,
        left: Mutex<(u32, u32)>,
    }

    impl Departures for Gate {
        fn depart(&self, cells: u32) {
            self.left.lock().unwrap().0 += cells;
        }

        fn stay(&self, cells: u32) {
            self.left.lock().unwrap().1 += cells;
        }

        fn wait(&self, _cells: u32) -> Duration {
            self.opens.saturating_duration_since(Instant::now())
        }
    }

    fn gate(wait: Duration) -> Arc<Gate> {
        Arc::new(Gate { opens: Instant::now() + wait, left: Mutex::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_held_up_waits_for_another_place_but_not_for_long() {
        let began = Instant::now();
        let soon = Permit::new(vec![gate(Duration::ZERO), gate(Duration::from_millis(300))], 1);
        assert!(!soon.is_good());
        assert!(soon.good_for(1).await && soon.is_good());
        assert!(began.elapsed() >= Duration::from_millis(300));
        let never = Permit::new(vec![gate(Duration::from_secs(60))], 1);
        assert!(!never.good_for(1).await);
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn it_is_spent_once_or_its_message_stays() {
        let scope = gate(Duration::ZERO);
        let permit = || Permit::new(vec![scope.clone()], 2);
        let left = permit();
        left.spend();
        left.spend();
        drop(left);
        drop(permit());
        assert_eq!(*scope.left.lock().unwrap(), (2, 2));
    }
}
