//! The pages over a real store: what they show is what the report says, and nothing that people wrote becomes markup.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use campaignd::model::{Channel, EventKind, Reason, State};
use campaignd::pages;
use campaignd::report::{self, number, percent};
use campaignd::store::dispatching::Outcomes;
use serde_json::json;
use tower::ServiceExt;

use crate::store::Bed;
use crate::store::bed::{event, key, settled};

struct Browser {
    bed: Bed,
    router: Router,
}

struct Page {
    status: u16,
    headers: HeaderMap,
    html: String,
}

impl Browser {
    async fn start() -> Browser {
        let bed = Bed::postgres().await;
        let router = pages::router(Arc::clone(&bed.store), true);
        Browser { bed, router }
    }

    async fn get(&self, path: &str) -> Page {
        self.get_in(path, "en").await
    }

    async fn get_in(&self, path: &str, language: &str) -> Page {
        let request = Request::get(path).header(header::ACCEPT_LANGUAGE, language);
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
        let html = String::from_utf8(bytes.to_vec()).unwrap();
        Page { status: head.status.as_u16(), headers: head.headers, html }
    }

    /// A campaign to four people and nobody: two got it, one was refused, one is on its way.
    async fn spring(&self) {
        self.bed.people(4).await;
        let audience = json!({"contacts": ["P1", "P2", "P3", "P4", "nobody"]});
        self.bed.planned("spring", audience, json!({"name": "Spring sale", "provider": "relay"})).await;
        let me = self.bed.store.join("one").await.unwrap();
        let lease = self.bed.lease(me).await.pop().unwrap();
        self.bed.intend(me, &lease).await.unwrap();
        let fates =
            [(State::Accepted, None), (State::Accepted, None), (State::Rejected, Some(Reason::MailboxFull))];
        let fates = lease.members.iter().zip(fates);
        let fates = fates.map(|(member, (state, reason))| settled(&lease, member, state, reason));
        self.bed
            .store
            .record(me, &Outcomes { settled: fates.collect(), ..Outcomes::default() })
            .await
            .unwrap();
        let [one, two] = [0, 1].map(|at: usize| key(&lease, &lease.members[at]));
        let events = [event(one, EventKind::Opened), event(two, EventKind::Clicked)];
        self.bed.store.record_events(&events, false).await.unwrap();
    }
}

impl Page {
    /// What stands between `mark` and the end of its row, without the tags.
    fn row(&self, mark: &str) -> String {
        let from = self.html.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {}", self.html)).1;
        text(from.split_once('>').unwrap().1.split("</tr>").next().unwrap())
    }

    fn text(&self) -> String {
        text(self.html.split_once("<main").unwrap().1)
    }
}

