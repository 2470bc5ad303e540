//! The few PDUs of SMPP 3.4 that a client writes and reads (SMPP Protocol Specification v3.4, chapters 4 and 5).
//!
//! Reads leniently: a `deliver_sm` with parameters that nobody knows is still one. Never reads past a PDU's own length.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

pub(super) const BIND_TRANSMITTER: u32 = 0x02;
pub(super) const SUBMIT_SM: u32 = 0x04;
pub(super) const DELIVER_SM: u32 = 0x05;
pub(super) const UNBIND: u32 = 0x06;
pub(super) const BIND_TRANSCEIVER: u32 = 0x09;
pub(super) const ENQUIRE_LINK: u32 = 0x15;
/// Set in the id of an answer.
pub(super) const RESPONSE: u32 = 0x8000_0000;
/// Says that a PDU could not be read; its sequence number is that PDU's, where it has one.
pub(super) const GENERIC_NACK: u32 = 0x8000_0000;

/// `esm_class`: the content begins with a user data header (section 5.2.12).
pub(super) const HAS_HEADER: u8 = 0x40;
/// The bits of `esm_class` that tell what a `deliver_sm` is.
const TYPE: u8 = 0x3C;
const RECEIPT: u8 = 0x04;
const USER_ACKNOWLEDGEMENT: [u8; 2] = [0x08, 0x10];

const RECEIPTED_MESSAGE_ID: u16 = 0x001E;
const MESSAGE_PAYLOAD: u16 = 0x0424;
const MESSAGE_STATE: u16 = 0x0427;

const HEADER: usize = 16;
/// No PDU that is meant is longer: `message_payload` has 64 KiB.
const LONGEST: usize = 128 << 10;
const INTERFACE_VERSION: u8 = 0x34;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pdu {
    pub(super) command: u32,
    pub(super) status: u32,
    pub(super) sequence: u32,
    pub(super) body: Bytes,
}

/// A length that no PDU has: nothing more can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

impl Pdu {
    pub(super) fn request(command: u32, sequence: u32, body: impl Into<Bytes>) -> Pdu {
        Pdu { command, status: 0, sequence, body: body.into() }
    }

    /// Takes the next PDU from what was read; none where more must be read first.
    pub(super) fn take(input: &mut BytesMut) -> Result<Option<Pdu>, Lost> {
        let Some(length) = input.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
            return Ok(None);
        };
        if !(HEADER..=LONGEST).contains(&length) {
            return Err(Lost);
        }
        if input.len() < length {
            return Ok(None);
        }
        let mut pdu = input.split_to(length).freeze();
        pdu.advance(4);
        Ok(Some(Pdu { command: pdu.get_u32(), status: pdu.get_u32(), sequence: pdu.get_u32(), body: pdu }))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX));
        out.put_u32(self.command);
        out.put_u32(self.status);
        out.put_u32(self.sequence);
        out.put_slice(&self.body);
    }

    /// The answer to this PDU. That to a `deliver_sm` has an empty `message_id` (section 4.6.2).
    pub(super) fn answer(&self, status: u32) -> Pdu {
        let body: &'static [u8] = if self.command == DELIVER_SM { b"\0" } else { b"" };
        Pdu { command: self.command | RESPONSE, status, sequence: self.sequence, body: body.into() }
    }

    /// The `message_id` in the answer to a `submit_sm`; empty where there is none, as in refusals.
    pub(super) fn message_id(&self) -> String {
        c_string(&mut self.body.clone()).unwrap_or_default()
    }
}

/// An address with its type of number and numbering plan (sections 5.2.5 and 5.2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ton: u8,
    pub(super) npi: u8,
    pub(super) address: String,
}

impl Address {
    /// An E.164 number, with or without its plus.
    pub(super) fn international(number: &str) -> Address {
        Address { ton: 1, npi: 1, address: number.trim_start_matches('+').to_owned() }
    }

    /// As senders are written: `+4930123456` is a number, `12345` a short code, everything else a name.
    pub(super) fn sender(from: &str) -> Address {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (ton, npi) = match from.strip_prefix('+') {
            Some(number) if digits(number) => return Address::international(from),
            _ if from.is_empty() || digits(from) => (0, 0),
            _ => (5, 0),
        };
        Address { ton, npi, address: from.to_owned() }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend([self.ton, self.npi]);
        put_c_string(out, &self.address);
    }
}

/// Binds in the way of `command`, for messages to any address.
pub(super) fn bind(command: u32, sequence: u32, system_id: &str, password: &str, system_type: &str) -> Pdu {
    let mut body = Vec::with_capacity(64);
    for text in [system_id, password, system_type] {
        put_c_string(&mut body, text);
    }
    body.extend([INTERFACE_VERSION, 0, 0, 0]);
    Pdu::request(command, sequence, body)
}

