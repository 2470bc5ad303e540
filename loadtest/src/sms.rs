//! What all simulators of SMS providers know: numbers, and in how many parts a text goes over the air.

/// Characters of the GSM 7-bit default alphabet (3GPP TS 23.038, section 6.2.1) beyond ASCII letters and digits.
const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
/// Its extension table: an escape and a septet.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// The parts of a text: 160 septets or 70 UTF-16 units alone, 153 or 67 in each of several.
pub fn segments(text: &str) -> u32 {
    let septets = |c: char| match c {
        _ if c.is_ascii_alphanumeric() || GSM.contains(c) => Some(1),
        _ if EXTENDED.contains(c) => Some(2),
        _ => None,
    };
    match text.chars().map(septets).collect::<Option<Vec<u32>>>() {
        Some(units) => parts(&units, 160, 153),
        None => {
            let units: Vec<u32> = text.chars().map(|c| if c > '\u{ffff}' { 2 } else { 1 }).collect();
            parts(&units, 70, 67)
        }
    }
}

/// Characters of these sizes, none of them split, in parts.
fn parts(units: &[u32], alone: u32, each: u32) -> u32 {
    if units.iter().sum::<u32>() <= alone {
        return 1;
    }
    let (mut parts, mut used) = (1, 0);
    for size in units {
        if used + size > each {
            parts += 1;
            used = 0;
        }
        used += size;
    }
    parts
}

/// Whether this can be a number: 5 to 20 digits, after `+` or `00` with a country code; in mainland China (`86`, or
/// eleven digits that begin with 1) those of a mobile.
pub fn plausible(number: &str) -> bool {
    let international = number.strip_prefix('+').or_else(|| number.strip_prefix("00"));
    let digits = international.unwrap_or(number);
    let chinese = match digits.strip_prefix("86") {
        Some(national) if international.is_some() || national.len() == 11 => Some(national),
        _ => (international.is_none() && digits.starts_with('1')).then_some(digits),
    };
    let mobile = |digits: &str| {
        digits.len() == 11 && digits.starts_with('1') && matches!(digits.as_bytes()[1], b'3'..=b'9')
    };
    (5..=20).contains(&digits.len())
        && digits.bytes().all(|c| c.is_ascii_digit())
        && chinese.is_none_or(mobile)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of `captures/sms_segmentation.txt`, on which two libraries agree.
    #[test]
    fn parts_are_counted_as_others_count_them() {
        let a = |n| "a".repeat(n);
        for (text, wanted) in [
            (a(160), 1),
            (a(161), 2),
            (a(306), 2),
            (a(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            (a(152) + "€" + &a(10), 2),
            ("中".repeat(70), 1),
            ("中".repeat(71), 2),
            ("中".repeat(134), 2),
            ("中".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            ("中".repeat(66) + "😀" + &"中".repeat(10), 2),
            ("a`b".to_owned(), 1),
        ] {
            assert_eq!(segments(&text), wanted, "{text}");
        }
    }

    #[test]
    fn numbers_of_mainland_china_are_looked_at_closely() {
        for good in [
            "13800000001",
            "+8613800000001",
            "008613800000001",
            "8613800000001",
            "+15558675310",
            "85212345678",
        ] {
            assert!(plausible(good), "{good}");
        }
        for bad in ["", "12000000001", "1380000000", "+861380000000", "abc", "+86123", "1234"] {
            assert!(!plausible(bad), "{bad}");
        }
    }
}