/// The text of a piece of HTML, a space between what tags part.
fn text(html: &str) -> String {
    let words = html.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    words.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn one_campaign_shows_its_report() {
    let browser = Browser::start().await;
    browser.spring().await;
    let report = report::load(&*browser.bed.store, "spring").await.unwrap().unwrap();
    let page = browser.get("/campaigns/spring").await;
    assert_eq!(page.status, 200);
    let share = |n: i64| percent(Some(n as f64 / report.targeted as f64));
    let funnel = [
        ("targeted", Some(report.targeted)),
        ("sent", Some(report.sent)),
        ("opened", report.opens.map(|opens| opens.unique)),
        ("clicked", Some(report.clicks.unique)),
    ];
    for (step, count) in funnel {
        let row = page.row(&format!("data-step=\"{step}\""));
        assert_eq!(row, format!("{step} {} {}", number(count), share(count.unwrap())));
    }
    assert_eq!(page.row("data-step=\"delivered\""), "delivered n/a");
    for (state, count) in report.states.iter().filter(|(_, count)| **count > 0) {
        let row = page.row(&format!("data-state=\"{state}\""));
        assert_eq!(row, format!("{state} {} {}", number(Some(*count)), share(*count)));
    }
    assert_eq!(
        report.states.iter().filter(|(_, count)| **count > 0).count(),
        page.html.matches("data-state=").count()
    );
    let text = page.text();
    for expected in [
        "Spring sale running",
        "spring · As of",
        "Carried by relay",
        "4 settled of 5",
        "mailbox full 1 20.00 %",
        "unknown contact 1 20.00 %",
        "open 100.00 % 2 / 2 sent",
        "click to open 50.00 % 1 / 2 opened",
        "delivery n/a n/a / 2 sent",
        "https://shop.example/b 1 1",
        "1 opens, 1 clicks",
    ] {
        assert!(text.contains(expected), "no `{expected}` in {text}");
    }
    assert!(page.html.contains("href=\"/v1/campaigns/spring/report.csv\""));
}

#[tokio::test]
async fn the_list_shows_each_campaign_and_follows_what_runs() {
    let browser = Browser::start().await;
    browser.spring().await;
    browser.bed.campaign("later", json!({"all": true}), json!({"send_at": "2099-01-01T00:00:00Z"})).await;
    let list = browser.get("/").await;
    let row = list.row("data-campaign=\"/campaigns/spring\"");
    assert!(row.starts_with("Spring sale E-mail · spring running 4 / 5 2 100.00 % 50.00 % 2"), "{row}");
    let row = list.row("data-campaign=\"/campaigns/later\"");
    assert!(row.starts_with("later E-mail scheduled 0 / 0 0 – – 2099-01-01 00:00"), "{row}");
    assert!(list.html.find("/campaigns/later") < list.html.find("/campaigns/spring"), "newest first");
    assert!(list.html.contains("data-refresh=\"2\""));
    for link in ["/sandbox", "/metrics", "/openapi.json", "/healthz"] {
        assert!(list.html.contains(&format!("href=\"{link}\"")), "{link}");
    }
    let quiet = browser.get("/?search=LATER").await;
    assert!(!quiet.html.contains("/campaigns/spring"));
    assert!(quiet.html.contains("data-refresh=\"30\""), "nothing moves on this page");
}

#[tokio::test]
async fn what_a_channel_cannot_observe_is_not_zero() {
    let browser = Browser::start().await;
    let phone = json!([{"external_id": "P1", "addresses": [{"channel": "sms", "address": "+8613800138000", "consent": true}]}]);
    browser.bed.upsert(phone).await;
    browser.bed.planned("text", json!({"all": true}), json!({"channel": "sms"})).await;
    assert_eq!(browser.bed.store.campaigns_due(Channel::Sms).await.unwrap().len(), 1);
    let page = browser.get("/campaigns/text").await;
    assert_eq!(page.row("data-step=\"opened\""), "opened n/a");
    assert_eq!(page.row("data-step=\"delivered\""), "delivered 0 0.00 %");
    assert!(page.text().contains("opens n/a n/a n/a"), "{}", page.text());
    let row = browser.get("/").await.row("data-campaign=\"/campaigns/text\"");
    assert!(row.contains("SMS running 0 / 1 0 n/a – "), "{row}");
}

#[tokio::test]
async fn nothing_that_people_wrote_becomes_markup() {
    let browser = Browser::start().await;
    let evil = "<script>alert('1')</script>\"&amp;";
    let more = json!({"name": evil, "template": evil, "provider": evil});
    browser.bed.planned(evil, json!({"all": true}), more).await;
    let id = percent_encoding::utf8_percent_encode(evil, percent_encoding::NON_ALPHANUMERIC).to_string();
    for path in ["/".to_owned(), format!("/?search={id}"), format!("/campaigns/{id}")] {
        let page = browser.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.html.matches("<script").count(), 1, "{path} has its own script and no other");
        assert!(page.html.contains("&#60;script&#62;alert(&#39;1&#39;)"), "{path}: {}", page.html);
        let (open, close) = (page.html.split_once("<script>").unwrap().1, "</script>");
        assert!(!open.split(close).next().unwrap().contains("alert"), "{path}");
    }
    let list = browser.get("/").await;
    assert!(list.html.contains(&format!("href=\"/campaigns/{id}\"")), "the link leads to it");
}

#[tokio::test]
async fn an_empty_store_says_how_to_begin() {
    let browser = Browser::start().await;
    let page = browser.get("/").await;
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(text.contains("campaignd demo") && text.contains("campaignd enqueue"), "{text}");
    let found = browser.get("/?search=nothing").await;
    assert!(found.text().contains("No campaign has this in its name or id: nothing"), "{}", found.text());
}

#[tokio::test]
async fn pages_lead_on_and_back() {
    let browser = Browser::start().await;
    for n in 0..26 {
        browser.bed.campaign(&format!("c{n}"), json!({"all": true}), json!({})).await;
    }
    let first = browser.get("/?search=c").await;
    assert_eq!(first.html.matches("data-campaign=").count(), 25);
    assert!(first.html.contains("href=\"/?search=c&#38;page=2\"") && !first.html.contains("rel=\"prev\""));
    let last = browser.get("/?search=c&page=2").await;
    assert!(last.html.contains("data-campaign=\"/campaigns/c0\"") && !last.html.contains("rel=\"next\""));
    assert!(last.html.contains("href=\"/?search=c&#38;page=1\""));
}

#[tokio::test]
async fn an_unknown_campaign_is_a_page_of_its_own() {
    let browser = Browser::start().await;
    for path in ["/campaigns/nothing", "/campaigns/%00", "/campaigns/%FF"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.text().contains("There is no such campaign"), "{path}: {}", page.text());
        assert!(page.html.contains("<a href=\"/\">"));
    }
}

#[tokio::test]
async fn pages_speak_chinese_where_that_is_preferred() {
    let browser = Browser::start().await;
    browser.spring().await;
    let list = browser.get_in("/", "zh-CN,zh;q=0.9,en;q=0.8").await;
    assert_eq!(list.headers[header::CONTENT_LANGUAGE], "zh");
    assert!(list.html.contains("<html lang=\"zh\">") && list.text().contains("发送中"));
    let page = browser.get_in("/campaigns/spring", "zh").await;
    assert!(page.text().contains("收件箱已满") && page.text().contains("联系人不存在"), "{}", page.text());
}

#[tokio::test]
async fn every_page_is_sealed() {
    let browser = Browser::start().await;
    browser.spring().await;
    for path in ["/", "/campaigns/spring", "/campaigns/nothing"] {
        let page = browser.get(path).await;
        let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
        // The policy would block them; an address of another host appears as text at most.
        for way in [" style=", " onclick=", "src=\"http", "href=\"http", "url("] {
            assert!(!page.html.contains(way), "{path} has {way}");
        }
    }
}
