//! A provider's words as they may be kept: on one line, cut short, without e-mail addresses.

use crate::model::address;

/// Bytes that are kept at most.
const LONGEST: usize = 200;

/// The words with addresses masked and control characters as blanks, at most 200 bytes.
pub(super) fn masked(words: &str) -> String {
    let mut detail = String::with_capacity(words.len().min(LONGEST));
    let delimiter = |c: char| c.is_whitespace() || c.is_control() || "<>()[]{}\"',;:=".contains(c);
    for word in words.split_inclusive(delimiter) {
        let bare = word.trim_end_matches(delimiter);
        if bare.contains('@') {
            detail.push_str(&address::masked(bare));
        } else {
            detail.push_str(bare);
        }
        detail.extend(
            word.chars().rev().take_while(|c| delimiter(*c)).map(|c| if c.is_control() { ' ' } else { c }),
        );
        if detail.len() > LONGEST {
            break;
        }
    }
    let end = (0..=LONGEST).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or(0);
    detail.truncate(end);
    detail.truncate(detail.trim_end().len());
    detail
}
