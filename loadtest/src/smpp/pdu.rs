//! The few PDUs of SMPP 3.4 that an SMSC reads and writes (SMPP Protocol Specification v3.4, chapters 4 and 5).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

pub(super) const BIND_RECEIVER: u32 = 0x01;
pub(super) const BIND_TRANSMITTER: u32 = 0x02;
pub(super) const SUBMIT_SM: u32 = 0x04;
pub(super) const DELIVER_SM: u32 = 0x05;
pub(super) const UNBIND: u32 = 0x06;
pub(super) const BIND_TRANSCEIVER: u32 = 0x09;
pub(super) const ENQUIRE_LINK: u32 = 0x15;
pub(super) const GENERIC_NACK: u32 = 0x8000_0000;
/// Set in the id of an answer.
pub(super) const RESPONSE: u32 = 0x8000_0000;

pub(super) const INVALID_MESSAGE_LENGTH: u32 = 0x01;
pub(super) const INVALID_COMMAND_LENGTH: u32 = 0x02;
pub(super) const INVALID_COMMAND_ID: u32 = 0x03;
pub(super) const INVALID_BIND_STATUS: u32 = 0x04;
pub(super) const ALREADY_BOUND: u32 = 0x05;
pub(super) const SYSTEM_ERROR: u32 = 0x08;
pub(super) const INVALID_SOURCE: u32 = 0x0A;
pub(super) const INVALID_DESTINATION: u32 = 0x0B;
pub(super) const INVALID_PASSWORD: u32 = 0x0E;
pub(super) const INVALID_SYSTEM_ID: u32 = 0x0F;
pub(super) const THROTTLED: u32 = 0x58;

const SAR_REFERENCE: u16 = 0x020C;
const SAR_TOTAL: u16 = 0x020E;
const SAR_NUMBER: u16 = 0x020F;
const MESSAGE_PAYLOAD: u16 = 0x0424;
const RECEIPTED_MESSAGE_ID: u16 = 0x001E;
const MESSAGE_STATE: u16 = 0x0427;
const INTERFACE_VERSION: u16 = 0x0210;

const HEADER: usize = 16;
const LONGEST: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pdu {
    pub(super) command: u32,
    pub(super) status: u32,
    pub(super) sequence: u32,
    pub(super) body: Bytes,
}

/// A length that no PDU has: the stream is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

impl Pdu {
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

    pub(super) fn written(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER + self.body.len());
        out.put_u32(u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX));
        out.put_u32(self.command);
        out.put_u32(self.status);
        out.put_u32(self.sequence);
        out.extend_from_slice(&self.body);
        out.freeze()
    }

    /// The answer to this PDU.
    pub(super) fn answer(&self, status: u32, body: impl Into<Bytes>) -> Pdu {
        Pdu { command: self.command | RESPONSE, status, sequence: self.sequence, body: body.into() }
    }

    pub(super) fn nack(sequence: u32, status: u32) -> Pdu {
        Pdu { command: GENERIC_NACK, status, sequence, body: Bytes::new() }
    }
}

/// The body that answers a bind: who we are, and that we speak 3.4.
pub(super) fn bound() -> Vec<u8> {
    let mut body = b"campaignd-smsc\0".to_vec();
    tlv(&mut body, INTERFACE_VERSION, &[0x34]);
    body
}

/// `system_id` and `password` of a bind.
pub(super) fn credentials(body: &Bytes) -> Option<(String, String)> {
    let mut body = body.clone();
    Some((text(&mut body)?, text(&mut body)?))
}

/// Which part of a long message this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    pub reference: u16,
    pub total: u8,
    /// From 1.
    pub number: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Submit {
    pub(super) source_ton: u8,
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) registered_delivery: u8,
    pub(super) data_coding: u8,
    pub(super) part: Option<Part>,
    /// Without its header.
    pub(super) content: Bytes,
}

impl Submit {
    /// None where the body ends too early.
    pub(super) fn read(body: &Bytes) -> Option<Submit> {
        let mut body = body.clone();
        text(&mut body)?;
        let source_ton = byte(&mut body)?;
        byte(&mut body)?;
        let source = text(&mut body)?;
        byte(&mut body)?;
        byte(&mut body)?;
        let destination = text(&mut body)?;
        let esm_class = byte(&mut body)?;
        byte(&mut body)?;
        byte(&mut body)?;
        text(&mut body)?;
        text(&mut body)?;
        let registered_delivery = byte(&mut body)?;
        byte(&mut body)?;
        let data_coding = byte(&mut body)?;
        byte(&mut body)?;
        let length = usize::from(byte(&mut body)?);
        let mut content = (length <= body.len()).then(|| body.split_to(length))?;
        let mut part = None;
        if esm_class & 0x40 != 0 {
            let length = usize::from(byte(&mut content)?);
            part = in_header((length <= content.len()).then(|| content.split_to(length))?);
        }
        let tlvs = Tlvs::read(body)?;
        part = part.or(tlvs.part());
        if let Some(payload) = tlvs.payload {
            content = payload;
        }
        Some(Submit { source_ton, source, destination, registered_delivery, data_coding, part, content })
    }
}

