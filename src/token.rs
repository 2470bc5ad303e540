//! Tracking tokens: who opened, clicked or unsubscribes, proved by the token itself and without a lookup.
//!
//! A token is `key id | campaign | contact | occurrence [| link number | URL] | MAC`, in base64url without padding.
//! Numbers are zigzag LEB128. The MAC is HMAC-SHA256 over the kind and everything before it, truncated to 16 bytes
//! (RFC 2104, section 5). A token of one kind never passes as another, and each token has exactly one spelling.
//!
//! A link that varies by recipient carries its URL inside the token: the redirect leads to exactly what was
//! rendered, nothing is stored, and nobody can make it lead elsewhere. It is signed, not secret.
//!
//! The token of a bounce stands in an address, whose local part has at most 64 octets (RFC 5321, section 4.5.3.1.1) and
//! may change its case on the way. So it is base32 (RFC 4648) in lower case and read in any, its numbers take no more
//! bytes than they have, and its MAC has 8 bytes: who guesses one forges the bounce of one message.

mod ring;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::model::{CampaignNo, ContactNo, DeliveryKey, LinkNo};

pub use ring::{Key, Keyring};

/// The longest URL that a token carries, in bytes; what browsers and mail clients take without harm.
pub const MAX_URL: usize = 2_000;

/// The longest token of a bounce, in characters.
pub const MAX_BOUNCE: usize = BOUNCE_BYTES.div_ceil(5) * 8;

const MAC_BYTES: usize = 16;
const BOUNCE_MAC_BYTES: usize = 8;
/// Key id, two bytes of lengths, three numbers of at most 8 bytes, the MAC.
const BOUNCE_BYTES: usize = 1 + 2 + 3 * 8 + BOUNCE_MAC_BYTES;
/// Key id, three numbers of at most 10 bytes, the link's 3, the URL, the MAC.
const MAX_BYTES: usize = 1 + 3 * 10 + 3 + MAX_URL + MAC_BYTES;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Open,
    Click,
    Unsubscribe,
    /// The address that a message's bounces go to; has a spelling of its own, [`Keyring::verify_bounce`].
    Bounce,
}

impl Kind {
    fn tag(self) -> u8 {
        match self {
            Kind::Open => b'o',
            Kind::Click => b'c',
            Kind::Unsubscribe => b'u',
            Kind::Bounce => b'b',
        }
    }
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub delivery: DeliveryKey,
    /// The clicked link; `None` but for clicks.
    pub link: Option<LinkNo>,
    /// Where the link leads; `None` where the campaign's link table knows it.
    pub url: Option<String>,
}

impl Claims {
    /// Whether this belongs to a test message, which no report counts: campaign 0 is never planned.
    pub fn is_test(&self) -> bool {
        self.delivery.campaign.0 == 0
    }
}

impl Keyring {
    /// Appends the token of a message's pixel.
    pub fn mint_open(&self, delivery: DeliveryKey, out: &mut String) {
        self.seal_bare(Kind::Open, delivery, out);
    }

    /// Appends the token with which a message's recipient unsubscribes.
    pub fn mint_unsubscribe(&self, delivery: DeliveryKey, out: &mut String) {
        self.seal_bare(Kind::Unsubscribe, delivery, out);
    }

    /// Appends the token of a link; `url` where the link varies by recipient. A URL longer than [`MAX_URL`] bytes
    /// does not fit: nothing is appended, and the answer is `false`.
    #[must_use]
    pub fn mint_click(
        &self,
        delivery: DeliveryKey,
        link: LinkNo,
        url: Option<&str>,
        out: &mut String,
    ) -> bool {
        let url = url.unwrap_or_default();
        if url.len() > MAX_URL {
            return false;
        }
        let ring = self.load();
        let mut payload = Payload::begin(ring.current.id, delivery);
        payload.varint(u64::from(link.0));
        payload.bytes(url.as_bytes());
        seal(&ring.current, Kind::Click, payload, out);
        true
    }

