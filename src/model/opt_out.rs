//! Whether a recipient's reply by text message asks for silence.

/// What people send to opt out, in the form that [`opts_out`] brings replies into. Chinese carriers and services use
/// `R`, `T`, `TD`, `N` and `QX`, American ones the English words.
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

/// Whether the whole of the reply is one of the words, whatever its case, width and punctuation. A word inside of a
/// sentence is none: who writes sentences wants to be read.
pub fn opts_out(reply: &str) -> bool {
    let bare: String = reply.chars().map(half_width).filter(|c| !is_punctuation(*c)).collect();
    let bare = bare.trim().to_uppercase();
    WORDS.contains(&bare.as_str())
}

/// Full-width forms of ASCII as ASCII (Unicode, block "Halfwidth and Fullwidth Forms"), and the wide space.
pub(super) fn half_width(c: char) -> char {
    match c {
        '\u{3000}' => ' ',
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        _ => c,
    }
}

pub(super) fn is_punctuation(c: char) -> bool {
    let general = ('\u{2010}'..='\u{2027}').contains(&c) || ('\u{2030}'..='\u{205E}').contains(&c);
    let chinese = ('\u{3001}'..='\u{3003}').contains(&c) || ('\u{3008}'..='\u{301F}').contains(&c);
    c.is_ascii_punctuation() || general || chinese || matches!(c, '·' | '¡' | '¿' | '«' | '»' | '｡' | '､')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_count_in_every_spelling() {
        for reply in [
            "R",
            "r",
            " Ｒ ",
            "TD",
            "td。",
            "Ｔｄ！",
            "「退订」",
            "【退订】",
            "退订　",
            "'STOP'",
            "stop.",
            "Stop!!",
            "S.T.O.P",
            "“unsubscribe”",
            "\nQUIT\n",
            "…拒收",
            "不要，",
        ] {
            assert!(opts_out(reply), "{reply}");
        }
    }

    #[test]
    fn every_word_of_the_trade_opts_out() {
        for word in
            "R T TD N QX TUI 退订 取消 拒收 拒绝 不要 STOP STOPALL UNSUBSCRIBE CANCEL END QUIT".split(' ')
        {
            assert!(opts_out(word), "{word}");
        }
    }

    #[test]
    fn sentences_and_other_words_do_not() {
        for reply in
            ["", "。", "请退订", "stop it", "S T O P", "RR", "NO", "Y", "please stop", "1", "END OF MAY"]
        {
            assert!(!opts_out(reply), "{reply}");
        }
    }

    proptest! {
        #[test]
        fn width_and_frame_make_no_difference(
            word in proptest::sample::select(WORDS), frame in "[ .!?。，！\u{3000}]{0,4}", wide: bool,
        ) {
            let widened = |c: char| match c {
                '!'..='~' if wide => char::from_u32(u32::from(c) + 0xFEE0).unwrap(),
                _ => c,
            };
            let reply: String = word.to_lowercase().chars().map(widened).collect();
            let framed = [&*frame, &reply, &frame].concat();
            prop_assert!(opts_out(&framed));
            let doubled = [&*framed, &framed].concat();
            prop_assert!(!opts_out(&doubled));
        }

        #[test]
        fn nothing_makes_it_fail(reply in ".*") {
            opts_out(&reply);
        }
    }
}
