//! Keys of tracking tokens over their lives: which one signs, which may be retired, which number is free.
//!
//! Ages are told by the store's one clock, so that no two clocks are compared. Decides, and keeps nothing.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// A key signs once it is so old: by then every daemon has read it, and refuses no fresh token of another's.
pub const SIGNS_AFTER: SignedDuration = SignedDuration::from_mins(1);
/// Once a key is so old, every daemon has signed with it for long enough that nothing on its way has an older one's token.
const SUCCEEDS_AFTER: SignedDuration = SignedDuration::from_mins(2);

/// A key of tracking tokens, as the store knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct TrackingKey {
    /// Travels in each token.
    pub id: u8,
    /// `None` once the key is retired: nobody can sign with it again.
    pub secret: Option<[u8; 32]>,
    pub created_at: Timestamp,
    /// By the store's clock, at the reading.
    pub age: SignedDuration,
    pub retired_at: Option<Timestamp>,
}

impl fmt::Debug for TrackingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackingKey").field("id", &self.id).field("age", &self.age).finish_non_exhaustive()
    }
}

/// What a key is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Verifies, and signs once every daemon knows it.
    Waits,
    Signs,
    /// Signed once; what it signed goes on working.
    Verifies,
    Retired,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Waits => "waits",
            Stage::Signs => "signs",
            Stage::Verifies => "verifies",
            Stage::Retired => "retired",
        }
    }
}

/// What becomes of a wish to retire a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retirement {
    Done,
    /// No key has this number.
    Missing,
    /// It was retired before.
    Repeated,
    /// It signs, or is about to.
    Needed,
    /// A daemon may have signed with it a moment ago.
    TooEarly,
}

/// The key that signs: the newest that is old enough, or the oldest while none is.
pub fn signing(keys: &[TrackingKey]) -> Option<&TrackingKey> {
    let live = || keys.iter().filter(|key| key.secret.is_some());
    let known = live().filter(|key| key.age >= SIGNS_AFTER).min_by_key(|key| key.age);
    known.or_else(|| live().max_by_key(|key| key.age))
}

pub fn stage(key: &TrackingKey, keys: &[TrackingKey]) -> Stage {
    match signing(keys) {
        _ if key.secret.is_none() => Stage::Retired,
        Some(signing) if signing.id == key.id => Stage::Signs,
        Some(signing) if key.age < signing.age => Stage::Waits,
        _ => Stage::Verifies,
    }
}

/// Whether a key may be retired now.
pub fn retirement(id: u8, keys: &[TrackingKey]) -> Retirement {
    let Some(key) = keys.iter().find(|key| key.id == id) else { return Retirement::Missing };
    let succeeded = || keys.iter().any(|other| other.age < key.age && other.age >= SUCCEEDS_AFTER);
    match stage(key, keys) {
        Stage::Retired => Retirement::Repeated,
        Stage::Signs | Stage::Waits => Retirement::Needed,
        Stage::Verifies if succeeded() => Retirement::Done,
        Stage::Verifies => Retirement::TooEarly,
    }
}

/// The number of the next key: one that was never used, or else that of the key that was retired first. `None` where all
/// 256 keys live.
pub fn next_id(keys: &[TrackingKey]) -> Option<u8> {
    let unused = match keys.iter().map(|key| key.id).max() {
        Some(last) => last.checked_add(1),
        None => Some(0),
    };
    let retired = || keys.iter().filter_map(|key| Some((key.retired_at?, key.id))).min();
    unused.or_else(|| retired().map(|(_, id)| id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(id: u8, age: i64, live: bool) -> TrackingKey {
        let created_at = Timestamp::UNIX_EPOCH - SignedDuration::from_secs(age);
        TrackingKey {
            id,
            secret: live.then_some([id; 32]),
            created_at,
            age: SignedDuration::from_secs(age),
            retired_at: (!live).then_some(created_at),
        }
    }

    fn signer(keys: &[TrackingKey]) -> Option<u8> {
        signing(keys).map(|key| key.id)
    }

    #[test]
    fn a_new_key_signs_after_a_minute() {
        assert_eq!(signer(&[]), None);
        assert_eq!(signer(&[key(0, 0, true)]), Some(0), "the first one has nobody before it");
        for (age, signs, stages) in [
            (0, 0, [Stage::Signs, Stage::Waits]),
            (59, 0, [Stage::Signs, Stage::Waits]),
            (60, 1, [Stage::Verifies, Stage::Signs]),
            (900, 1, [Stage::Verifies, Stage::Signs]),
        ] {
            let keys = [key(0, 1_000, true), key(1, age, true)];
            assert_eq!(signer(&keys), Some(signs), "{age}");
            assert_eq!(keys.each_ref().map(|key| stage(key, &keys)), stages, "{age}");
        }
        assert_eq!(signer(&[key(0, 20, true), key(1, 10, true)]), Some(0));
        assert_eq!(signer(&[key(0, 20, true), key(1, -10, true)]), Some(0), "a clock that was set back");
    }

    #[test]
    fn a_key_goes_once_its_successor_has_signed_for_a_minute() {
        for (age, expected) in [
            (59, Retirement::Needed),
            (60, Retirement::TooEarly),
            (119, Retirement::TooEarly),
            (120, Retirement::Done),
        ] {
            let keys = [key(0, 1_000, true), key(1, age, true)];
            assert_eq!(retirement(0, &keys), expected, "{age}");
            assert_eq!(retirement(1, &keys), Retirement::Needed, "{age}");
        }
        let keys = [key(0, 9_000, false), key(1, 900, true), key(2, 600, true), key(3, 5, true)];
        assert_eq!(
            [0, 1, 2, 3, 4].map(|id| retirement(id, &keys)),
            [
                Retirement::Repeated,
                Retirement::Done,
                Retirement::Needed,
                Retirement::Needed,
                Retirement::Missing
            ]
        );
    }

    #[test]
    fn numbers_are_used_up_before_one_is_used_again() {
        assert_eq!(next_id(&[]), Some(0));
        assert_eq!(next_id(&[key(0, 9, false), key(1, 5, true)]), Some(2));
        let mut all: Vec<TrackingKey> = (0..=255).map(|id| key(id, 1_000 - i64::from(id), true)).collect();
        assert_eq!(next_id(&all), None);
        for id in [7, 3] {
            all[usize::from(id)] = key(id, 1_000 - i64::from(id), false);
        }
        assert_eq!(next_id(&all), Some(3), "the one that was retired first");
    }

    #[test]
    fn a_key_does_not_show() {
        assert_eq!(format!("{:?}", key(7, 60, true)), "TrackingKey { id: 7, age: 1m, .. }");
    }

    proptest! {
        /// However keys came and went, one signs as long as one lives, and what signs is never let go.
        #[test]
        fn someone_signs(ages in prop::collection::btree_set(0_i64..400, 1..8), gone in prop::collection::vec(any::<bool>(), 8)) {
            let keys: Vec<TrackingKey> = ages.into_iter().rev().zip(0..).zip(gone).map(|((age, id), gone)| key(id, age, !gone)).collect();
            let live = keys.iter().any(|key| key.secret.is_some());
            prop_assert_eq!(signing(&keys).is_some(), live);
            if let Some(signs) = signing(&keys) {
                prop_assert_eq!(retirement(signs.id, &keys), Retirement::Needed);
                prop_assert_eq!(keys.iter().filter(|key| stage(key, &keys) == Stage::Signs).count(), 1);
            }
        }
    }
}
