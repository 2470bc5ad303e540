//! The people of the demo: invented, believable, and the same for the same seed and number.
//!
//! Mail domains are reserved for examples (RFC 2606); names, cities and numbers belong to nobody in particular.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::json;

use crate::model::Channel;
use crate::model::contact::{Consent, Contact, ContactAddress};

/// The app that WeChat openids and push tokens belong to.
const APP: &str = "garden-shop";
/// Out of a hundred addresses, those whose owner agreed to marketing.
const AGREED: u32 = 88;

/// Where some of the people live, and what they are called there.
struct Place {
    /// Its share of all people.
    weight: u32,
    locale: &'static str,
    timezone: &'static str,
    cities: &'static [&'static str],
    /// As written, and as in a mail address.
    given: &'static [(&'static str, &'static str)],
    family: &'static [(&'static str, &'static str)],
    family_first: bool,
    /// How a mobile number begins, and how many digits follow.
    phone: (&'static str, usize),
    /// Out of a hundred people, those who follow the shop on WeChat.
    on_wechat: u32,
}

const PLACES: &[Place] = &[
    Place {
        weight: 36,
        locale: "zh-CN",
        timezone: "Asia/Shanghai",
        cities: &["上海", "北京", "广州", "深圳", "成都", "杭州"],
        given: &[
            ("伟", "wei"),
            ("芳", "fang"),
            ("秀英", "xiuying"),
            ("娜", "na"),
            ("子轩", "zixuan"),
            ("静", "jing"),
            ("磊", "lei"),
            ("敏", "min"),
            ("婷婷", "tingting"),
            ("勇", "yong"),
        ],
        family: &[
            ("王", "wang"),
            ("李", "li"),
            ("张", "zhang"),
            ("刘", "liu"),
            ("陈", "chen"),
            ("杨", "yang"),
            ("黄", "huang"),
            ("赵", "zhao"),
            ("吴", "wu"),
            ("欧阳", "ouyang"),
        ],
        family_first: true,
        phone: ("+86199", 8),
        on_wechat: 82,
    },
    Place {
        weight: 24,
        locale: "en-US",
        timezone: "America/New_York",
        cities: &["New York", "Boston", "Chicago", "Austin", "Seattle"],
        given: &[
            ("Emma", "emma"),
            ("Liam", "liam"),
            ("Olivia", "olivia"),
            ("Noah", "noah"),
            ("Ava", "ava"),
            ("James", "james"),
            ("LaToya", "latoya"),
            ("Mary-Jane", "mj"),
            ("Xander", "xander"),
        ],
        family: &[
            ("Smith", "smith"),
            ("Johnson", "johnson"),
            ("O'Reilly", "oreilly"),
            ("Garcia", "garcia"),
            ("Brown", "brown"),
            ("Nguyen", "nguyen"),
            ("McDonald", "mcdonald"),
            ("Davis", "davis"),
        ],
        family_first: false,
        phone: ("+1212555", 4),
        on_wechat: 4,
    },
    Place {
        weight: 20,
        locale: "de-DE",
        timezone: "Europe/Berlin",
        cities: &["Berlin", "Hamburg", "München", "Köln", "Leipzig"],
        given: &[
            ("Jürgen", "juergen"),
            ("Änne", "aenne"),
            ("Björn", "bjoern"),
            ("Käthe", "kaethe"),
            ("Lukas", "lukas"),
            ("Mia", "mia"),
            ("Sophie", "sophie"),
            ("Max", "max"),
        ],
        family: &[
            ("Müller", "mueller"),
            ("Groß", "gross"),
            ("Öztürk", "oeztuerk"),
            ("Weiß", "weiss"),
            ("Schneider", "schneider"),
            ("Fischer", "fischer"),
            ("von Hohenegg", "hohenegg"),
        ],
        family_first: false,
        phone: ("+4915200", 6),
        on_wechat: 3,
    },
    Place {
        weight: 10,
        locale: "fr-FR",
        timezone: "Europe/Paris",
        cities: &["Paris", "Lyon", "Marseille"],
        given: &[("Zoé", "zoe"), ("François", "francois"), ("Anaïs", "anais"), ("Noël", "noel")],
        family: &[
            ("Lefèvre", "lefevre"),
            ("d'Aubigné", "daubigne"),
            ("Martin", "martin"),
            ("Petit", "petit"),
        ],
        family_first: false,
        phone: ("+336399", 5),
        on_wechat: 2,
    },
    Place {
        weight: 10,
        locale: "ja-JP",
        timezone: "Asia/Tokyo",
        cities: &["東京", "大阪", "京都"],
        given: &[("太郎", "taro"), ("花子", "hanako"), ("さくら", "sakura"), ("健", "ken")],
        family: &[("山田", "yamada"), ("佐藤", "sato"), ("鈴木", "suzuki"), ("髙橋", "takahashi")],
        family_first: true,
        phone: ("+8190", 8),
        on_wechat: 6,
    },
];

