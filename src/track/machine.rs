//! Machine or human: version 1 of the rules, by which scanners, previews and proxies are told from people.
//!
//! Pure but for two bounded windows, which are this process's own: behind a load balancer each daemon sees its share.
//! Verdicts mark events and drop none. Rules judge by the event's own time, so that a late judgement is the same one.

use std::time::Duration;

use axum::http::{HeaderMap, Method, header};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use super::Delivered;
use super::window::Window;
use crate::model::event::MachineRule;
use crate::model::{ContactNo, DeliveryKey, Event, LinkNo};

/// Clicks remembered for [`MachineRule::EveryLink`]: some 5,000 a second over the usual 3 s.
const CLICKS_REMEMBERED: usize = 16 * 1024;

/// Touches remembered for [`MachineRule::SharedAddress`]: some 2,000 a second over its minute. Beyond, the rule sees a
/// shorter stretch and grows lenient.
const TOUCHES_REMEMBERED: usize = 128 * 1024;

/// A delivery this long after its event was settled long after it took place, by a rescue or a late receipt: nobody knows
/// how soon the event came. Gateways that look before they accept do so within seconds.
const SETTLED_LATE: SignedDuration = SignedDuration::from_mins(1);

const ADDRESS_SPAN: SignedDuration = SignedDuration::from_mins(1);

/// Parts of the User-Agent, in lower case, by which known machines name themselves. Left out on purpose: Apple's mail
/// privacy proxy (it names no one), Outlook's `ms-office` (a person's Outlook says so, too), curl.
const KNOWN_AGENTS: &[&str] = &[
    // "(via ggpht.com GoogleImageProxy)": Gmail's image proxy, https://www.scientiamobile.com/what-is-google-image-proxy/
    "googleimageproxy",
    // Gmail's prefetch ahead of the open, https://bird.com/blog/gmail-prefetching-images
    "edge/12.246 mozilla/5.0",
    // Yahoo's image proxy, https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html
    "yahoomailproxy",
    // Gateways that follow links before or after delivery, by their products' names.
    "safelinks",
    "barracuda",
    "proofpoint",
    "mimecast",
    // https://www.bing.com/webmasters/help/which-crawlers-does-bing-use-8c184ec0
    "bingbot",
    "bingpreview",
    // Slackbot, Slackbot-LinkExpanding and Slack-ImgProxy, https://api.slack.com/robots
    "slackbot",
    "slack-imgproxy",
    // https://developers.facebook.com/docs/sharing/webmasters/web-crawlers; iMessage's preview names it, too.
    "facebookexternalhit",
    // WhatsApp's preview is "WhatsApp/2..."; links that people tap open in their browser.
    "whatsapp/",
    // https://developer.x.com/en/docs/x-for-websites/cards/guides/getting-started
    "twitterbot",
];

/// What a request says of itself: `HEAD` or a prefetch header, else a known agent.
pub(super) fn confessed(method: &Method, headers: &HeaderMap) -> Option<MachineRule> {
    if *method == Method::HEAD || prefetches(headers) {
        return Some(MachineRule::Prefetch);
    }
    let agent = String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes()).to_ascii_lowercase();
    KNOWN_AGENTS.iter().any(|name| agent.contains(name)).then_some(MachineRule::KnownAgent)
}

/// `Sec-Purpose: prefetch;prerender` (Fetch standard), and its forerunners in older browsers.
fn prefetches(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"].iter().any(|&name| {
        headers.get_all(name).iter().any(|value| {
            let value = value.as_bytes().to_ascii_lowercase();
            value.starts_with(b"prefetch") || value.starts_with(b"prerender") || value.starts_with(b"preview")
        })
    })
}

/// The thresholds of the rules that need more than the request; `None` turns a rule off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// An event this soon after the delivery (or before it) is a machine's.
    pub within: Option<Duration>,
    /// A message's links, 2 or more, all followed within this time.
    pub links_within: Option<Duration>,
    /// Recipients that one address block (/24, or /48 in IPv6) touches within a minute.
    pub addresses: Option<usize>,
}

impl Rules {
    /// Whether any rule in force asks when the message was delivered.
    pub(super) fn ask_for_delivery(self) -> bool {
        self.within.is_some() || self.links_within.is_some()
    }
}

