//! The deliveries that an account took lately, so that one that comes again is not a second message.

use std::collections::{HashSet, VecDeque};

use crate::model::DeliveryKey;

/// Deliveries remembered, at most; some 8 MB when full.
const MAX_REMEMBERED: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Taken {
    known: HashSet<DeliveryKey>,
    /// The same, oldest first.
    order: VecDeque<DeliveryKey>,
}

impl Taken {
    pub(super) fn contains(&self, key: DeliveryKey) -> bool {
        self.known.contains(&key)
    }

    /// Remembers `key`, which is new, and forgets the oldest where there are too many.
    pub(super) fn insert(&mut self, key: DeliveryKey) {
        self.known.insert(key);
        self.order.push_back(key);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CampaignNo, ContactNo};

    #[test]
    fn remembers_the_last_and_no_more() {
        let key =
            |contact| DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(contact), occurrence: 0 };
        let mut taken = Taken::default();
        let many = i64::try_from(MAX_REMEMBERED).unwrap();
        (0..=many).for_each(|contact| taken.insert(key(contact)));
        assert!(!taken.contains(key(0)) && taken.contains(key(1)) && taken.contains(key(many)));
        assert_eq!((taken.known.len(), taken.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }
}
