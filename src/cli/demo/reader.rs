//! What people, and the machines around them, do with a message that they got: which of its links they follow, when,
//! with which program. Pure: the same message and seed make the same visits.

use std::time::Duration;

use fastrand::Rng;
use hyper::Method;
use serde::Deserialize;

use crate::model::Channel;

/// A message of the sandbox's mailbox, as `GET /sandbox/messages` tells it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Letter {
    pub(super) id: u64,
    pub(super) channel: Channel,
    pub(super) content: serde_json::Value,
    pub(super) unsubscribe_url: Option<String>,
    /// What the provider says of it later; one that bounced is in nobody's hands.
    receipts: Vec<String>,
}

/// One request to the public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    /// After the message arrived.
    pub(super) after: Duration,
    pub(super) method: Method,
    /// The path of a pixel, a link or an unsubscribe page.
    pub(super) path: String,
    pub(super) agent: &'static str,
    /// Announces itself as fetched ahead of a person.
    pub(super) prefetch: bool,
}

const BROWSERS: &[&str] = &[
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
];
/// Fetches pictures for Gmail's readers, read or not.
const IMAGE_PROXY: &str =
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";
/// A company's gateway, which follows every link before its people may.
const GATEWAY: &str = "Mozilla/5.0 (compatible; Proofpoint URL Defense)";

/// Shares out of a thousand of a channel's people.
struct Habits {
    opens: u32,
    /// Of those who opened, or of all where the channel has no pixel.
    clicks: u32,
    unsubscribes: u32,
}

fn habits(channel: Channel) -> Habits {
    match channel {
        Channel::Email => Habits { opens: 460, clicks: 290, unsubscribes: 12 },
        Channel::Sms => Habits { opens: 0, clicks: 110, unsubscribes: 0 },
        Channel::Wechat => Habits { opens: 0, clicks: 210, unsubscribes: 0 },
        Channel::Push => Habits { opens: 0, clicks: 70, unsubscribes: 0 },
    }
}