/// The rules with their state.
#[derive(Debug)]
pub(super) struct Machines {
    within: Option<SignedDuration>,
    clicks: Option<Window<DeliveryKey, LinkNo>>,
    addresses: Option<(usize, Window<IpNet, ContactNo>)>,
}

impl Machines {
    pub(super) fn new(rules: Rules) -> Self {
        let span = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Self {
            within: rules.within.map(span),
            clicks: rules.links_within.map(|within| Window::new(span(within), CLICKS_REMEMBERED)),
            addresses: rules.addresses.map(|most| (most, Window::new(ADDRESS_SPAN, TOUCHES_REMEMBERED))),
        }
    }

    /// The first rule, in the order of their codes, that takes this open or click for a machine's. Each event is judged
    /// once. A rule that counts can mark only the event that completes the count and those after it: the first clicks of
    /// a scanner that follows every link stay a person's here, and a report may judge anew from what is kept.
    pub(super) fn judge(&mut self, event: &Event, delivered: Option<Delivered>) -> Option<MachineRule> {
        // All are asked, for the windows must see what another rule marks.
        let verdicts = [
            (self.too_soon(event.at, delivered), MachineRule::TooSoon),
            (self.every_link(event, delivered), MachineRule::EveryLink),
            (self.shared_address(event), MachineRule::SharedAddress),
        ];
        verdicts.into_iter().find_map(|(holds, rule)| holds.then_some(rule))
    }

    fn too_soon(&self, at: Timestamp, delivered: Option<Delivered>) -> bool {
        match (self.within, delivered) {
            (Some(within), Some(delivered)) => {
                let after = at.duration_since(delivered.at);
                after < within && after > -SETTLED_LATE
            }
            _ => false,
        }
    }

    fn every_link(&mut self, event: &Event, delivered: Option<Delivered>) -> bool {
        let (Some(clicks), Some(link)) = (&mut self.clicks, event.link) else { return false };
        let followed = clicks.touch(event.at, event.delivery, link);
        delivered.is_some_and(|delivered| delivered.links >= 2 && followed >= delivered.links)
    }

    fn shared_address(&mut self, event: &Event) -> bool {
        let (Some((most, touches)), Some(ip)) = (&mut self.addresses, event.client_ip) else { return false };
        if ip.is_loopback() {
            return false;
        }
        let Ok(host) = IpNet::new(ip, if ip.is_ipv4() { 24 } else { 48 }) else { return false };
        touches.touch(event.at, host.trunc(), event.delivery.contact) >= *most
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;
    use uuid::Uuid;

    use super::*;
    use crate::model::{CampaignNo, EventKind};

    const OFF: Rules = Rules { within: None, links_within: None, addresses: None };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    fn event(millis: i64, contact: i64, link: Option<u16>, ip: &str) -> Event {
        Event {
            id: Uuid::now_v7(),
            at: at(millis),
            kind: if link.is_some() { EventKind::Clicked } else { EventKind::Opened },
            delivery: DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(contact), occurrence: 0 },
            link: link.map(LinkNo),
            machine: None,
            reason: None,
            detail: None,
            client_ip: Some(ip.parse().unwrap()),
            user_agent: None,
        }
    }

