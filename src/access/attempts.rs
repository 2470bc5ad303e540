//! How many wrong tokens a peer may show. A token cannot be guessed; this keeps someone who tries from filling the log and
//! the processor. Holds a bounded number of peers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::http::network_of;

/// Wrong tokens of one peer in one window; then none of its tokens is looked at until the window ends.
pub(super) const MOST: u32 = 20;
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Peers that are remembered at a time; further ones push out the oldest.
const PEERS: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<IpAddr, Window>>);

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    wrong: u32,
}

impl Window {
    fn left(&self, now: Instant) -> Option<Duration> {
        WINDOW.checked_sub(now.duration_since(self.began)).filter(|left| !left.is_zero())
    }
}

impl Attempts {
    /// How long the peer's tokens are not looked at.
    pub(super) fn locked(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get(&network_of(peer)).filter(|window| window.wrong >= MOST)?.left(now)
    }

    /// Counts a wrong token. Returns whether this one locked the peer out.
    pub(super) fn wrong(&self, peer: IpAddr, now: Instant) -> bool {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = network_of(peer);
        if peers.len() >= PEERS && !peers.contains_key(&peer) {
            make_room(&mut peers, now);
        }
        let fresh = Window { began: now, wrong: 0 };
        let window = peers.entry(peer).or_insert(fresh);
        if window.left(now).is_none() {
            *window = fresh;
        }
        window.wrong += 1;
        window.wrong == MOST
    }
}

fn make_room(peers: &mut HashMap<IpAddr, Window>, now: Instant) {
    peers.retain(|_, window| window.left(now).is_some());
    if peers.len() >= PEERS
        && let Some(oldest) = peers.iter().min_by_key(|(_, window)| window.began).map(|(peer, _)| *peer)
    {
        peers.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn the_twentieth_wrong_token_locks_for_the_rest_of_the_minute() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let locked: Vec<bool> = (0..MOST).map(|_| attempts.wrong(v4(1), now)).collect();
        assert_eq!((locked.iter().filter(|locked| **locked).count(), locked.last()), (1, Some(&true)));
        assert_eq!(attempts.locked(v4(1), now + WINDOW / 2), Some(WINDOW / 2));
        assert_eq!(attempts.locked(v4(2), now), None);
        assert_eq!(attempts.locked(v4(1), now + WINDOW), None);
        assert!(!attempts.wrong(v4(1), now + WINDOW), "a new window counts from one");
        assert_eq!(attempts.locked(v4(1), now + WINDOW), None);
    }

    #[test]
    fn neighbours_of_ipv6_are_one_peer() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let peer = |text: &str| text.parse::<IpAddr>().unwrap();
        for n in 0..MOST {
            attempts.wrong(peer(&format!("2001:db8::{n}")), now);
        }
        assert!(attempts.locked(peer("2001:db8::ffff"), now).is_some());
        assert!(attempts.locked(peer("2001:db8:0:1::1"), now).is_none());
    }

    #[test]
    fn the_number_of_peers_is_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..10_000 {
            attempts.wrong(v4(n), now + Duration::from_millis(u64::from(n)));
        }
        let peers = attempts.0.lock().unwrap();
        assert_eq!(
            (peers.len(), peers.contains_key(&v4(9_999)), peers.contains_key(&v4(0))),
            (PEERS, true, false)
        );
    }
}
