//! Characters over the air: the GSM 7-bit alphabet one septet an octet, UCS-2, Latin-1.

/// 3GPP TS 23.038, section 6.2.1, in the order of the codes; the escape stands for itself.
const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                   ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Its extension: what follows an escape.
const EXTENDED: [(u8, char); 10] = [
    (0x0a, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2f, '\\'),
    (0x3c, '['),
    (0x3d, '~'),
    (0x3e, ']'),
    (0x40, '|'),
    (0x65, '€'),
];
const ESCAPE: u8 = 0x1b;

/// What the recipient reads. Unknown characters and codings become U+FFFD.
pub(super) fn decode(data_coding: u8, content: &[u8]) -> String {
    match data_coding {
        0 => gsm(content),
        8 => {
            let units = content.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        3 => content.iter().map(|byte| char::from(*byte)).collect(),
        1 => String::from_utf8_lossy(content).into_owned(),
        _ => char::REPLACEMENT_CHARACTER.to_string(),
    }
}

fn gsm(content: &[u8]) -> String {
    let mut text = String::new();
    let mut escaped = false;
    for septet in content {
        if *septet == ESCAPE && !escaped {
            escaped = true;
            continue;
        }
        let found = if escaped {
            EXTENDED.iter().find(|(code, _)| code == septet).map(|(_, character)| *character)
        } else {
            GSM.chars().nth(usize::from(*septet))
        };
        escaped = false;
        text.push(found.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    text
}

/// ASCII that both alphabets share goes as it is, all else as UCS-2. The coding and the octets.
pub(super) fn encode(text: &str) -> (u8, Vec<u8>) {
    let shared = |c: char| c.is_ascii_alphanumeric() || " !\"#%&'()*+,-./:;<=>?".contains(c);
    if text.chars().all(shared) {
        return (0, text.as_bytes().to_vec());
    }
    (8, text.encode_utf16().flat_map(u16::to_be_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_all_its_codes() {
        assert_eq!(GSM.chars().count(), 128);
        assert_eq!(decode(0, b"hello \x1b\x65 \x00"), "hello € @");
        assert_eq!(decode(8, &[0x30, 0x10, 0xd8, 0x3d, 0xde, 0x00]), "【😀");
        assert_eq!(decode(3, b"\xe9"), "é");
        assert_eq!(encode("TD"), (0, b"TD".to_vec()));
        assert_eq!(encode("退"), (8, vec![0x90, 0x00]));
    }
}
