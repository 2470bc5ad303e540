//! The public routes over a real listener, with a scripted store behind them.

mod hooks;
mod limits;
mod outages;
mod site;

use jiff::{SignedDuration, Timestamp};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Delivered;
use crate::http::dial;
use crate::model::event::MachineRule;
use crate::model::{EventKind, LinkNo};
use site::{LINK, Mood, Site, assert_pixel, assert_problem, delivery, text, with};

#[tokio::test]
async fn the_pixel_records_an_open() {
    let site = Site::up().await;
    for path in ["/o/open-7", "/o/open-7.gif"] {
        let request = with(dial::request("GET", path), "user-agent", "Mail/1.0");
        let response = site.send(request).await;
        assert_pixel(&response);
        assert_eq!(response.body().len(), 43);
        assert!(response.body().starts_with(b"GIF89a"));
    }
    let events = site.store.events();
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!((event.kind, event.delivery, event.machine), (EventKind::Opened, delivery(7), None));
        assert_eq!(event.user_agent.as_deref(), Some("Mail/1.0"));
        assert_eq!(event.client_ip, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(event.id.get_version_num(), 7);
    }
    assert_eq!(site.store.last_answer(), ("open", "human", 200));
    assert_eq!((site.intake.unsettled(), site.intake.dropped()), (0, 0));
}

#[tokio::test]
async fn a_forged_pixel_looks_the_same_and_records_nothing() {
    let site = Site::up().await;
    for path in ["/o/forged", "/o/%ff%00", "/o/click-7-0", "/o/.gif"] {
        let response = site.ask("GET", path).await;
        assert_pixel(&response);
        assert_eq!(site.store.last_answer(), ("open", "forged", 200));
    }
    assert!(site.store.events().is_empty());
}

#[tokio::test]
async fn head_is_answered_and_marked() {
    let site = Site::up().await;
    let pixel = site.ask("HEAD", "/o/open-7").await;
    assert_pixel(&pixel);
    assert!(pixel.body().is_empty());
    assert_eq!(text(&pixel, "content-length"), "43");
    let redirect = site.ask("HEAD", "/c/click-7-0").await;
    assert_eq!((redirect.status().as_u16(), text(&redirect, "location")), (302, LINK));
    let rules: Vec<_> = site.store.events().iter().map(|event| event.machine).collect();
    assert_eq!(rules, [Some(MachineRule::Prefetch); 2]);
    assert_eq!(site.store.last_answer(), ("click", "prefetch", 302));
}

#[tokio::test]
async fn a_click_goes_exactly_to_its_link() {
    let site = Site::up().await;
    let response = site.ask("GET", "/c/click-7-0").await;
    assert_eq!(response.status(), 302);
    assert_eq!(text(&response, "location"), LINK);
    assert!(text(&response, "cache-control").contains("no-store"));
    let events = site.store.events();
    assert_eq!((events[0].kind, events[0].link), (EventKind::Clicked, Some(LinkNo(0))));

    let varied = site.ask("GET", "/c/varied-9-5").await;
    assert_eq!(text(&varied, "location"), "https://shop.example/for/9");
    assert_eq!(site.store.events()[1].link, Some(LinkNo(5)));
}

