//! Opens and clicks: a person's, a machine's, and a forger's.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::http::get;
use crate::harness::shop::{ONLY_PEOPLE, Shop, campaign};
use crate::services::wait::eventually;

#[tokio::test]
async fn a_persons_clicks_lead_where_the_mail_says_and_count() {
    let shop = Shop::open(ONLY_PEOPLE).await;
    shop.people(3).await;
    shop.submit(campaign("spring", json!({}))).await;
    shop.books.finished("spring").await;
    for mail in shop.sink.mails() {
        let id = mail.to[0].split('@').next().unwrap().to_uppercase();
        let links = mail.links();
        let own = format!("https://shop.example/for/{id}?name=Name%20{id}");
        for (link, target) in links.iter().zip(["https://shop.example/spring?ref=mail&page=1", &own]) {
            assert_eq!(shop.follow(link).await, (302, Some(target.to_owned())));
        }
        assert_eq!(shop.follow(&links[1]).await.0, 302);
    }
    let report = eventually("all clicks", async || {
        let report = shop.books.report("spring").await;
        (report.clicks.total == 9).then_some(report)
    })
    .await;
    assert_eq!((report.clicks.unique, report.clicks.machine), (3, 0));
    assert_eq!(report.opens.unwrap().unique, 3, "whoever clicks has opened");
    let links: BTreeMap<_, _> =
        report.links.iter().map(|link| (link.url.as_str(), (link.clicks, link.unique))).collect();
    let varying = "https://shop.example/for/{{external_id}}?name={{url_encode name}}";
    let constant = "https://shop.example/spring?ref=mail&page=1";
    assert_eq!(links, BTreeMap::from([(varying, (6, 3)), (constant, (3, 3))]));
    assert_eq!(report.series.iter().map(|hour| hour.clicks).sum::<i64>(), 9);
    shop.books.assert_balanced("spring").await;
}

#[tokio::test]
async fn what_comes_at_once_is_a_machines() {
    let shop = Shop::open("[tracking]\nmachine_within = \"1h\"\n").await;
    shop.people(1).await;
    shop.submit(campaign("spring", json!({}))).await;
    shop.books.finished("spring").await;
    let [mail] = shop.sink.mails().try_into().unwrap();
    assert_eq!(shop.follow(&mail.pixel()).await.0, 200);
    assert_eq!(shop.follow(&mail.links()[0]).await.0, 302, "a machine, too, is led on");
    let report = eventually("both events", async || {
        let report = shop.books.report("spring").await;
        (report.opens.unwrap().machine + report.clicks.machine == 2).then_some(report)
    })
    .await;
    let opens = report.opens.unwrap();
    assert_eq!((opens.unique, opens.total, report.clicks.unique, report.clicks.total), (0, 0, 0, 0));
    assert_eq!(shop.books.contact("P1").await.engagement.opens, 0);
}

#[tokio::test]
async fn a_forged_token_records_nothing_and_leads_nowhere() {
    let shop = Shop::open(ONLY_PEOPLE).await;
    shop.people(1).await;
    shop.submit(campaign("spring", json!({}))).await;
    shop.books.finished("spring").await;
    let [mail] = shop.sink.mails().try_into().unwrap();
    let forge = |url: &str| {
        let (head, tail) = url.split_at(url.len() - 4);
        let swapped: String = tail.chars().map(|c| if c == 'A' { 'B' } else { 'A' }).collect();
        head.to_owned() + &swapped
    };
    let pixel = get(shop.setup.public, shop.path(&forge(&mail.pixel()))).await.unwrap();
    assert_eq!(
        (pixel.status().as_u16(), &pixel.headers()["content-type"]),
        (200, &"image/gif".parse().unwrap())
    );
    assert_eq!(shop.follow(&forge(&mail.links()[0])).await, (404, None));
    assert_eq!(get(shop.setup.public, "/o/nonsense").await.unwrap().status(), 200);
    assert_eq!(get(shop.setup.public, "/c/nonsense").await.unwrap().status(), 404);
    // A true open after them is the only one.
    assert_eq!(shop.follow(&mail.pixel()).await.0, 200);
    let opens = eventually("the open", async || {
        let opens = shop.books.report("spring").await.opens.unwrap();
        (opens.total > 0).then_some(opens)
    })
    .await;
    let report = shop.books.report("spring").await;
    assert_eq!((opens.total, opens.machine, report.clicks.total), (1, 0, 0));
}
