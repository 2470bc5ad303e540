//! Fuzz targets: what must hold of every input that strangers can send, whatever its bytes.
//!
//! A target is a name and a check that panics where something does not hold. libFuzzer calls it (`fuzz/`), and so do the
//! ordinary tests, for every seed in `fuzz/seeds`. Checks of what only one module can see stand in that module, in a
//! file `fuzzing.rs` of its own. None of this is part of the daemon: it is built for tests and for fuzzing alone.

mod hooks;
mod jobs;
mod mails;
mod rows;
mod settings;
mod templates;
#[cfg(test)]
mod tests;
mod tokens;

use crate::model::Receipt;
use crate::model::receipt::About;
use crate::provider::{smpp, smtp, wechat};

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 12] = [
    ("bounce", mails::bounce),
    ("config", settings::config),
    ("contacts", rows::contacts),
    ("filter", jobs::filter),
    ("hook", hooks::hook),
    ("job", jobs::job),
    ("smpp", smpp::fuzzing::pdus),
    ("smtp_reply", smtp::fuzzing::replies),
    ("template", templates::template),
    ("token", tokens::token),
    ("wechat_envelope", wechat::fuzzing::envelope),
    ("wechat_xml", wechat::fuzzing::notice),
];

/// Checks one input.
///
/// # Panics
/// Where what must hold does not, and where there is no such target.
pub fn check(target: &str, input: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    let (_, check) = found.unwrap_or_else(|| panic!("`{target}` is no target"));
    check(input);
}

/// The bytes as reads might bring them: in pieces of 1 to 32 bytes, as `seed` says.
pub(crate) fn pieces(mut bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut dice = fastrand::Rng::with_seed(seed.into());
    std::iter::from_fn(move || {
        let length = dice.usize(1..=32).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Holds of what is kept of others' words: short, on one line.
pub(crate) fn assert_kept_words(detail: Option<&str>) {
    let detail = detail.unwrap_or_default();
    assert!(detail.len() <= 200 && !detail.contains(char::is_control), "{detail:?}");
}

/// Holds of every receipt: each store keeps it, and its hour is one that reports show.
pub(crate) fn assert_kept(receipt: &Receipt) {
    assert_kept_words(receipt.detail.as_deref());
    assert!(receipt.at.as_second() >= 946_684_800, "{receipt:?}");
    let name = match &receipt.about {
        About::Reference { reference, .. } => reference,
        About::Address { address, .. } => address,
        About::Delivery(_) => return,
    };
    assert!(!name.contains('\0'), "{receipt:?}");
}