    /// Appends the token of the address that a message's bounces go to: at most [`MAX_BOUNCE`] letters and digits.
    pub fn mint_bounce(&self, delivery: DeliveryKey, out: &mut String) {
        let numbers = numbers_of(delivery);
        let lengths = numbers.map(|number| 8 - number.leading_zeros() / 8);
        let [campaign, contact, occurrence] = lengths.map(|length| length.to_le_bytes()[0]);
        let (ring, mut payload) = (self.load(), Payload::empty());
        payload.bytes(&[ring.current.id, campaign << 4 | contact, occurrence]);
        for (number, length) in numbers.into_iter().zip([campaign, contact, occurrence]) {
            payload.bytes(&number.to_le_bytes()[..usize::from(length)]);
        }
        let mac = authenticate(&ring.current, Kind::Bounce, payload.as_slice()).finalize().into_bytes();
        payload.bytes(&mac[..BOUNCE_MAC_BYTES]);
        out.push_str(&BASE32_NOPAD.encode(payload.as_slice()).to_ascii_lowercase());
    }

    /// Whose bounce it is; `None` for every token that this ring's keys did not sign exactly so, but for its case.
    pub fn verify_bounce(&self, token: &str) -> Option<DeliveryKey> {
        if token.len() > MAX_BOUNCE {
            return None;
        }
        let bytes = BASE32_NOPAD.decode(token.to_ascii_uppercase().as_bytes()).ok()?;
        let (payload, mac) = bytes.split_at_checked(bytes.len().checked_sub(BOUNCE_MAC_BYTES)?)?;
        let ([id, lengths @ ..], mut rest) = payload.split_first_chunk::<3>()?;
        authenticate(self.load().key(*id)?, Kind::Bounce, payload).verify_truncated_left(mac).ok()?;
        let mut number = |length: u8| {
            let (bytes, after) = rest.split_at_checked(length.into())?;
            rest = after;
            let mut number = [0; 8];
            number.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(unzigzag(u64::from_le_bytes(number)))
        };
        let [campaign, contact, occurrence] =
            [number(lengths[0] >> 4)?, number(lengths[0] & 0xf)?, number(lengths[1])?];
        rest.is_empty().then_some(DeliveryKey {
            campaign: CampaignNo(campaign),
            contact: ContactNo(contact),
            occurrence,
        })
    }

    /// A token of the delivery's key alone.
    fn seal_bare(&self, kind: Kind, delivery: DeliveryKey, out: &mut String) {
        let ring = self.load();
        seal(&ring.current, kind, Payload::begin(ring.current.id, delivery), out);
    }

    /// Reads a token of this kind; `None` for every token that this ring's keys did not sign exactly so.
    /// The MAC is compared in constant time.
    pub fn verify(&self, kind: Kind, token: &str) -> Option<Claims> {
        let mut buffer = [0; MAX_BYTES + 3];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut buffer).ok()?;
        let (payload, mac) = buffer[..length].split_at_checked(length.checked_sub(MAC_BYTES)?)?;
        let (id, rest) = payload.split_first()?;
        authenticate(self.load().key(*id)?, kind, payload).verify_truncated_left(mac).ok()?;
        read_claims(kind, rest)
    }
}

fn seal(key: &Key, kind: Kind, mut payload: Payload, out: &mut String) {
    let mac = authenticate(key, kind, payload.as_slice()).finalize().into_bytes();
    payload.bytes(&mac[..MAC_BYTES]);
    URL_SAFE_NO_PAD.encode_string(payload.as_slice(), out);
}

fn authenticate(key: &Key, kind: Kind, payload: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.keyed.clone();
    mac.update(&[kind.tag()]);
    mac.update(payload);
    mac
}

fn read_claims(kind: Kind, mut rest: &[u8]) -> Option<Claims> {
    let delivery = DeliveryKey {
        campaign: CampaignNo(unzigzag(read_varint(&mut rest)?)),
        contact: ContactNo(unzigzag(read_varint(&mut rest)?)),
        occurrence: unzigzag(read_varint(&mut rest)?),
    };
    if kind != Kind::Click {
        return rest.is_empty().then_some(Claims { delivery, link: None, url: None });
    }
    let link = LinkNo(read_varint(&mut rest)?.try_into().ok()?);
    let url = std::str::from_utf8(rest).ok()?;
    let url = (!url.is_empty()).then(|| url.to_owned());
    Some(Claims { delivery, link: Some(link), url })
}