/// The first `n` people of a seed, `P-00001` and on.
pub(super) fn people(n: usize, seed: u64) -> Vec<Contact> {
    let mut rng = Rng::with_seed(seed);
    (1..=n).map(|number| person(number, &mut rng)).collect()
}

fn person(number: usize, rng: &mut Rng) -> Contact {
    let place = place(rng);
    let (given, given_latin) = choice(rng, place.given);
    let (family, family_latin) = choice(rng, place.family);
    let name = if place.family_first { format!("{family}{given}") } else { format!("{given} {family}") };
    let tier = *choice(rng, &["gold", "silver", "silver", "bronze", "bronze", "bronze"]);
    let mut tags = vec!["garden".to_owned()];
    if happens(rng, 60) {
        tags.push("newsletter".to_owned());
    }
    if place.on_wechat > 50 || happens(rng, 20) {
        tags.push("member".to_owned());
    }
    let attributes = BTreeMap::from([
        ("name".to_owned(), json!(name)),
        ("city".to_owned(), json!(choice(rng, place.cities))),
        ("tier".to_owned(), json!(tier)),
        ("points".to_owned(), json!(rng.u32(0..5_000))),
    ]);
    let mut addresses = Vec::new();
    if happens(rng, 95) {
        let domain = choice(rng, &["example.com", "example.org", "example.net", "mail.example"]);
        // Now and then a family shares an inbox: the address stays with its first owner.
        let owner = if number > 1 && happens(rng, 1) { number - 1 } else { number };
        addresses.push(address(rng, Channel::Email, format!("{given_latin}.{family_latin}{owner}@{domain}")));
    }
    if happens(rng, 72) {
        let (prefix, digits) = place.phone;
        let line = unique(number, digits);
        addresses.push(address(rng, Channel::Sms, format!("{prefix}{line}")));
    }
    if happens(rng, place.on_wechat) {
        let openid: String = (0..22).map(|_| rng.alphanumeric()).collect();
        addresses.push(address(rng, Channel::Wechat, format!("oDemo-{openid}")));
    }
    if happens(rng, 55) {
        let token = format!("{:032x}{:032x}", rng.u128(..), rng.u128(..));
        addresses.push(address(rng, Channel::Push, token));
    }
    Contact {
        external_id: id(number),
        attributes,
        tags: Some(tags),
        locale: Some(place.locale.to_owned()),
        timezone: Some(place.timezone.to_owned()),
        addresses: Some(addresses),
    }
}

/// The external id of a person.
pub(super) fn id(number: usize) -> String {
    format!("P-{number:05}")
}

fn address(rng: &mut Rng, channel: Channel, address: String) -> ContactAddress {
    let app = if matches!(channel, Channel::Wechat | Channel::Push) { APP.to_owned() } else { String::new() };
    let consent = happens(rng, AGREED).then_some(Consent::Given);
    ContactAddress { channel, address, app, consent }
}

/// A line of that many digits or more, another for each number.
fn unique(number: usize, digits: usize) -> String {
    format!("{number:0digits$}")
}

fn place(rng: &mut Rng) -> &'static Place {
    let mut left = rng.u32(0..PLACES.iter().map(|place| place.weight).sum());
    let found = PLACES.iter().find(|place| match left.checked_sub(place.weight) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    found.unwrap_or(const { &PLACES[0] })
}

fn choice<'a, T>(rng: &mut Rng, of: &'a [T]) -> &'a T {
    &of[rng.usize(0..of.len())]
}

fn happens(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(0..100) < percent
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn people_are_valid_and_of_every_kind() {
        let people = people(3_000, 1);
        let mut phones = BTreeSet::new();
        for person in &people {
            let mut checked = person.clone();
            assert_eq!(checked.canonicalize(), Ok(()), "{person:?}");
            for address in person.addresses.iter().flatten() {
                assert!(address.channel != Channel::Sms || phones.insert(address.address.clone()));
            }
        }
        let having = |channel: Channel, consent: bool| {
            let has = |person: &&Contact| {
                person
                    .addresses
                    .iter()
                    .flatten()
                    .any(|it| it.channel == channel && it.consent.is_some() == consent)
            };
            people.iter().filter(has).count()
        };
        for channel in Channel::ALL {
            assert!(having(*channel, true) > 500 && having(*channel, false) > 50, "{channel}");
            assert!(having(*channel, true) + having(*channel, false) < 3_000, "{channel}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_people() {
        assert_eq!(people(50, 7), people(50, 7));
        assert_eq!(people(50, 7)[..20], people(20, 7));
        assert_ne!(people(50, 7), people(50, 8));
    }
}