/// One message on the air, or one part of a longer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Submit<'a> {
    pub(super) source: &'a Address,
    pub(super) destination: &'a Address,
    /// Whether `content` begins with a user data header.
    pub(super) has_header: bool,
    pub(super) data_coding: u8,
    /// At most 254 octets; what [`super::text::parts`] makes has 160 at most.
    pub(super) content: &'a [u8],
}

impl Submit<'_> {
    /// Asks for a receipt, whatever becomes of the message.
    pub(super) fn pdu(&self, sequence: u32) -> Pdu {
        let mut body = Vec::with_capacity(64 + self.content.len());
        body.push(0);
        self.source.write(&mut body);
        self.destination.write(&mut body);
        body.extend([if self.has_header { HAS_HEADER } else { 0 }, 0, 0]);
        // At once, for as long as the provider keeps messages; a receipt; no replacing.
        body.extend([0, 0, 1, 0, self.data_coding, 0]);
        body.push(u8::try_from(self.content.len()).unwrap_or(u8::MAX));
        body.extend_from_slice(self.content);
        Pdu::request(SUBMIT_SM, sequence, body)
    }
}

/// What a `deliver_sm` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Receipt,
    Reply,
    /// Something that nobody here waits for, as a notice that a message is under way.
    Other,
}

/// What the provider brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deliver {
    pub(super) kind: Kind,
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) has_header: bool,
    pub(super) data_coding: u8,
    pub(super) content: Bytes,
    pub(super) receipted_message_id: Option<String>,
    pub(super) message_state: Option<u8>,
}

impl Deliver {
    /// None where the body ends too early.
    pub(super) fn read(body: &Bytes) -> Option<Deliver> {
        let mut body = body.clone();
        c_string(&mut body)?;
        let source = address(&mut body)?;
        let destination = address(&mut body)?;
        let esm_class = octet(&mut body)?;
        // Protocol, priority.
        octet(&mut body)?;
        octet(&mut body)?;
        // Schedule, validity.
        c_string(&mut body)?;
        c_string(&mut body)?;
        // Receipt wanted, replacing.
        octet(&mut body)?;
        octet(&mut body)?;
        let data_coding = octet(&mut body)?;
        octet(&mut body)?;
        let length = usize::from(octet(&mut body)?);
        let content = taken(&mut body, length)?;
        let kind = match esm_class & TYPE {
            RECEIPT => Kind::Receipt,
            0 => Kind::Reply,
            acknowledgement if USER_ACKNOWLEDGEMENT.contains(&acknowledgement) => Kind::Reply,
            _ => Kind::Other,
        };
        let has_header = esm_class & HAS_HEADER != 0;
        let (receipted_message_id, message_state) = (None, None);
        let mut deliver = Deliver {
            kind,
            source,
            destination,
            has_header,
            data_coding,
            content,
            receipted_message_id,
            message_state,
        };
        deliver.read_optional(body);
        Some(deliver)
    }

    /// Up to the first parameter that is cut short.
    fn read_optional(&mut self, mut body: Bytes) {
        while body.remaining() >= 4 {
            let (tag, length) = (body.get_u16(), usize::from(body.get_u16()));
            let Some(mut value) = taken(&mut body, length) else { return };
            match tag {
                RECEIPTED_MESSAGE_ID => {
                    // Some leave out the NUL that ends it.
                    let id =
                        c_string(&mut value).unwrap_or_else(|| String::from_utf8_lossy(&value).into_owned());
                    self.receipted_message_id = Some(id).filter(|id| !id.is_empty());
                }
                MESSAGE_STATE => self.message_state = value.first().copied(),
                MESSAGE_PAYLOAD if self.content.is_empty() => self.content = value,
                _ => {}
            }
        }
    }
}

fn put_c_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn octet(body: &mut Bytes) -> Option<u8> {
    body.has_remaining().then(|| body.get_u8())
}

fn taken(body: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= body.len()).then(|| body.split_to(length))
}

