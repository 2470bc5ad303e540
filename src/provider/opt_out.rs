//! Words by which recipients of SMS opt out.
//!
//! Whole answers only: a sentence that happens to hold such a word opts nobody out.

/// As carriers of mainland China, of the United States and of Europe know them, in capitals.
const WORDS: &[&str] = &[
    "R",
    "T",
    "TD",
    "N",
    "QX",
    "TUI",
    "退订",
    "取消",
    "拒收",
    "拒绝",
    "不要",
    "STOP",
    "STOPALL",
    "UNSUBSCRIBE",
    "CANCEL",
    "END",
    "QUIT",
];

/// Whether a reply opts out. Case, width, blanks and punctuation make no difference.
pub(super) fn opts_out(reply: &str) -> bool {
    // No word is longer; what is longer by far need not be looked at.
    let letters = reply.chars().map(narrow).filter(|c| c.is_alphanumeric()).take(16);
    let word: String = letters.flat_map(char::to_uppercase).collect();
    WORDS.contains(&word.as_str())
}

/// The ASCII character for its full-width form, as Chinese keyboards write them.
fn narrow(c: char) -> char {
    match u32::from(c) {
        code @ 0xFF01..=0xFF5E => char::from_u32(code - 0xFF01 + 0x21).unwrap_or(c),
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_opt_out_however_they_are_written() {
        for word in WORDS {
            assert!(opts_out(word), "{word}");
        }
        for written in [" td ", "Stop!", "退订。", "ＴＤ", "【退订】", "t", "stop\n", "S.T.O.P"] {
            assert!(opts_out(written), "{written}");
        }
        for other in ["", "!", "Thanks", "please stop", "不要了谢谢", "stopstopstopstopstop", "THE END", "0"]
        {
            assert!(!opts_out(other), "{other}");
        }
    }
}
