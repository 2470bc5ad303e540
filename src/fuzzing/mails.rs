//! Mails that come back.

use std::sync::Arc;

use jiff::Timestamp;

use super::assert_kept;
use crate::bounce::{Kind, Reader};
use crate::model::receipt::About;
use crate::model::{CampaignNo, ContactNo, DeliveryKey};
use crate::token::{Key, Keyring};

const DELIVERY: DeliveryKey = DeliveryKey { campaign: CampaignNo(7), contact: ContactNo(9), occurrence: 0 };

/// A mail without a name that we signed is about nobody; with one, about that delivery alone. `{token}` and
/// `{unsubscribe}` in the input stand for ours.
pub(super) fn bounce(input: &[u8]) {
    let keyring = Arc::new(Keyring::new(Key::new(0, &[7; 32]), Vec::new()));
    let reader = Reader::new(Arc::clone(&keyring), false);
    let now = Timestamp::from_second(1_800_000_000).expect("an instant");
    let nobodys = reader.read(input, &["bounce+{token}@b.example".to_owned()], now);
    assert!(nobodys.receipts.is_empty(), "{nobodys:?}");
    assert!(matches!(nobodys.kind, Kind::Unclaimed | Kind::Other), "{nobodys:?}");

    let (mut token, mut unsubscribe) = (String::new(), String::new());
    keyring.mint_bounce(DELIVERY, &mut token);
    keyring.mint_unsubscribe(DELIVERY, &mut unsubscribe);
    let ours = replaced(&replaced(input, b"{token}", &token), b"{unsubscribe}", &unsubscribe);
    let reading = reader.read(&ours, &[], now);
    assert!(reading.receipts.len() <= 1, "{reading:?}");
    for receipt in &reading.receipts {
        assert_eq!(receipt.about, About::Delivery(DELIVERY));
        assert!(receipt.at <= now, "{receipt:?}");
        assert_kept(receipt);
    }
    assert_eq!(reader.read(&ours, &[], now), reading, "a mail that comes twice says the same");
}

fn replaced(mail: &[u8], marker: &[u8], by: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + by.len());
    let mut rest = mail;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(marker) {
            Some(after) => {
                out.extend_from_slice(by.as_bytes());
                rest = after;
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}
