//! Strangers at the public listener with tokens of their own making: nothing is recorded, and nobody is led anywhere.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campaignd::model::{CampaignNo, ContactNo, DeliveryKey, LinkNo};
use campaignd::token::{Key, Keyring};
use hyper::Method;
use serde_json::json;

use crate::harness::chance::dice;
use crate::harness::http::KeptAlive;
use crate::harness::shop::{ONLY_PEOPLE, Shop, campaign};
use crate::services::wait::eventually;

const TOKENS: usize = 100_000;
const PEERS: usize = 8;
const ROUTES: [(Method, &str); 5] =
    [(Method::GET, "o"), (Method::GET, "c"), (Method::GET, "u"), (Method::POST, "u"), (Method::HEAD, "c")];

/// Makes tokens that are not ours out of ones that are.
struct Forger {
    dice: fastrand::Rng,
    /// True tokens by their route.
    true_ones: Vec<(&'static str, String)>,
    /// Signs well, with another key.
    stranger: Keyring,
}

impl Forger {
    /// A token for this route that must not pass there.
    fn forge(&mut self, route: &str) -> String {
        let (kind, token) = self.dice.choice(&self.true_ones).expect("some are true").clone();
        let forged = match self.dice.u8(0..10) {
            0 => self.random(),
            1 => token.chars().take(self.dice.usize(1..token.len())).collect(),
            2 => self.flipped(&token),
            3 => self.swapped(&token),
            4 => format!("{token}{}", self.letters(1..20)),
            5 if kind != route => token.clone(),
            5 | 6 => self.signed_by_a_stranger(route),
            7 => self.one_byte_more_or_less(&token),
            8 => self.nonsense(),
            _ => token.to_uppercase(),
        };
        if forged == token && kind == route { self.random() } else { forged }
    }

    fn letters(&mut self, length: std::ops::Range<usize>) -> String {
        let n = self.dice.usize(length);
        (0..n).map(|_| if self.dice.u8(0..8) == 0 { '-' } else { self.dice.alphanumeric() }).collect()
    }

    fn random(&mut self) -> String {
        self.letters(1..120)
    }

    /// One bit of the bytes behind the letters.
    fn flipped(&mut self, token: &str) -> String {
        let mut bytes = URL_SAFE_NO_PAD.decode(token).expect("a true token");
        let at = self.dice.usize(0..bytes.len());
        bytes[at] ^= 1 << self.dice.u8(0..8);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn swapped(&mut self, token: &str) -> String {
        let mut letters: Vec<char> = token.chars().collect();
        let (one, other) = (self.dice.usize(0..letters.len()), self.dice.usize(0..letters.len()));
        letters.swap(one, other);
        letters.into_iter().collect()
    }

    fn one_byte_more_or_less(&mut self, token: &str) -> String {
        let mut bytes = URL_SAFE_NO_PAD.decode(token).expect("a true token");
        let at = self.dice.usize(0..bytes.len());
        if self.dice.bool() {
            bytes.remove(at);
        } else {
            bytes.insert(at, self.dice.u8(..));
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Everything right but the key; a click that carries where it would lead.
    fn signed_by_a_stranger(&mut self, route: &str) -> String {
        let delivery = DeliveryKey {
            campaign: CampaignNo(self.dice.i64(1..4)),
            contact: ContactNo(self.dice.i64(1..4)),
            occurrence: 0,
        };
        let mut token = String::new();
        match route {
            "o" => self.stranger.mint_open(delivery, &mut token),
            "u" => self.stranger.mint_unsubscribe(delivery, &mut token),
            _ => {
                let url = self.dice.bool().then_some("https://evil.example/");
                assert!(self.stranger.mint_click(delivery, LinkNo(self.dice.u16(0..3)), url, &mut token));
            }
        }
        token
    }

    fn nonsense(&mut self) -> String {
        const PIECES: [&str; 9] = [
            "%00",
            "%2e%2e%2f",
            "https:%2F%2Fevil.example",
            "..",
            ";",
            "%ff%fe",
            "?url=//evil.example",
            "=",
            "/",
        ];
        let pieces: Vec<&str> = (0..6).filter_map(|_| self.dice.choice(PIECES)).collect();
        let longest = if self.dice.u8(0..50) == 0 { 2_000 } else { 40 };
        pieces.join(&self.letters(0..longest))
    }
}

/// The true tokens of a mail: its pixel's, its links', its unsubscribe link's.
fn tokens(mail: &crate::harness::mail::Mail) -> Vec<(&'static str, String)> {
    let urls = mail.links().into_iter().chain([mail.pixel()]);
    let parts = urls.filter_map(|url| {
        let (head, token) = url.rsplit_once('/')?;
        let route = ["o", "c", "u"].into_iter().find(|route| head.ends_with(&format!("/{route}")))?;
        Some((route, token.trim_end_matches(".gif").to_owned()))
    });
    parts.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_forgeries_record_nothing_and_lead_nowhere() {
    let shop = Shop::open(ONLY_PEOPLE).await;
    shop.people(2).await;
    shop.submit(campaign("spring", json!({}))).await;
    shop.books.finished("spring").await;
    let mails = shop.sink.mails();
    let true_ones: Vec<_> = mails.iter().flat_map(tokens).collect();
    assert_eq!(true_ones.len(), 8, "two links, the way out and the pixel of each: {true_ones:?}");
    let mut dice = dice();
    let public = shop.setup.public;
    let peers = (0..PEERS).map(|_| {
        let stranger = Keyring::new(Key::new(0, &[7; 32]), Vec::new());
        let forger = Forger { dice: dice.fork(), true_ones: true_ones.clone(), stranger };
        tokio::spawn(attack(public, forger))
    });
    let mut answers: BTreeMap<(String, u16), usize> = BTreeMap::new();
    for peer in peers.collect::<Vec<_>>() {
        for (answer, n) in peer.await.unwrap() {
            *answers.entry(answer).or_default() += n;
        }
    }
    println!("{TOKENS} forged tokens were answered {answers:?}");
    assert_eq!(answers.values().sum::<usize>(), TOKENS);
    let harmless = |(route, code): &(String, u16)| match route.as_str() {
        "GET o" => *code == 200 || (400..500).contains(code),
        _ => (400..500).contains(code),
    };
    assert!(answers.keys().all(harmless), "{answers:?}");

    // A true click after them is the first event that there is.
    assert_eq!(shop.follow(&mails[0].links()[0]).await.0, 302);
    let report = eventually("the click", async || {
        let report = shop.books.report("spring").await;
        (report.clicks.total > 0).then_some(report)
    })
    .await;
    let opens = report.opens.unwrap();
    assert_eq!((report.clicks.total, report.clicks.machine, opens.unique), (1, 0, 1));
    assert_eq!((opens.total + opens.machine, report.unsubscribes), (0, 0));
    shop.books.assert_balanced("spring").await;
}

/// One peer's share of the tokens; how each route answered.
async fn attack(server: std::net::SocketAddr, mut forger: Forger) -> BTreeMap<(String, u16), usize> {
    let mut answers = BTreeMap::new();
    let mut connection = KeptAlive::to(server);
    for n in 0..TOKENS / PEERS {
        let (method, route) = &ROUTES[n % ROUTES.len()];
        let path = format!("/{route}/{}", forger.forge(route));
        let answer = connection.send(method.clone(), &path).await.expect("an answer");
        assert!(!answer.headers().contains_key("location"), "{method} {path} leads away");
        *answers.entry((format!("{method} {route}"), answer.status().as_u16())).or_default() += 1;
    }
    answers
}