/// What becomes of `letter`, whose links lead to us where they begin with `public_url`.
pub(super) fn visits(letter: &Letter, public_url: &str, seed: u64) -> Vec<Visit> {
    if letter.receipts.iter().any(|receipt| receipt == "bounced") {
        return Vec::new();
    }
    let paths = Paths::of(letter, public_url);
    let mut rng = Rng::with_seed(seed ^ letter.id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut visits = machines(letter.channel, &paths, &mut rng);
    let habits = habits(letter.channel);
    let agent = BROWSERS.get(rng.usize(0..BROWSERS.len())).copied().unwrap_or(IMAGE_PROXY);
    let mut visit = |after: Duration, method: Method, path: &str| {
        visits.push(Visit { after, method, path: path.to_owned(), agent, prefetch: false });
    };
    let read = Duration::from_millis(rng.u64(1_500..7_000));
    if let Some(pixel) = &paths.pixel {
        if !share(&mut rng, habits.opens) {
            return visits;
        }
        visit(read, Method::GET, pixel);
    }
    let clicked = read + Duration::from_millis(rng.u64(300..2_500));
    if !paths.links.is_empty() && share(&mut rng, habits.clicks) {
        let first = rng.usize(0..paths.links.len());
        visit(clicked, Method::GET, &paths.links[first]);
        if paths.links.len() > 1 && share(&mut rng, 200) {
            // A second look at another link, too late for a machine that follows them all.
            let second = (first + 1) % paths.links.len();
            visit(clicked + Duration::from_millis(3_500), Method::GET, &paths.links[second]);
        }
    }
    if let Some(page) = &paths.unsubscribe
        && share(&mut rng, habits.unsubscribes)
    {
        visit(clicked, Method::GET, page);
        visit(clicked + Duration::from_secs(1), Method::POST, page);
    }
    visits
}

/// Proxies that load pictures and gateways that follow links; both come before a person could.
fn machines(channel: Channel, paths: &Paths, rng: &mut Rng) -> Vec<Visit> {
    let mut visits = Vec::new();
    let mut visit = |millis, method, path: &String, agent, prefetch| {
        let after = Duration::from_millis(millis);
        visits.push(Visit { after, method, path: path.clone(), agent, prefetch });
    };
    match channel {
        Channel::Email => {
            if let Some(pixel) = paths.pixel.as_ref().filter(|_| share(rng, 90)) {
                visit(200, Method::GET, pixel, IMAGE_PROXY, false);
            }
            if share(rng, 60) {
                paths.links.iter().for_each(|link| visit(150, Method::HEAD, link, GATEWAY, false));
            }
        }
        // Some phones show a preview of the link in a text.
        Channel::Sms | Channel::Wechat | Channel::Push if share(rng, 60) => {
            paths.links.iter().for_each(|link| visit(250, Method::GET, link, BROWSERS[0], true));
        }
        _ => {}
    }
    visits
}

fn share(rng: &mut Rng, of_a_thousand: u32) -> bool {
    rng.u32(0..1_000) < of_a_thousand
}

/// The paths in a message that lead to the public listener.
#[derive(Debug, Default, PartialEq, Eq)]
struct Paths {
    pixel: Option<String>,
    links: Vec<String>,
    unsubscribe: Option<String>,
}

impl Paths {
    fn of(letter: &Letter, public_url: &str) -> Paths {
        let mut paths = Paths::default();
        if let Some(url) = &letter.unsubscribe_url {
            paths.unsubscribe = url.strip_prefix(public_url).map(str::to_owned);
        }
        paths.search(&letter.content, public_url);
        paths
    }

    /// Reads every text of the content, as a mail program reads whatever it is shown.
    fn search(&mut self, content: &serde_json::Value, public_url: &str) {
        use serde_json::Value;
        match content {
            Value::String(text) => self.read(text, public_url),
            Value::Array(items) => items.iter().for_each(|item| self.search(item, public_url)),
            Value::Object(fields) => fields.values().for_each(|field| self.search(field, public_url)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn read(&mut self, text: &str, public_url: &str) {
        for rest in text.split(public_url).skip(1) {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/-_.".contains(c)));
            let path = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default().trim_end_matches('.');
            if path.starts_with("/o/") {
                self.pixel = Some(path.to_owned());
            } else if path.starts_with("/c/") && !self.links.iter().any(|link| link == path) {
                self.links.push(path.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const US: &str = "http://127.0.0.1:4711";

    fn letter(id: u64) -> Letter {
        serde_json::from_value(json!({
            "id": id, "channel": "email",
            "content": {
                "html": format!("<a href=\"{US}/c/One\">1</a> <a href='{US}/c/T-w_o'>2</a> \
                                 <a href=\"https://shop.example/c/x\">3</a><img src=\"{US}/o/Pix.gif\">"),
                "text": format!("See {US}/c/One. Leave: {US}/u/Gone"),
            },
            "unsubscribe_url": format!("{US}/u/Gone"), "outcome": "accepted", "receipts": ["delivered"],
        }))
        .unwrap()
    }

    #[test]
    fn a_reader_finds_what_leads_to_us() {
        let paths = Paths::of(&letter(1), US);
        assert_eq!(paths.pixel.as_deref(), Some("/o/Pix.gif"));
        assert_eq!(paths.links, ["/c/One", "/c/T-w_o"]);
        assert_eq!(paths.unsubscribe.as_deref(), Some("/u/Gone"));
        assert_eq!(Paths::of(&letter(1), "http://127.0.0.1:9"), Paths::default());
    }

    #[test]
    fn nobody_reads_what_bounced() {
        let bounced = |id| Letter { receipts: vec!["bounced".to_owned()], ..letter(id) };
        assert!((0..100).all(|id| visits(&bounced(id), US, 1).is_empty()));
    }

    #[test]
    fn people_come_after_machines_and_in_believable_shares() {
        let all: Vec<Vec<Visit>> = (0..2_000).map(|id| visits(&letter(id), US, 1)).collect();
        let people = |visit: &&Visit| !visit.prefetch && BROWSERS.contains(&visit.agent);
        let who = |path: &str, method: Method| {
            let did = |visits: &&Vec<Visit>| {
                visits.iter().filter(people).any(|it| it.path.starts_with(path) && it.method == method)
            };
            all.iter().filter(did).count()
        };
        let (opened, clicked) = (who("/o/", Method::GET), who("/c/", Method::GET));
        assert!((800..1_050).contains(&opened), "{opened}");
        assert!((200..350).contains(&clicked), "{clicked}");
        assert_eq!(who("/u/", Method::GET), who("/u/", Method::POST));
        assert!(who("/u/", Method::POST) > 0);
        let flat: Vec<&Visit> = all.iter().flatten().collect();
        let (human, machine): (Vec<&Visit>, Vec<&Visit>) = flat.iter().partition(|visit| people(visit));
        assert!(human.iter().all(|visit| visit.after >= Duration::from_millis(1_500)));
        assert!(!machine.is_empty() && machine.iter().all(|visit| visit.after < Duration::from_secs(1)));
        assert_eq!(visits(&letter(5), US, 1), visits(&letter(5), US, 1));
    }
}
