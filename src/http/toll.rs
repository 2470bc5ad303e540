//! A rate for each address, in bounded memory.
//!
//! Told the time by its caller. Never waits, and never takes back what it granted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::network_of;
use crate::model::rate::Rate;

/// Addresses that are told apart at a time. Further ones share one rate until others are forgotten.
const ADDRESSES: usize = 16_384;
const SHARED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Looking for what can be forgotten costs, so it is done no more often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// What an address may use at once, in seconds of its rate.
const BURST_SECONDS: f64 = 5.0;

/// By the generic cell rate algorithm: an address that was quiet has five seconds' worth of its rate at once.
#[derive(Debug)]
pub struct Toll {
    /// Between two charges at the rate.
    interval: Duration,
    /// How far ahead of its rate an address may be.
    tolerance: Duration,
    accounts: Mutex<Accounts>,
}

#[derive(Debug)]
struct Accounts {
    /// When each address would be back at its rate; whoever is back is as good as forgotten.
    due: HashMap<IpAddr, Instant>,
    swept: Option<Instant>,
}

impl Toll {
    pub fn new(rate: Rate) -> Self {
        let interval = rate.period.duration() / rate.count.max(1);
        // One may always go: it is then ahead by its own interval.
        let tolerance = Duration::from_secs_f64(BURST_SECONDS).max(interval) - interval;
        let accounts = Mutex::new(Accounts { due: HashMap::new(), swept: None });
        Toll { interval, tolerance, accounts }
    }

    /// Charges `ip` for one, where it is not over its rate.
    ///
    /// # Errors
    /// How long until one is free again.
    pub fn charge(&self, ip: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let address = accounts.address(network_of(ip), now);
        let due = accounts.due.entry(address).or_insert(now);
        let ahead = due.saturating_duration_since(now);
        if ahead > self.tolerance {
            return Err(ahead - self.tolerance);
        }
        *due = now + ahead + self.interval;
        Ok(())
    }

    /// How long until one is free for `ip`, where it is over its rate.
    pub fn wait(&self, ip: IpAddr, now: Instant) -> Option<Duration> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let due = accounts.due.get(&network_of(ip))?;
        due.saturating_duration_since(now).checked_sub(self.tolerance).filter(|wait| !wait.is_zero())
    }
}

impl Accounts {
    /// The address itself where there is room for it.
    fn address(&mut self, address: IpAddr, now: Instant) -> IpAddr {
        if self.due.len() < ADDRESSES || self.due.contains_key(&address) {
            return address;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY) {
            self.swept = Some(now);
            self.due.retain(|_, due| *due > now);
        }
        if self.due.len() < ADDRESSES { address } else { SHARED }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn toll(rate: &str) -> Toll {
        Toll::new(rate.parse().unwrap())
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn five_seconds_worth_at_once_and_then_the_rate() {
        let (toll, now) = (toll("10/s"), Instant::now());
        let granted = (0..100).filter(|_| toll.charge(v4(1), now).is_ok()).count();
        assert_eq!(granted, 50);
        assert_eq!(toll.charge(v4(1), now), Err(Duration::from_millis(100)));
        assert_eq!(toll.wait(v4(1), now), Some(Duration::from_millis(100)));
        let later = now + Duration::from_millis(100);
        assert_eq!((toll.wait(v4(1), later), toll.charge(v4(1), later)), (None, Ok(())));
        assert!(toll.charge(v4(1), later).is_err());
        assert_eq!(toll.charge(v4(2), later), Ok(()), "others have their own");
    }

    #[test]
    fn a_slow_rate_lets_one_go() {
        let (toll, now) = (toll("1/h"), Instant::now());
        assert_eq!(toll.charge(v4(1), now), Ok(()));
        assert_eq!(toll.charge(v4(1), now), Err(Duration::from_secs(3_600)));
    }

    #[test]
    fn neighbours_of_ipv6_share() {
        let (toll, now) = (toll("1/m"), Instant::now());
        assert_eq!(toll.charge("2001:db8::1".parse().unwrap(), now), Ok(()));
        assert!(toll.charge("2001:db8::2".parse().unwrap(), now).is_err());
        assert_eq!(toll.charge("2001:db8:0:1::1".parse().unwrap(), now), Ok(()));
    }

    #[test]
    fn addresses_are_bounded_and_room_comes_back() {
        let (toll, now) = (toll("1/s"), Instant::now());
        let many = u32::try_from(ADDRESSES).unwrap() * 2;
        let granted = (1..=many).filter(|n| toll.charge(v4(*n), now).is_ok()).count();
        assert_eq!(granted, ADDRESSES + 5, "those without room share one rate");
        assert_eq!(toll.accounts.lock().unwrap().due.len(), ADDRESSES + 1);
        let later = now + Duration::from_secs(10);
        assert_eq!(toll.charge(v4(many), later), Ok(()));
        assert_eq!(toll.accounts.lock().unwrap().due.len(), 1);
    }

    proptest! {
        #[test]
        fn no_span_holds_more_than_its_rate_and_the_burst(pauses in prop::collection::vec(0_u64..400, 1..300)) {
            let (toll, mut now) = (toll("10/s"), Instant::now());
            let mut granted: Vec<Instant> = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                if toll.charge(v4(1), now).is_ok() {
                    granted.push(now);
                }
            }
            for (first, from) in granted.iter().enumerate() {
                for (count, to) in granted.iter().skip(first).enumerate() {
                    let span = to.duration_since(*from).as_secs_f64();
                    prop_assert!((count + 1) as f64 <= 10.0 * span + 50.0 + 1e-6);
                }
            }
        }
    }
}
