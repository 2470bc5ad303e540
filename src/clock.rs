//! Time as a parameter: the wall clock that rows and messages are stamped with, and the monotonic one that limits run on.
//!
//! Production takes the system's. A simulation gives a wall clock of its own and pauses tokio's, which [`Monotonic`]
//! follows like every timer of ours. Never compares the clocks of two machines.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells what time it is. Clones tell the same.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    pub fn system() -> Self {
        Clock::new(Timestamp::now)
    }

    /// A clock that shows what `now` returns; it is asked from any thread.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Clock(Arc::new(now))
    }

    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// How long it has been since this was made, by tokio's clock. Clones share their beginning.
#[derive(Debug, Clone)]
pub struct Monotonic(Instant);

impl Monotonic {
    pub fn start() -> Self {
        Monotonic(Instant::now())
    }
}

impl governor::clock::Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::Clock as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn limits_follow_the_timers_of_the_runtime() {
        let clock = Monotonic::start();
        let same = clock.clone();
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!((clock.now(), same.now()), (Duration::from_secs(3_600), Duration::from_secs(3_600)));
    }

    #[test]
    fn a_clock_shows_what_it_is_given() {
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
        assert_eq!(clock.clone().now(), Timestamp::UNIX_EPOCH);
        assert!(Clock::system().now() > Timestamp::UNIX_EPOCH);
    }
}
