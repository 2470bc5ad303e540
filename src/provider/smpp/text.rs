//! Texts as octets: the GSM alphabet one septet an octet, UCS-2, and the header that joins the parts of a long message.

use bytes::{BufMut as _, Bytes};

use crate::model::segments::{Alphabet, septets, split};

const ESCAPE: u8 = 0x1B;
/// `data_coding` (SMPP 3.4, section 5.2.19): the provider's default alphabet, here taken for GSM's, and UCS-2.
const GSM7: u8 = 0;
const LATIN1: u8 = 3;
const UCS2: u8 = 8;
/// Most parts of one message: the header counts them in an octet.
const MOST_PARTS: usize = 255;

/// A text as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) data_coding: u8,
    /// With their headers, where there are several.
    pub(super) parts: Vec<Vec<u8>>,
}

/// None where the text has more than 255 parts. `reference` tells long messages to one recipient apart.
pub(super) fn encoded(text: &str, reference: u8) -> Option<Encoded> {
    let (alphabet, parts) = split(text);
    let total = u8::try_from(parts.len()).ok().filter(|total| usize::from(*total) <= MOST_PARTS)?;
    let data_coding = match alphabet {
        Alphabet::Gsm7 => GSM7,
        Alphabet::Ucs2 => UCS2,
    };
    let encode = |(number, part): (u8, &&str)| {
        let mut octets = Vec::with_capacity(160);
        if total > 1 {
            // 3GPP TS 23.040, section 9.2.3.24.1.
            octets.extend([5, 0, 3, reference, total, number]);
        }
        match alphabet {
            Alphabet::Gsm7 => gsm(part, &mut octets),
            Alphabet::Ucs2 => part.encode_utf16().for_each(|unit| octets.put_u16(unit)),
        }
        octets
    };
    Some(Encoded { data_coding, parts: (1..=total).zip(&parts).map(encode).collect() })
}

fn gsm(text: &str, octets: &mut Vec<u8>) {
    for septet in text.chars().filter_map(septets) {
        if septet.escaped {
            octets.push(ESCAPE);
        }
        octets.push(septet.code);
    }
}

/// What a recipient wrote, as far as words of opting out need it: letters, digits and Chinese.
pub(super) fn decoded(data_coding: u8, content: &[u8]) -> String {
    match data_coding {
        UCS2 => {
            let units = content.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        LATIN1 => content.iter().map(|octet| char::from(*octet)).collect(),
        // Letters and digits stand where ASCII has them; some send UTF-8.
        _ => String::from_utf8_lossy(content).into_owned(),
    }
}

/// Takes the user data header off; returns the number of the part, 1 where the content is whole.
pub(super) fn without_header(content: &Bytes) -> Option<(u8, Bytes)> {
    let length = usize::from(*content.first()?);
    let header = content.get(1..=length)?;
    Some((part_number(header).unwrap_or(1), content.slice(length + 1..)))
}

/// Of concatenation with a reference of 8 or 16 bits.
fn part_number(mut header: &[u8]) -> Option<u8> {
    while let [element, length, rest @ ..] = header {
        let (content, after) = rest.split_at_checked((*length).into())?;
        match (element, content) {
            (0x00, [_, _, number]) | (0x08, [_, _, _, number]) => return Some(*number),
            _ => header = after,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn alphabets_and_headers_are_as_captured() {
        let short = encoded("hello €@", 7).unwrap();
        assert_eq!((short.data_coding, short.parts), (0, vec![b"hello \x1b\x65\0".to_vec()]));
        // The captured message of two parts, split as smpplib did it.
        let long = encoded(&"【签名】双11大促".repeat(13), 176).unwrap();
        assert_eq!((long.data_coding, long.parts.len()), (8, 2));
        assert_eq!(long.parts[0][..8], [5, 0, 3, 176, 2, 1, 0x30, 0x10]);
        assert_eq!((long.parts[0].len(), long.parts[1].len()), (6 + 134, 6 + 2 * 50));
        assert_eq!(long.parts[1][..6], [5, 0, 3, 176, 2, 2]);
    }

    #[test]
    fn what_is_too_long_for_the_header_is_no_message() {
        assert_eq!(encoded(&"a".repeat(153 * 255), 0).unwrap().parts.len(), 255);
        assert_eq!(encoded(&"a".repeat(153 * 255 + 1), 0), None);
    }

    #[test]
    fn headers_are_taken_off() {
        let part = |content: &'static [u8]| without_header(&Bytes::from_static(content));
        assert_eq!(part(b"\x05\0\x03\x09\x02\x02TD"), Some((2, Bytes::from("TD"))));
        assert_eq!(part(b"\x06\x08\x04\x09\x09\x02\x01TD"), Some((1, Bytes::from("TD"))));
        assert_eq!(part(b"\x03\x24\x01\x01TD"), Some((1, Bytes::from("TD"))));
        for cut in [&b""[..], b"\x05\0\x03"] {
            assert_eq!(part(cut), None);
        }
    }

    proptest! {
        #[test]
        fn parts_fit_and_say_the_text(text in "(\\PC|[a-z€\\n]){0,400}", reference: u8) {
            let encoded = encoded(&text, reference).unwrap();
            let most = if encoded.data_coding == 8 { 140 } else { 160 };
            let several = encoded.parts.len() > 1;
            let mut octets = Vec::new();
            for part in &encoded.parts {
                prop_assert!(part.len() <= most);
                octets.extend_from_slice(&part[if several { 6 } else { 0 }..]);
            }
            if encoded.data_coding == 8 {
                prop_assert_eq!(decoded(8, &octets), text);
            }
        }
    }
}
