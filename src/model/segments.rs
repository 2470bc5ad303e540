//! How many messages an SMS is on the air: GSM 7-bit or UCS-2, whole or in concatenated parts.
//!
//! Source: 3GPP TS 23.038 (alphabets), TS 23.040 9.2.3.24.1 (concatenation with an 8-bit reference: six octets of every
//! part go to the header). Aliyun's own counting differs for long texts; what a provider charges is its own word.

/// What the characters of a text need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Septets.
    Gsm7,
    /// 16-bit units.
    Ucs2,
}

impl Alphabet {
    /// The narrowest alphabet that holds all of `text`.
    pub fn of(text: &str) -> Self {
        if text.chars().all(|c| septets(c).is_some()) { Alphabet::Gsm7 } else { Alphabet::Ucs2 }
    }

    /// Units of a text that goes as one message.
    fn whole(self) -> usize {
        match self {
            Alphabet::Gsm7 => 160,
            Alphabet::Ucs2 => 70,
        }
    }

    /// Units of each part of a longer one.
    fn part(self) -> usize {
        match self {
            Alphabet::Gsm7 => 153,
            Alphabet::Ucs2 => 67,
        }
    }

    fn units(self, c: char) -> usize {
        match self {
            Alphabet::Gsm7 => septets(c).map_or(1, |code| if code.escaped { 2 } else { 1 }),
            Alphabet::Ucs2 => c.len_utf16(),
        }
    }
}

/// A character's code in the GSM alphabet; `escaped` ones follow an ESC (0x1B).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Septet {
    pub code: u8,
    pub escaped: bool,
}

/// The basic table by code. 0x1B is the escape, which no text holds.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

const EXTENSION: [(char, u8); 10] = [
    ('\u{c}', 0x0A),
    ('^', 0x14),
    ('{', 0x28),
    ('}', 0x29),
    ('\\', 0x2F),
    ('[', 0x3C),
    ('~', 0x3D),
    (']', 0x3E),
    ('|', 0x40),
    ('€', 0x65),
];

/// `None` for what the GSM alphabet does not have.
pub fn septets(c: char) -> Option<Septet> {
    if c == '\u{1b}' {
        return None;
    }
    if c.is_ascii_alphanumeric() {
        return u8::try_from(c).ok().map(|code| Septet { code, escaped: false });
    }
    if let Some((_, code)) = EXTENSION.iter().find(|(extended, _)| *extended == c) {
        return Some(Septet { code: *code, escaped: true });
    }
    let code = BASIC.chars().position(|basic| basic == c)?;
    u8::try_from(code).ok().map(|code| Septet { code, escaped: false })
}

/// The parts of a text in order; never within a character.
pub fn split(text: &str) -> (Alphabet, Vec<&str>) {
    let alphabet = Alphabet::of(text);
    let units: usize = text.chars().map(|c| alphabet.units(c)).sum();
    if units <= alphabet.whole() {
        return (alphabet, vec![text]);
    }
    let (mut parts, mut rest, mut filled) = (Vec::new(), text, 0);
    let mut at = 0;
    for c in text.chars() {
        let units = alphabet.units(c);
        if filled + units > alphabet.part() {
            let (part, after) = rest.split_at(at);
            parts.push(part);
            (rest, at, filled) = (after, 0, 0);
        }
        at += c.len_utf8();
        filled += units;
    }
    parts.push(rest);
    (alphabet, parts)
}

/// How many messages a text is; at least 1.
pub fn count(text: &str) -> u32 {
    u32::try_from(split(text).1.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As npm's sms-segments-calculator 1.3 and PyPI's smsutil 1.1 count, which agree on each.
    #[test]
    fn counts_as_others_do() {
        let straddling = format!("{}€{}", "a".repeat(152), "a".repeat(10));
        let emoji = format!("{}😀{}", "中".repeat(66), "中".repeat(10));
        let rows = [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            (straddling.clone(), 2),
            ("中".repeat(70), 1),
            ("中".repeat(71), 2),
            ("中".repeat(134), 2),
            ("中".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            (emoji.clone(), 2),
            ("【花园商店】您好，再见".into(), 1),
            ("a`b".into(), 1),
            (String::new(), 1),
        ];
        for (text, expected) in rows {
            assert_eq!(count(&text), expected, "{text}");
        }
        let lengths = |text| split(text).1.iter().map(|part| part.chars().count()).collect::<Vec<_>>();
        assert_eq!(lengths(&straddling), [152, 11]);
        assert_eq!(lengths(&emoji), [66, 11]);
        assert_eq!(split("a`b").0, Alphabet::Ucs2);
    }

    #[test]
    fn the_table_has_128_places() {
        assert_eq!(BASIC.chars().count(), 128);
        assert_eq!(septets('@'), Some(Septet { code: 0, escaped: false }));
        assert_eq!(septets('§'), Some(Septet { code: 0x5F, escaped: false }));
        assert_eq!(septets('à'), Some(Septet { code: 0x7F, escaped: false }));
        for letter in ('a'..='z').chain('A'..='Z').chain('0'..='9') {
            let place = BASIC.chars().position(|basic| basic == letter);
            assert_eq!(place, Some(septets(letter).unwrap().code.into()), "{letter}");
        }
    }

    proptest! {
        #[test]
        fn parts_make_the_text_and_fit(text in "(\\PC|[a-z€\\n]){0,400}") {
            let (alphabet, parts) = split(&text);
            prop_assert_eq!(parts.concat(), text.as_str());
            let most = if parts.len() == 1 { alphabet.whole() } else { alphabet.part() };
            for part in parts {
                prop_assert!(part.chars().map(|c| alphabet.units(c)).sum::<usize>() <= most);
            }
        }
    }
}
