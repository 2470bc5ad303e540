//! What must hold of every byte that an SMSC can send.

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::pdu::{Address, DELIVER_SM, Deliver, Kind, Lost, Pdu, Submit};
use super::receipt::{Ids, receipts};
use super::text::{decoded, encoded, without_header};
use crate::config::{CodeClass, Codes};
use crate::fuzzing::{assert_kept, pieces};
use crate::model::receipt::About;

/// PDUs are the same however the bytes are cut into reads, and are written as they were read. The first byte says how
/// to cut.
pub(crate) fn pdus(input: &[u8]) {
    let Some((seed, bytes)) = input.split_first() else { return };
    let (pdus, end) = taken([bytes]);
    assert_eq!(taken(pieces(bytes, *seed)), (pdus.clone(), end));
    let mut written = Vec::new();
    for pdu in &pdus {
        pdu.write(&mut written);
        assert_eq!(pdu.answer(0).sequence, pdu.sequence);
        drop(pdu.message_id());
        if pdu.command == DELIVER_SM {
            delivered(&pdu.body);
        }
    }
    assert!(bytes.starts_with(&written), "what is written is what was read");
    delivered(&Bytes::copy_from_slice(bytes));
    texts(bytes, *seed);
}

fn taken<'b>(reads: impl IntoIterator<Item = &'b [u8]>) -> (Vec<Pdu>, Result<(), Lost>) {
    let (mut pdus, mut input) = (Vec::new(), BytesMut::new());
    for bytes in reads {
        input.extend_from_slice(bytes);
        loop {
            match Pdu::take(&mut input) {
                Ok(Some(pdu)) => pdus.push(pdu),
                Ok(None) => break,
                Err(lost) => return (pdus, Err(lost)),
            }
        }
    }
    (pdus, Ok(()))
}

/// The body of a `deliver_sm` is refused, or read within its own bytes, and what it tells is about this account's
/// messages or about a number.
fn delivered(body: &Bytes) {
    let Some(deliver) = Deliver::read(body) else { return };
    let inside = |content: &Bytes| {
        let (begin, end) = (body.as_ptr() as usize, body.as_ptr() as usize + body.len());
        content.is_empty() || (begin..=end).contains(&(content.as_ptr() as usize + content.len()))
    };
    assert!(inside(&deliver.content), "{deliver:?}");
    if let Some((_, content)) = without_header(&deliver.content) {
        assert!(inside(&content) && content.len() < deliver.content.len(), "{deliver:?}");
    }
    for length in 0..body.len().min(24) {
        drop(Deliver::read(&body.slice(..length)));
    }
    let now = Timestamp::from_second(1_800_000_000).expect("an instant");
    let codes: Codes =
        [("err:001", CodeClass::OptedOut), ("EXPIRED", CodeClass::HardBounce)].into_iter().collect();
    for hex in [false, true] {
        for receipt in receipts("smsc", Ids { hex }, &codes, &deliver, now) {
            match &receipt.about {
                About::Reference { provider, reference } => {
                    assert!(provider == "smsc" && !reference.is_empty() && deliver.kind == Kind::Receipt);
                }
                About::Address { address, .. } => {
                    assert!(address.starts_with('+') && deliver.kind == Kind::Reply, "{receipt:?}");
                }
                About::Delivery(_) => panic!("no key of ours travels: {receipt:?}"),
            }
            assert_eq!(receipt.at, now);
            assert_kept(&receipt);
        }
    }
    submitted(&deliver);
}

/// A `submit_sm` has the fields of a `deliver_sm`: what is written as the one is read as the other.
fn submitted(deliver: &Deliver) {
    if deliver.content.len() > 254 {
        return;
    }
    let address = |address: &str| Address { ton: 1, npi: 1, address: address.to_owned() };
    let (source, destination) = (address(&deliver.source), address(&deliver.destination));
    let submit = Submit {
        source: &source,
        destination: &destination,
        has_header: deliver.has_header,
        data_coding: deliver.data_coding,
        content: &deliver.content,
    };
    let again = Deliver::read(&submit.pdu(1).body).expect("what was written");
    let plain =
        Deliver { kind: Kind::Reply, receipted_message_id: None, message_state: None, ..deliver.clone() };
    assert_eq!(again, plain);
}

/// A text goes out in parts that fit, and comes back where its alphabet has every character.
fn texts(bytes: &[u8], seed: u8) {
    for coding in [0, 3, 8, seed] {
        drop(decoded(coding, bytes));
    }
    let text = String::from_utf8_lossy(bytes);
    let Some(encoded) = encoded(&text, seed) else { return };
    let most = if encoded.data_coding == 8 { 140 } else { 160 };
    let header = if encoded.parts.len() > 1 { 6 } else { 0 };
    assert!(encoded.parts.iter().all(|part| (header..=most).contains(&part.len())), "{encoded:?}");
    if encoded.data_coding == 8 {
        let octets: Vec<u8> =
            encoded.parts.iter().flat_map(|part| part.iter().skip(header).copied()).collect();
        assert_eq!(decoded(8, &octets), text);
    }
}
