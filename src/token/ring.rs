//! The keys of tracking tokens: one signs, all that are held verify. They are replaced while tokens are made and read, and
//! whoever makes or reads one waits for nobody.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use hmac::{Hmac, KeyInit};
use sha2::Sha256;

use crate::model::tracking_key::{self, TrackingKey};

/// One secret. Its id travels in each token, so that keys can change while old messages keep working.
#[derive(Clone)]
pub struct Key {
    pub(super) id: u8,
    pub(super) keyed: Hmac<Sha256>,
}

impl Key {
    /// `secret` is 32 bytes from a good random source.
    pub fn new(id: u8, secret: &[u8; 32]) -> Self {
        let mut block = [0; 64];
        block[..32].copy_from_slice(secret);
        Key { id, keyed: <Hmac<Sha256> as KeyInit>::new(&block.into()) }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The key that signs, and the others that verify.
#[derive(Debug)]
pub struct Keyring(ArcSwap<Keys>);

#[derive(Debug)]
pub(super) struct Keys {
    pub(super) current: Key,
    others: Vec<Key>,
}

impl Keyring {
    pub fn new(current: Key, others: Vec<Key>) -> Self {
        Keyring(ArcSwap::from_pointee(Keys { current, others }))
    }

    /// The keys of a reading that are not retired; `None` where there are none.
    pub fn of(keys: &[TrackingKey]) -> Option<Self> {
        Keys::of(keys).map(|keys| Keyring(ArcSwap::from_pointee(keys)))
    }

    /// Takes over a later reading. Returns the id of the key that signs from now on, where it is another.
    pub fn replace(&self, keys: &[TrackingKey]) -> Option<u8> {
        let new = Keys::of(keys)?;
        let (before, after) = (self.load().current.id, new.current.id);
        self.0.store(Arc::new(new));
        (before != after).then_some(after)
    }

    pub(super) fn load(&self) -> Guard<Arc<Keys>> {
        self.0.load()
    }
}

impl Keys {
    fn of(keys: &[TrackingKey]) -> Option<Self> {
        let signing = tracking_key::signing(keys)?;
        let live = |key: &TrackingKey| Some(Key::new(key.id, key.secret.as_ref()?));
        let others = keys.iter().filter(|key| key.id != signing.id).filter_map(live).collect();
        Some(Keys { current: live(signing)?, others })
    }

    pub(super) fn key(&self, id: u8) -> Option<&Key> {
        std::iter::once(&self.current).chain(&self.others).find(|key| key.id == id)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::model::{CampaignNo, ContactNo, DeliveryKey};
    use crate::token::Kind;

    const DELIVERY: DeliveryKey =
        DeliveryKey { campaign: CampaignNo(3), contact: ContactNo(4), occurrence: 0 };

    fn key(id: u8, age: i64) -> TrackingKey {
        TrackingKey {
            id,
            secret: Some([id + 1; 32]),
            created_at: Timestamp::UNIX_EPOCH,
            age: SignedDuration::from_secs(age),
            retired_at: None,
        }
    }

    fn retired(id: u8, age: i64) -> TrackingKey {
        TrackingKey { secret: None, retired_at: Some(Timestamp::UNIX_EPOCH), ..key(id, age) }
    }

    fn tokens(ring: &Keyring) -> [String; 2] {
        let mut tokens = [String::new(), String::new()];
        ring.mint_open(DELIVERY, &mut tokens[0]);
        ring.mint_bounce(DELIVERY, &mut tokens[1]);
        tokens
    }

    fn knows(ring: &Keyring, [open, bounce]: &[String; 2]) -> bool {
        let verified = [ring.verify(Kind::Open, open).is_some(), ring.verify_bounce(bounce).is_some()];
        assert_eq!(verified[0], verified[1], "all kinds go by the same keys");
        verified[0]
    }

    #[test]
    fn a_key_verifies_before_it_signs_and_after_it() {
        let (first, second) = (Keyring::of(&[key(0, 500)]).unwrap(), Keyring::of(&[key(0, 500)]).unwrap());
        let old = tokens(&first);
        assert_eq!(second.replace(&[key(0, 530), key(1, 30)]), None, "it does not sign yet");
        assert_eq!(first.replace(&[key(0, 560), key(1, 60)]), Some(1));
        assert_eq!(first.replace(&[key(0, 570), key(1, 70)]), None);
        let new = tokens(&first);
        assert!(knows(&second, &new), "who read it early knows what the other signs");
        assert_eq!(tokens(&second), old, "who read it early signs as before");
        assert!(knows(&first, &old) && knows(&first, &new));
        first.replace(&[retired(0, 700), key(1, 200)]);
        assert!(!knows(&first, &old) && knows(&first, &new));
    }

    #[test]
    fn a_number_that_is_used_again_verifies_nothing_old() {
        let ring = Keyring::of(&[key(0, 500)]).unwrap();
        let old = tokens(&ring);
        ring.replace(&[TrackingKey { secret: Some([9; 32]), ..key(0, 60) }]);
        assert!(!knows(&ring, &old));
    }

    #[test]
    fn a_reading_without_keys_changes_nothing() {
        let ring = Keyring::of(&[key(0, 500)]).unwrap();
        let old = tokens(&ring);
        assert_eq!(ring.replace(&[retired(0, 700)]), None);
        assert!(knows(&ring, &old) && Keyring::of(&[]).is_none());
    }

    #[test]
    fn a_key_does_not_show() {
        assert_eq!(format!("{:?}", Key::new(2, &[7; 32])), "Key { id: 2, .. }");
    }
}