/// A token under construction, on the stack.
struct Payload {
    buffer: [u8; MAX_BYTES],
    length: usize,
}

impl Payload {
    fn empty() -> Self {
        Payload { buffer: [0; MAX_BYTES], length: 0 }
    }

    fn begin(key_id: u8, delivery: DeliveryKey) -> Self {
        let mut payload = Payload::empty();
        payload.bytes(&[key_id]);
        numbers_of(delivery).into_iter().for_each(|number| payload.varint(number));
        payload
    }

    fn as_slice(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.buffer[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            self.bytes(&[if value == 0 { low } else { low | 0x80 }]);
            if value == 0 {
                return;
            }
        }
    }
}

/// Reads one number off the front; refuses an overlong spelling.
fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return (low != 0 || shift == 0).then_some(value);
        }
    }
    None
}

fn numbers_of(delivery: DeliveryKey) -> [u64; 3] {
    [delivery.campaign.0, delivery.contact.0, delivery.occurrence].map(zigzag)
}

/// Small numbers of either sign become small unsigned numbers.
fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring() -> Keyring {
        Keyring::new(Key::new(2, &[7; 32]), vec![Key::new(1, &[9; 32])])
    }

    fn delivery(campaign: i64, contact: i64, occurrence: i64) -> DeliveryKey {
        DeliveryKey { campaign: CampaignNo(campaign), contact: ContactNo(contact), occurrence }
    }

    fn click(ring: &Keyring, delivery: DeliveryKey, link: u16, url: Option<&str>) -> String {
        let mut token = String::new();
        assert!(ring.mint_click(delivery, LinkNo(link), url, &mut token));
        token
    }

    fn open(ring: &Keyring, delivery: DeliveryKey) -> String {
        let mut token = String::new();
        ring.mint_open(delivery, &mut token);
        token
    }

    /// A token that is signed well but spelled as `payload` says.
    fn forge(payload: &[u8]) -> String {
        let mut bytes = payload.to_vec();
        bytes.extend_from_slice(
            &authenticate(&ring().load().current, Kind::Open, payload).finalize().into_bytes()[..MAC_BYTES],
        );
        URL_SAFE_NO_PAD.encode(bytes)
    }

    #[test]
    fn a_kind_never_passes_as_another() {
        let token = open(&ring(), delivery(3, 4, 0));
        assert!(ring().verify(Kind::Open, &token).is_some());
        assert_eq!(ring().verify(Kind::Click, &token), None);
        assert_eq!(ring().verify(Kind::Unsubscribe, &token), None);
        assert_eq!(ring().verify(Kind::Open, &click(&ring(), delivery(3, 4, 0), 0, None)), None);
    }

    #[test]
    fn older_keys_verify_and_unknown_ones_do_not() {
        let old = Keyring::new(Key::new(1, &[9; 32]), Vec::new());
        let token = open(&old, delivery(3, 4, 0));
        assert!(ring().verify(Kind::Open, &token).is_some());
        let other = Keyring::new(Key::new(2, &[8; 32]), Vec::new());
        assert_eq!(other.verify(Kind::Open, &open(&ring(), delivery(3, 4, 0))), None);
        let gone = Keyring::new(Key::new(3, &[7; 32]), Vec::new());
        assert_eq!(gone.verify(Kind::Open, &open(&ring(), delivery(3, 4, 0))), None);
    }

    #[test]
    fn a_token_is_short_enough_for_a_text_message() {
        assert!(click(&ring(), delivery(1_000, 5_000_000, 0), 3, None).len() <= 36);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut token = String::new();
        assert!(!ring().mint_click(delivery(1, 1, 0), LinkNo(0), Some(&"x".repeat(MAX_URL + 1)), &mut token));
        assert!(token.is_empty());
        let longest = "x".repeat(MAX_URL);
        let token = click(&ring(), delivery(i64::MAX, i64::MIN, i64::MAX), u16::MAX, Some(&longest));
        assert_eq!(ring().verify(Kind::Click, &token).unwrap().url, Some(longest));
        assert_eq!(ring().verify(Kind::Click, &"A".repeat(10_000)), None);
    }

    #[test]
    fn only_the_one_canonical_spelling_is_read() {
        assert!(ring().verify(Kind::Open, &forge(&[2, 2, 2, 0])).is_some());
        assert_eq!(ring().verify(Kind::Open, &forge(&[2, 0x82, 0, 2, 0])), None, "overlong number");
        assert_eq!(ring().verify(Kind::Open, &forge(&[2, 2, 2, 0, 0])), None, "trailing byte");
        assert_eq!(ring().verify(Kind::Open, &forge(&[2, 2, 2])), None, "a number short");
        let token = open(&ring(), delivery(1, 1, 0));
        assert_eq!(ring().verify(Kind::Open, &format!("{token}=")), None);
        assert_eq!(ring().verify(Kind::Open, &format!("{token}A")), None);
        assert_eq!(ring().verify(Kind::Open, ""), None);
    }

    fn bounce(delivery: DeliveryKey) -> String {
        let mut token = String::new();
        ring().mint_bounce(delivery, &mut token);
        token
    }

    #[test]
    fn the_token_of_a_bounce_fits_an_address_and_outlives_a_change_of_case() {
        let longest = bounce(delivery(i64::MIN, i64::MIN, i64::MIN));
        assert_eq!((longest.len(), MAX_BOUNCE), (56, 56));
        assert_eq!(bounce(delivery(1_000, 5_000_000, 0)).len(), 26);
        let token = bounce(delivery(3, -4, i64::MAX));
        assert!(token.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{token}");
        for spelling in [token.clone(), token.to_ascii_uppercase()] {
            assert_eq!(ring().verify_bounce(&spelling), Some(delivery(3, -4, i64::MAX)));
        }
        assert_eq!(ring().verify(Kind::Bounce, &token), None);
        assert_eq!(ring().verify_bounce(&open(&ring(), delivery(3, 4, 0))), None);
    }

    proptest! {
        #[test]
        fn claims_come_back(campaign: i64, contact: i64, occurrence: i64, link: u16, url in proptest::option::of(".{1,200}")) {
            let key = delivery(campaign, contact, occurrence);
            let claims = ring().verify(Kind::Click, &click(&ring(), key, link, url.as_deref())).unwrap();
            prop_assert_eq!(claims, Claims { delivery: key, link: Some(LinkNo(link)), url });
            let opened = ring().verify(Kind::Open, &open(&ring(), key)).unwrap();
            prop_assert_eq!(opened.delivery, key);
        }

        #[test]
        fn every_changed_byte_is_refused(campaign: i64, contact: i64, flip in 1_u8..=255, at: proptest::sample::Index) {
            let token = click(&ring(), delivery(campaign, contact, 0), 5, Some("https://shop.example/"));
            let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(ring().verify(Kind::Click, &URL_SAFE_NO_PAD.encode(bytes)), None);
        }

        #[test]
        fn bounces_find_their_delivery(campaign: i64, contact: i64, occurrence: i64, flip in 1_u8..=255, at: proptest::sample::Index) {
            let key = delivery(campaign, contact, occurrence);
            let token = bounce(key);
            prop_assert!("bounce+".len() + token.len() <= 64);
            prop_assert_eq!(ring().verify_bounce(&token), Some(key));
            let mut bytes = BASE32_NOPAD.decode(token.to_ascii_uppercase().as_bytes()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(ring().verify_bounce(&BASE32_NOPAD.encode(&bytes)), None);
        }

        #[test]
        fn noise_is_no_bounce(noise in "[a-z2-7]{0,60}", text in ".{0,40}") {
            prop_assert_eq!(ring().verify_bounce(&noise), None);
            prop_assert_eq!(ring().verify_bounce(&text), None);
        }

        #[test]
        fn noise_is_refused(noise in "[A-Za-z0-9_-]{0,120}", text in ".{0,40}") {
            prop_assert_eq!(ring().verify(Kind::Click, &noise), None);
            prop_assert_eq!(ring().verify(Kind::Open, &text), None);
        }
    }
}