/// Concatenation with a reference of 8 or 16 bits (3GPP TS 23.040, sections 9.2.3.24.1 and 9.2.3.24.8).
fn in_header(mut header: Bytes) -> Option<Part> {
    loop {
        let (element, length) = (byte(&mut header)?, usize::from(byte(&mut header)?));
        let content = (length <= header.len()).then(|| header.split_to(length))?;
        match (element, &*content) {
            (0x00, [reference, total, number]) => {
                return Some(Part { reference: u16::from(*reference), total: *total, number: *number });
            }
            (0x08, [high, low, total, number]) => {
                let reference = u16::from_be_bytes([*high, *low]);
                return Some(Part { reference, total: *total, number: *number });
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Tlvs {
    reference: Option<u16>,
    total: Option<u8>,
    number: Option<u8>,
    payload: Option<Bytes>,
}

impl Tlvs {
    fn read(mut body: Bytes) -> Option<Tlvs> {
        let mut tlvs = Tlvs::default();
        while body.remaining() >= 4 {
            let (tag, length) = (body.get_u16(), usize::from(body.get_u16()));
            let value = (length <= body.len()).then(|| body.split_to(length))?;
            match (tag, &*value) {
                (SAR_REFERENCE, [high, low]) => tlvs.reference = Some(u16::from_be_bytes([*high, *low])),
                (SAR_TOTAL, [total]) => tlvs.total = Some(*total),
                (SAR_NUMBER, [number]) => tlvs.number = Some(*number),
                (MESSAGE_PAYLOAD, _) => tlvs.payload = Some(value),
                _ => {}
            }
        }
        Some(tlvs)
    }

    fn part(&self) -> Option<Part> {
        Some(Part { reference: self.reference?, total: self.total?, number: self.number? })
    }
}

/// What a `deliver_sm` carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deliver {
    pub(super) source: String,
    pub(super) destination: String,
    /// 0x04 for a receipt.
    pub(super) esm_class: u8,
    pub(super) data_coding: u8,
    pub(super) content: Vec<u8>,
    /// `receipted_message_id` and `message_state`.
    pub(super) receipt: Option<(String, u8)>,
}

impl Deliver {
    pub(super) fn written(&self, sequence: u32) -> Bytes {
        let mut body = vec![0, 1, 1];
        body.extend(self.source.bytes().chain([0, 1, 1]));
        body.extend(self.destination.bytes().chain([0]));
        // Protocol, priority, two empty times, registered_delivery, replace.
        body.extend([self.esm_class, 0, 0, 0, 0, 0, 0, self.data_coding, 0]);
        let length = u8::try_from(self.content.len()).unwrap_or(u8::MAX);
        body.push(length);
        body.extend_from_slice(self.content.get(..usize::from(length)).unwrap_or_default());
        if let Some((id, state)) = &self.receipt {
            tlv(&mut body, RECEIPTED_MESSAGE_ID, &[id.as_bytes(), b"\0"].concat());
            tlv(&mut body, MESSAGE_STATE, &[*state]);
        }
        Pdu { command: DELIVER_SM, status: 0, sequence, body: body.into() }.written()
    }
}

fn tlv(out: &mut Vec<u8>, tag: u16, value: &[u8]) {
    out.extend(tag.to_be_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(value);
}

fn byte(body: &mut Bytes) -> Option<u8> {
    body.has_remaining().then(|| body.get_u8())
}

/// A C-octet string.
fn text(body: &mut Bytes) -> Option<String> {
    let end = memchr::memchr(0, body)?;
    let text = body.split_to(end);
    body.advance(1);
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `captures/smpp.txt` has them, from smpplib's encoder.
    #[test]
    fn captured_pdus_are_read() {
        let raw = "0000001f000000090000000000000001757365720070617373000034000000\
                   0000003f0000000400000000000000020005004252414e4400010138363133383030303030303031000000000000010008000c30107b7e540d301100680069\
                   00000010000000150000000000000003";
        let mut input = BytesMut::from(&*hex::decode(raw).unwrap());
        let bind = Pdu::take(&mut input).unwrap().unwrap();
        assert_eq!((bind.command, bind.sequence), (BIND_TRANSCEIVER, 1));
        assert_eq!(credentials(&bind.body), Some(("user".to_owned(), "pass".to_owned())));
        let submit = Submit::read(&Pdu::take(&mut input).unwrap().unwrap().body).unwrap();
        assert_eq!((submit.source_ton, &*submit.source, &*submit.destination), (5, "BRAND", "8613800000001"));
        assert_eq!((submit.registered_delivery, submit.data_coding, submit.part), (1, 8, None));
        assert_eq!(&*submit.content, hex::decode("30107b7e540d301100680069").unwrap());
        let enquire = Pdu::take(&mut input).unwrap().unwrap();
        assert_eq!(enquire.written(), hex::decode("00000010000000150000000000000003").unwrap());
        assert_eq!(Pdu::take(&mut input), Ok(None));
        assert_eq!(Pdu::take(&mut BytesMut::from(&[0, 0, 0, 15][..])), Err(Lost));
    }

    #[test]
    fn a_body_cut_short_is_no_message() {
        let whole = hex::decode(
            "0005004252414e4400010138363133383030303030303031000000000000010008000c30107b7e540d301100680069",
        )
        .unwrap();
        for length in 0..whole.len() {
            assert_eq!(Submit::read(&Bytes::copy_from_slice(&whole[..length])), None, "{length}");
        }
    }
}
