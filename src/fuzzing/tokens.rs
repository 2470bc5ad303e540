//! Tracking tokens.

use crate::model::{CampaignNo, ContactNo, DeliveryKey, LinkNo};
use crate::token::{Claims, Key, Keyring, Kind, MAX_URL};

const KINDS: [Kind; 3] = [Kind::Open, Kind::Click, Kind::Unsubscribe];

/// What was not signed is never believed; what was signed says what was signed, and nothing else once it is damaged.
pub(super) fn token(input: &[u8]) {
    let ring = Keyring::new(Key::new(2, &[7; 32]), vec![Key::new(1, &[9; 32])]);
    let text = String::from_utf8_lossy(input);
    assert_unknown(&ring, &text);

    let Some((numbers, url)) = input.split_first_chunk::<27>() else { return };
    let number = |at: usize| numbers[at..].first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes));
    let delivery = DeliveryKey {
        campaign: CampaignNo(number(0)),
        contact: ContactNo(number(8)),
        occurrence: number(16),
    };
    let link = LinkNo(u16::from_le_bytes([numbers[24], numbers[25]]));
    let url = std::str::from_utf8(url).ok().filter(|url| !url.is_empty() && url.len() <= MAX_URL);
    let damage = usize::from(numbers[26]);

    let (mut open, mut click, mut unsubscribe) = (String::new(), String::new(), String::new());
    ring.mint_open(delivery, &mut open);
    ring.mint_unsubscribe(delivery, &mut unsubscribe);
    assert!(ring.mint_click(delivery, link, url, &mut click));
    for (kind, token) in KINDS.into_iter().zip([&open, &click, &unsubscribe]) {
        let clicked = kind == Kind::Click;
        let claims = Claims {
            delivery,
            link: clicked.then_some(link),
            url: url.filter(|_| clicked).map(str::to_owned),
        };
        assert_eq!(ring.verify(kind, token), Some(claims));
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            assert_eq!(ring.verify(other, token), None, "{kind:?} as {other:?}");
        }
        assert_eq!(ring.verify_bounce(token), None);
        damaged(token, damage).for_each(|token| assert_unknown(&ring, &token));
    }

    let mut bounce = String::new();
    ring.mint_bounce(delivery, &mut bounce);
    assert_eq!(ring.verify_bounce(&bounce), Some(delivery));
    assert_eq!(ring.verify_bounce(&bounce.to_ascii_uppercase()), Some(delivery));
    let damaged = damaged(&bounce, damage).filter(|token| !token.eq_ignore_ascii_case(&bounce));
    damaged.for_each(|token| assert_unknown(&ring, &token));
}

fn assert_unknown(ring: &Keyring, token: &str) {
    for kind in KINDS {
        assert_eq!(ring.verify(kind, token), None, "{kind:?} {token:?}");
    }
    assert_eq!(ring.verify_bounce(token), None, "{token:?}");
}

/// Cut short, made longer, and with each of some letters replaced.
fn damaged(token: &str, damage: usize) -> impl Iterator<Item = String> {
    let replaced = (0..token.len()).skip(damage % 7).step_by(7).map(move |at| {
        let spare = if token.as_bytes().get(at) == Some(&b'A') { 'B' } else { 'A' };
        let mut text = token.to_owned();
        text.replace_range(at..=at, spare.encode_utf8(&mut [0; 4]));
        text
    });
    let cut = (0..token.len()).rev().take(24).filter_map(|end| Some(token.get(..end)?.to_owned()));
    replaced.chain(cut).chain([format!("{token}A"), format!("{token}="), format!("a{token}")])
}