#[tokio::test]
async fn a_target_that_no_header_can_carry_is_percent_encoded() {
    let site = Site::up().await;
    let response = site.ask("GET", "/c/click-7-1").await;
    assert_eq!(
        text(&response, "location"),
        "https://shop.example/%E4%B8%8A%20%E6%B5%B7%0D%0ASet-Cookie:%20x"
    );
    assert!(!response.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn a_bad_click_is_never_a_redirect() {
    let site = Site::up().await;
    for (path, verdict) in [
        ("/c/forged", "forged"),
        ("/c/open-7", "forged"),
        ("/c/https:%2F%2Fevil.example", "forged"),
        ("/c/click-7-9", "unknown_link"),
    ] {
        let response = site.ask("GET", path).await;
        assert_problem(&response, 404);
        assert!(!response.headers().contains_key("location"));
        assert_eq!(site.store.last_answer(), ("click", verdict, 404));
    }
    assert_problem(&site.ask("GET", "/c/click-7-66").await, 503);
    assert_eq!(site.store.last_answer(), ("click", "unavailable", 503));
    assert!(site.store.events().is_empty());
}

#[tokio::test]
async fn the_unsubscribe_page_asks_and_changes_nothing() {
    let site = Site::up().await;
    let response = site.ask("GET", "/u/unsubscribe-7").await;
    assert_eq!(response.status(), 200);
    assert!(text(&response, "content-type").starts_with("text/html"));
    assert!(text(&response, "content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(text(&response, "referrer-policy"), "no-referrer");
    let page = std::str::from_utf8(response.body()).unwrap();
    assert!(page.contains("<html lang=\"en\">") && page.contains("<form method=\"post\">"), "{page}");
    assert!(!page.contains("http") && !page.contains("<script"), "nothing from elsewhere: {page}");

    let chinese = with(dial::request("GET", "/u/unsubscribe-7"), "accept-language", "zh-CN,zh;q=0.9");
    let response = site.send(chinese).await;
    assert!(std::str::from_utf8(response.body()).unwrap().contains("退订"));

    assert_eq!(site.ask("HEAD", "/u/unsubscribe-7").await.status(), 200);
    assert!(site.store.events().is_empty());
    assert_problem(&site.ask("GET", "/u/forged").await, 404);
}

#[tokio::test]
async fn posting_unsubscribes_whatever_the_body() {
    let site = Site::up().await;
    let multipart =
        "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
    for (media_type, body) in [
        ("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"),
        ("multipart/form-data; boundary=x", multipart),
        ("text/plain", ""),
    ] {
        let response = site.post("/u/unsubscribe-7", media_type, body).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("location"));
    }
    let events = site.store.events();
    assert_eq!(events.len(), 3);
    assert!(
        events.iter().all(|event| event.kind == EventKind::Unsubscribed && event.delivery == delivery(7))
    );
    assert!(events.iter().all(|event| event.machine.is_none()));

    assert_problem(&site.post("/u/forged", "text/plain", "").await, 404);
    assert_eq!(site.store.events().len(), 3);
}

#[tokio::test]
async fn a_body_over_8_kib_is_refused() {
    let site = Site::up().await;
    assert_eq!(site.post("/u/unsubscribe-7", "text/plain", vec![b'x'; 8192]).await.status(), 200);
    assert_problem(&site.post("/u/unsubscribe-7", "text/plain", vec![b'x'; 8193]).await, 413);
    assert_eq!(site.store.last_answer(), ("unsubscribe", "refused", 413));
    assert_eq!(site.store.events().len(), 1);
}

#[tokio::test]
async fn other_paths_and_methods_are_problems() {
    let site = Site::up().await;
    for path in ["/", "/o", "/o/", "/c/click-7-0/more", "/hooks/twilio", "/v1/jobs"] {
        assert_problem(&site.ask("GET", path).await, 404);
    }
    for (method, path, allowed) in [
        ("POST", "/o/open-7", vec!["GET", "HEAD"]),
        ("DELETE", "/c/click-7-0", vec!["GET", "HEAD"]),
        ("PUT", "/u/unsubscribe-7", vec!["GET", "HEAD", "POST"]),
    ] {
        let response = site.ask(method, path).await;
        assert_problem(&response, 405);
        let mut methods: Vec<_> = text(&response, "allow").split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods, allowed);
        assert_eq!(text(&response, "x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn the_client_behind_a_trusted_proxy_is_recorded() {
    let site = Site::up().await;
    let request = dial::request("GET", "/o/open-7");
    site.send(with(request, "x-forwarded-for", "192.0.2.1, 198.51.100.7")).await;
    assert_eq!(site.store.events()[0].client_ip, Some("198.51.100.7".parse().unwrap()));
}

#[tokio::test]
async fn machines_are_marked_by_time_links_and_address() {
    let site = Site::up().await;
    let first = with(dial::request("GET", "/c/click-1-0"), "x-forwarded-for", "198.51.100.1");
    let second = with(dial::request("GET", "/c/click-1-1"), "x-forwarded-for", "203.0.113.1");
    let third = with(dial::request("GET", "/o/open-2"), "x-forwarded-for", "203.0.113.2");
    let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
    *site.store.delivered.lock().unwrap() = Some(Delivered { at: hour_ago, links: 2 });
    for request in [first, second, third] {
        site.send(request).await;
    }
    *site.store.delivered.lock().unwrap() =
        Some(Delivered { at: Timestamp::now() + SignedDuration::from_secs(30), links: 2 });
    site.ask("GET", "/o/open-3").await;

    let rules: Vec<_> = site.store.until_recorded(4).await.iter().map(|event| event.machine).collect();
    assert_eq!(
        rules,
        [None, Some(MachineRule::EveryLink), Some(MachineRule::SharedAddress), Some(MachineRule::TooSoon)]
    );
}

#[tokio::test]
async fn what_was_taken_in_is_recorded_after_the_listener_is_gone() {
    let site = Site::open(Mood::Hangs, 100).await;
    for contact in 0..20 {
        assert_pixel(&site.ask("GET", &format!("/o/open-{contact}")).await);
    }
    let Site { store, intake, worker, server, folder: _folder, .. } = site;
    server.stop().await.unwrap();
    drop(intake);
    assert!(!worker.is_finished());
    store.mood.send_replace(Mood::Up);
    worker.await.unwrap();
    assert_eq!(store.events().len(), 20);
}

#[tokio::test]
async fn a_client_that_hangs_up_takes_nothing_back() {
    let site = Site::up().await;
    site.store.mood.send_replace(Mood::Hangs);
    let mut client = TcpStream::connect(site.server.address).await.unwrap();
    client.write_all(b"GET /o/open-7 HTTP/1.1\r\nHost: campaignd.test\r\n\r\n").await.unwrap();
    while site.intake.unsettled() == 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    let Site { store, server, .. } = site;
    server.stop().await.unwrap();
    store.mood.send_replace(Mood::Up);
    assert_eq!(store.until_recorded(1).await[0].delivery, delivery(7));
}