/// A C-octet string; what stays behind it is left as it was where there is none.
fn c_string(body: &mut Bytes) -> Option<String> {
    let end = memchr::memchr(0, body)?;
    let text = body.split_to(end);
    body.advance(1);
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Without its type and plan.
fn address(body: &mut Bytes) -> Option<String> {
    octet(body)?;
    octet(body)?;
    c_string(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(pdu: &Pdu) -> String {
        let mut out = Vec::new();
        pdu.write(&mut out);
        hex::encode(out)
    }

    /// As smpplib 2.2.4 encodes them.
    #[test]
    fn captured_pdus_are_written_byte_for_byte() {
        assert_eq!(
            written(&bind(BIND_TRANSCEIVER, 1, "user", "pass", "")),
            "0000001f000000090000000000000001757365720070617373000034000000"
        );
        let content = hex::decode("30107b7e540d301100680069").unwrap();
        let submit = Submit {
            source: &Address::sender("BRAND"),
            destination: &Address::international("+8613800000001"),
            has_header: false,
            data_coding: 8,
            content: &content,
        };
        assert_eq!(
            written(&submit.pdu(2)),
            "0000003f0000000400000000000000020005004252414e4400010138363133383030303030303031000000000000010008000c\
             30107b7e540d301100680069"
        );
        assert_eq!(written(&Pdu::request(ENQUIRE_LINK, 3, "")), "00000010000000150000000000000003");
    }

    #[test]
    fn senders_have_the_type_that_they_look_like() {
        for (from, ton, npi, address) in [
            ("BRAND", 5, 0, "BRAND"),
            ("+4930123456", 1, 1, "4930123456"),
            ("12345", 0, 0, "12345"),
            ("1Shop", 5, 0, "1Shop"),
            ("+Shop", 5, 0, "+Shop"),
            ("", 0, 0, ""),
        ] {
            assert_eq!(Address::sender(from), Address { ton, npi, address: address.to_owned() }, "{from}");
        }
    }

    fn deliver(esm_class: u8, content: &[u8], optional: &[u8]) -> Bytes {
        let mut body = b"\0\x01\x018613800000001\0\x05\0SHOP\0".to_vec();
        body.extend([esm_class, 0, 0, 0, 0, 0, 0, 0, 0, u8::try_from(content.len()).unwrap()]);
        [&body, content, optional].concat().into()
    }

    #[test]
    fn what_is_delivered_is_read_with_its_optional_parameters() {
        let optional =
            b"\x13\x08\0\x01\x07\0\x1e\0\x0300\0\x04\x27\0\x01\x02\x04\x24\0\x05ignor\0\x1e\0\xffcut";
        let read = Deliver::read(&deliver(0x04, b"id:00", optional)).unwrap();
        assert_eq!((read.kind, &*read.source, &*read.destination), (Kind::Receipt, "8613800000001", "SHOP"));
        assert_eq!((read.receipted_message_id.as_deref(), read.message_state), (Some("00"), Some(2)));
        assert_eq!(&*read.content, b"id:00");
        let payload = Deliver::read(&deliver(0x40, b"", b"\x04\x24\0\x02hi\0\x1e\0\x02ab")).unwrap();
        assert_eq!((payload.kind, payload.has_header, &*payload.content), (Kind::Reply, true, &b"hi"[..]));
        assert_eq!(payload.receipted_message_id.as_deref(), Some("ab"), "without its NUL");
        for (esm_class, kind) in [(0x20, Kind::Other), (0x08, Kind::Reply), (0x18, Kind::Other)] {
            assert_eq!(Deliver::read(&deliver(esm_class, b"", b"")).unwrap().kind, kind, "{esm_class}");
        }
        let whole = deliver(0, b"hello", b"");
        for length in 0..whole.len() {
            assert_eq!(Deliver::read(&whole.slice(..length)), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_taken_again(
            command: u32, status: u32, sequence: u32, body: Vec<u8>, rest: Vec<u8>, cut in 1..16_usize,
        ) {
            let pdu = Pdu { command, status, sequence, body: body.into() };
            let mut out = Vec::new();
            pdu.write(&mut out);
            prop_assert_eq!(Pdu::take(&mut BytesMut::from(&out[..out.len() - cut])), Ok(None));
            let mut input = BytesMut::from(&[&out[..], &rest[..]].concat()[..]);
            prop_assert_eq!(Pdu::take(&mut input), Ok(Some(pdu)));
            prop_assert_eq!(&input[..], &rest[..]);
        }

        #[test]
        fn no_bytes_break_the_reading(body: Vec<u8>, content: Vec<u8>, optional: Vec<u8>, esm_class: u8) {
            let content = &content[..content.len().min(255)];
            let read = Deliver::read(&deliver(esm_class, content, &optional)).unwrap();
            prop_assert_eq!(read.source, "8613800000001");
            drop(Deliver::read(&body.into()));
        }
    }

    #[test]
    fn a_length_that_none_has_is_lost() {
        for length in [0_u32, 15, 1 << 20] {
            assert_eq!(Pdu::take(&mut BytesMut::from(&length.to_be_bytes()[..])), Err(Lost));
        }
    }
}
