//! How many distinct members of a group were seen lately: the one piece of state behind the machine rules.
//!
//! Bounded: it remembers a fixed number of touches and forgets the oldest first, also before their time.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

/// A sliding window over touches of (group, member).
#[derive(Debug)]
pub(super) struct Window<G, M> {
    span: SignedDuration,
    capacity: usize,
    /// In order of arrival; one that was followed by a later touch of the same pair is stale.
    touches: VecDeque<(Timestamp, G, M)>,
    latest: HashMap<(G, M), Timestamp>,
    members: HashMap<G, usize>,
}

impl<G: Copy + Eq + Hash, M: Copy + Eq + Hash> Window<G, M> {
    /// `capacity`: touches remembered at most, at least 1.
    pub(super) fn new(span: SignedDuration, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { span, capacity, touches: VecDeque::new(), latest: HashMap::new(), members: HashMap::new() }
    }

    /// Notes that `member` was seen in `group`; answers how many distinct members the group now has within the span.
    /// Time should not run backwards much: a touch is forgotten only after those that arrived before it.
    pub(super) fn touch(&mut self, at: Timestamp, group: G, member: M) -> usize {
        while self.touches.front().is_some_and(|&(seen, ..)| at.duration_since(seen) > self.span) {
            self.forget_oldest();
        }
        if self.touches.len() == self.capacity {
            self.forget_oldest();
        }
        self.touches.push_back((at, group, member));
        let members = self.members.entry(group).or_insert(0);
        if self.latest.insert((group, member), at).is_none() {
            *members += 1;
        }
        *members
    }

    fn forget_oldest(&mut self) {
        let Some((seen, group, member)) = self.touches.pop_front() else { return };
        if self.latest.get(&(group, member)) != Some(&seen) {
            return;
        }
        self.latest.remove(&(group, member));
        if let Some(members) = self.members.get_mut(&group) {
            *members -= 1;
            if *members == 0 {
                self.members.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    #[test]
    fn stays_within_its_capacity() {
        let mut window = Window::new(SignedDuration::from_secs(60), 100);
        for n in 0..10_000_i64 {
            window.touch(second(n / 1000), n % 7, n);
        }
        assert_eq!(window.touches.len(), 100);
        assert_eq!(window.latest.len(), 100);
        assert_eq!(window.members.values().sum::<usize>(), 100);
    }

    proptest! {
        #[test]
        fn counts_as_one_who_remembers_everything(
            touches in prop::collection::vec((0_i64..4, 0_u8..3, 0_u8..5), 1..200),
            span in 0_i64..8,
        ) {
            let mut window = Window::new(SignedDuration::from_secs(span), 1000);
            let mut all = Vec::new();
            let mut now = 0;
            for (pause, group, member) in touches {
                now += pause;
                all.push((now, group, member));
                let expected: HashSet<u8> = all
                    .iter()
                    .filter(|&&(at, g, _)| g == group && now - at <= span)
                    .map(|&(.., m)| m)
                    .collect();
                prop_assert_eq!(window.touch(second(now), group, member), expected.len());
            }
        }

        #[test]
        fn forgets_what_it_counted(
            touches in prop::collection::vec((-3_i64..4, 0_u8..3, 0_u8..5), 1..200),
            capacity in 1_usize..20,
        ) {
            let mut window = Window::new(SignedDuration::from_secs(3), capacity);
            let mut now = 0;
            for (step, group, member) in touches {
                now += step;
                window.touch(second(now), group, member);
                prop_assert!(window.touches.len() <= capacity);
                prop_assert_eq!(window.members.values().sum::<usize>(), window.latest.len());
                prop_assert!(window.latest.len() <= window.touches.len());
            }
        }
    }
}