    fn delivered(links: usize) -> Option<Delivered> {
        Some(Delivered { at: at(0), links })
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn head_and_prefetch_headers_confess() {
        assert_eq!(confessed(&Method::HEAD, &headers(&[])), Some(MachineRule::Prefetch));
        for pair in [
            ("purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("x-moz", "prefetch"),
            ("x-purpose", "Preview"),
        ] {
            assert_eq!(confessed(&Method::GET, &headers(&[pair])), Some(MachineRule::Prefetch), "{pair:?}");
        }
    }

    #[test]
    fn known_agents_are_machines_and_browsers_are_not() {
        for agent in [
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "WhatsApp/2.23.20.0",
        ] {
            let verdict = confessed(&Method::GET, &headers(&[("user-agent", agent)]));
            assert_eq!(verdict, Some(MachineRule::KnownAgent), "{agent}");
        }
        for agent in [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
            "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0; ms-office; MSOffice 16)",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) MicroMessenger/8.0.42 NetType/WIFI Language/zh_CN",
            "curl/8.5.0",
            "",
        ] {
            assert_eq!(confessed(&Method::GET, &headers(&[("user-agent", agent)])), None, "{agent}");
        }
        assert_eq!(confessed(&Method::GET, &headers(&[])), None);
    }

    #[test]
    fn too_soon_is_before_the_threshold() {
        let mut machines = Machines::new(Rules { within: Some(Duration::from_secs(2)), ..OFF });
        let mut judge = |millis| machines.judge(&event(millis, 1, None, "192.0.2.1"), delivered(1));
        assert_eq!(judge(1999), Some(MachineRule::TooSoon));
        assert_eq!(judge(-5), Some(MachineRule::TooSoon));
        assert_eq!(judge(-59_999), Some(MachineRule::TooSoon));
        assert_eq!(judge(2000), None);
        assert_eq!(judge(-60_000), None, "settled late");
        assert_eq!(machines.judge(&event(1, 1, None, "192.0.2.1"), None), None);
    }

    #[test]
    fn every_link_marks_the_click_that_completes_the_set() {
        let mut machines = Machines::new(Rules { links_within: Some(Duration::from_secs(3)), ..OFF });
        let mut click = |millis, contact, link| {
            machines.judge(&event(millis, contact, Some(link), "192.0.2.1"), delivered(3))
        };
        assert_eq!(click(10_000, 1, 0), None);
        assert_eq!(click(10_500, 1, 1), None);
        assert_eq!(click(10_600, 2, 2), None);
        assert_eq!(click(12_900, 1, 2), Some(MachineRule::EveryLink));
        assert_eq!(click(13_600, 1, 2), None, "the first click is more than 3 s ago");
    }

    #[test]
    fn a_single_link_is_not_every_link() {
        let mut machines = Machines::new(Rules { links_within: Some(Duration::from_secs(3)), ..OFF });
        for links in [0, 1] {
            assert_eq!(machines.judge(&event(9000, 1, Some(0), "192.0.2.1"), delivered(links)), None);
        }
    }

    #[test]
    fn a_block_that_touches_many_recipients_is_shared() {
        let mut machines = Machines::new(Rules { addresses: Some(3), ..OFF });
        let mut open = |millis, contact, ip| machines.judge(&event(millis, contact, None, ip), None);
        assert_eq!(open(0, 1, "192.0.2.1"), None);
        assert_eq!(open(1, 1, "192.0.2.2"), None, "the same recipient again");
        assert_eq!(open(2, 2, "192.0.2.3"), None);
        assert_eq!(open(3, 3, "192.0.3.1"), None, "the next block");
        assert_eq!(open(60_000, 3, "192.0.2.200"), Some(MachineRule::SharedAddress));
        assert_eq!(open(60_003, 4, "192.0.2.9"), None, "the first two touches are a minute old");
        assert_eq!(open(60_004, 1, "2001:db8:1::1"), None);
        assert_eq!(open(60_005, 2, "2001:db8:1:ffff::1"), None);
        assert_eq!(open(60_006, 3, "2001:db8:1:2::9"), Some(MachineRule::SharedAddress));
    }

    #[test]
    fn loopback_is_no_shared_address() {
        let mut machines = Machines::new(Rules { addresses: Some(1), ..OFF });
        assert_eq!(machines.judge(&event(0, 1, None, "127.0.0.1"), None), None);
        assert_eq!(machines.judge(&event(0, 2, None, "::1"), None), None);
        assert_eq!(machines.judge(&event(0, 2, None, "192.0.2.1"), None), Some(MachineRule::SharedAddress));
    }

    #[test]
    fn the_windows_see_what_another_rule_marks() {
        let rules = Rules {
            within: Some(Duration::from_secs(2)),
            links_within: Some(Duration::from_secs(3)),
            addresses: None,
        };
        let mut machines = Machines::new(rules);
        let mut click =
            |millis, link| machines.judge(&event(millis, 1, Some(link), "192.0.2.1"), delivered(2));
        assert_eq!(click(1000, 0), Some(MachineRule::TooSoon));
        assert_eq!(click(3500, 1), Some(MachineRule::EveryLink));
    }

    #[test]
    fn rules_that_are_off_mark_nothing() {
        let mut machines = Machines::new(OFF);
        assert!(!OFF.ask_for_delivery());
        for contact in 0..100 {
            assert_eq!(machines.judge(&event(0, contact, Some(0), "192.0.2.1"), delivered(1)), None);
        }
    }
}
