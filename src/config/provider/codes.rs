//! `[providers.NAME.codes]`: what a provider's codes mean, where its operator knows better than the built-in tables.
//! Carriers publish no lists, and providers of SMPP number their errors as they like.

use std::collections::BTreeMap;

use crate::config::reader::Table;

/// What a code says of a message, in an answer or in a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeClass {
    /// No such number: nothing goes there any more.
    HardBounce,
    /// Switched off, suspended, out of reach: says nothing about tomorrow.
    SoftBounce,
    /// The recipient told the provider to be left alone.
    OptedOut,
    /// The number cannot be reached this way.
    Blocked,
    /// What was rendered for this recipient.
    Content,
    /// The template or the signature, whoever gets it.
    Template,
    Account,
    /// The account is too fast.
    Throttled,
    /// This recipient gets no more for a while.
    Later,
    /// The provider, or the carrier, has trouble of its own.
    Retry,
    /// Says nothing of whether the message was sent.
    Unknown,
}

const CLASSES: &[(&str, CodeClass)] = &[
    ("hard_bounce", CodeClass::HardBounce),
    ("soft_bounce", CodeClass::SoftBounce),
    ("opted_out", CodeClass::OptedOut),
    ("blocked", CodeClass::Blocked),
    ("content", CodeClass::Content),
    ("template", CodeClass::Template),
    ("account", CodeClass::Account),
    ("throttled", CodeClass::Throttled),
    ("later", CodeClass::Later),
    ("retry", CodeClass::Retry),
    ("unknown", CodeClass::Unknown),
];

/// Codes as the configuration classifies them; they go before the built-in tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codes(BTreeMap<String, CodeClass>);

impl Codes {
    /// Whatever the code's case, and the zeros after a `0x`.
    pub fn get(&self, code: &str) -> Option<CodeClass> {
        if self.0.is_empty() { None } else { self.0.get(&plain(code)).copied() }
    }
}

impl<'c> FromIterator<(&'c str, CodeClass)> for Codes {
    fn from_iter<I: IntoIterator<Item = (&'c str, CodeClass)>>(codes: I) -> Self {
        Codes(codes.into_iter().map(|(code, class)| (plain(code), class)).collect())
    }
}

fn plain(code: &str) -> String {
    let code = code.trim().to_ascii_uppercase();
    match code.strip_prefix("0X").and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
        Some(number) => format!("0X{number:X}"),
        None => code,
    }
}

pub(super) fn codes(table: &mut Table<'_>) -> Codes {
    let named = table.named_words("codes", CLASSES);
    named.iter().map(|(code, class)| (code.as_str(), *class)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_however_they_are_written() {
        let codes: Codes =
            [("mk:0001", CodeClass::Later), ("0x0000045a", CodeClass::Retry)].into_iter().collect();
        for (code, class) in [
            ("MK:0001", Some(CodeClass::Later)),
            (" mk:0001", Some(CodeClass::Later)),
            ("0x45A", Some(CodeClass::Retry)),
            ("45A", None),
            ("MK:000", None),
            ("", None),
        ] {
            assert_eq!(codes.get(code), class, "{code}");
        }
    }
}
