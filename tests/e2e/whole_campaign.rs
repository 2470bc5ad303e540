//! A campaign from the CSV file to the report, its job published by another AMQP client, its mails taken by Postfix's
//! sink: everyone who may have it gets it once, everyone else has a reason, and the numbers agree everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use campaignd::model::Channel;
use campaignd::store::contacts::Suppression;
use campaignd::token::{Keyring, Kind};
use serde_json::json;

use crate::harness::books::{Books, Fates};
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::http::{get, post, post_form};
use crate::harness::mail::{CountingSink, Mail};
use crate::harness::publish::publish;
use crate::harness::shop::{ONLY_PEOPLE, mailbox};
use crate::services::wait::eventually;

const CONTACTS: usize = 20_000;

const TEMPLATE: &str = r#"
[email]
subject = "{{name}}, {{discount}} off in {{city}}"
html = "email.html.hbs"
text = "email.txt.hbs"
"#;
const HTML: &str = r#"<html><body><p>Dear {{name}}</p>
<a href="https://shop.example/spring?a=1&amp;b=2">Everyone's</a>
<a href="https://shop.example/for/{{external_id}}?city={{url_encode city}}">Yours</a>
<a href="{{unsubscribe_url}}">Unsubscribe</a></body></html>"#;
const TEXT: &str = "Dear {{name}} ({{external_id}}), {{discount}} off in {{city}}.\n";

fn id(i: usize) -> String {
    format!("C-{i:05}")
}

fn city(i: usize) -> &'static str {
    ["Berlin", "上海", "São Paulo", "O'Fallon & \"Co\""][i % 4]
}

/// What a rule says of the i-th contact; `None`: a mail.
fn exclusion(i: usize) -> Option<&'static str> {
    match i % 200 {
        1 => Some("excluded/no_address"),
        2 => Some("excluded/suppressed"),
        3 => Some("excluded/unsubscribed"),
        4 => Some("excluded/no_consent"),
        _ => None,
    }
}

async fn import(setup: &Setup, name: &str, options: &[&str], contacts: impl Iterator<Item = usize>) {
    let mut csv = String::from("external_id,email,locale,tags,name,city\n");
    for i in contacts {
        let email = if exclusion(i) == Some("excluded/no_address") { String::new() } else { mailbox(&id(i)) };
        let city = city(i).replace('"', "\"\"");
        writeln!(csv, "{},{email},de-DE,vip;n{},Nämé {i} 你好,\"{city}\"", id(i), i % 3).unwrap();
    }
    setup.write(name, &csv);
    let arguments: Vec<&str> =
        ["contacts", "import", name].into_iter().chain(options.iter().copied()).collect();
    let output = setup.cli(&arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn suppress(books: &Books) {
    let address =
        |i| Suppression { channel: Channel::Email, address: mailbox(&id(i)), reason: "asked".into() };
    let all = (1..=CONTACTS).filter(|i| exclusion(*i) == Some("excluded/suppressed")).map(address);
    books.store.suppress(&all.collect::<Vec<_>>()).await.unwrap();
}

/// A mailing before: those who want no other say so by the one click that its mails offer.
async fn unsubscribe_some(setup: &Setup, books: &Books, sink: &CountingSink) {
    let some: Vec<String> =
        (1..=CONTACTS).filter(|i| exclusion(*i) == Some("excluded/unsubscribed")).map(id).collect();
    let job = json!({"type": "campaign", "id": "before", "channel": "email", "purpose": "marketing",
        "template": "spring", "audience": {"contacts": some}, "data": {"discount": "5 %"}});
    let answer = post(setup.admin, "/v1/jobs", &job.to_string()).await.unwrap();
    assert_eq!(answer.status(), 202, "{}", answer.body());
    books.finished("before").await;
    for mail in sink.mails() {
        let link = mail.links().pop().expect("a link to unsubscribe");
        let path = link.strip_prefix(&format!("http://{}", setup.public)).expect("a link to us");
        assert_eq!(get(setup.public, path).await.unwrap().status(), 200);
        let answer = post_form(setup.public, path, "List-Unsubscribe=One-Click").await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.body());
    }
    assert_eq!(books.report("before").await.unsubscribes, i64::try_from(some.len()).unwrap());
}

/// Everyone, in order; then repeats, and ids of nobody.
fn audience() -> Vec<String> {
    let all = (1..=CONTACTS).map(id);
    all.chain((1..=CONTACTS).step_by(1_000).map(id)).chain((0..7).map(|n| format!("NOBODY-{n}"))).collect()
}

fn expected() -> Fates {
    let mut fates: Fates =
        (1..=CONTACTS).map(|i| (id(i), exclusion(i).unwrap_or("accepted").to_owned())).collect();
    fates
        .extend((1..=CONTACTS).step_by(1_000).map(|i| (format!("{}#2", id(i)), "excluded/duplicate".into())));
    fates.extend((0..7).map(|n| (format!("NOBODY-{n}"), "excluded/unknown_contact".into())));
    fates
}

#[tokio::test]
async fn twenty_thousand_from_csv_to_report() {
    let sink = CountingSink::start().await;
    let setup = Setup::new(sink.address(), ONLY_PEOPLE).await;
    setup.write("templates/spring/template.toml", TEMPLATE);
    setup.write("templates/spring/email.html.hbs", HTML);
    setup.write("templates/spring/email.txt.hbs", TEXT);
    let _daemon = Daemon::start(&setup).await;
    let books = Books::of(&setup.store_url);
    let agreed = |i: &usize| exclusion(*i) != Some("excluded/no_consent");
    import(&setup, "agreed.csv", &["--consent"], (1..=CONTACTS).filter(agreed)).await;
    import(&setup, "others.csv", &[], (1..=CONTACTS).filter(|i| !agreed(i))).await;
    suppress(&books).await;
    unsubscribe_some(&setup, &books, &sink).await;
    let before: BTreeSet<String> = sink.mails().iter().map(Mail::message_id).collect();

    let job = json!({"type": "campaign", "id": "spring", "name": "Spring", "channel": "email",
        "purpose": "marketing", "template": "spring", "audience": {"contacts": audience()},
        "data": {"discount": "20 %"}});
    let options = ["--exchange", "campaignd", "--routing-key", "jobs"];
    assert_eq!(publish(&setup.amqp_url, &options, &job.to_string()).await, Ok(1));

    eventually("the campaign", async || books.status("spring").await).await;
    let fates = books.finished("spring").await;
    assert!(fates == expected(), "{}", difference(&fates, &expected()));
    let mails: BTreeMap<String, Mail> = {
        let all = sink.mails();
        let new = all.into_iter().filter(|mail| !before.contains(&mail.message_id()));
        let new: Vec<Mail> = new.collect();
        let count = new.len();
        let by_address: BTreeMap<_, _> = new.into_iter().map(|mail| (mail.to[0].clone(), mail)).collect();
        assert_eq!(by_address.len(), count, "nobody gets a mail twice");
        by_address
    };
    let wanted = (1..=CONTACTS).filter(|i| exclusion(*i).is_none()).map(|i| mailbox(&id(i)));
    assert!(mails.keys().cloned().eq(wanted), "the sink's list and the ledger's");
    check_contents(&mails, &books).await;
    check_tracking(&setup, &mails, &books).await;
}

fn difference(left: &Fates, right: &Fates) -> String {
    let differ = |(id, fate): &(&String, &String)| right.get(*id) != Some(*fate);
    let some: Vec<_> = left.iter().filter(differ).take(10).collect();
    format!("{} rows, {} expected; for example {some:?}", left.len(), right.len())
}

/// Each mail is its recipient's: the words, the links, the tokens.
async fn check_contents(mails: &BTreeMap<String, Mail>, books: &Books) {
    let keyring = Keyring::of(&books.store.tracking_keys().await.unwrap()).expect("a key");
    let rows = books.deliveries("spring").await;
    let numbers: BTreeMap<_, _> =
        rows.into_iter().map(|row| (row.external_id.expect("nobody was erased"), row.cursor.0)).collect();
    for i in (1..=CONTACTS).filter(|i| exclusion(*i).is_none()) {
        let mail = &mails[&mailbox(&id(i))];
        let (name, city) = (format!("Nämé {i} 你好"), city(i));
        assert_eq!(mail.defects, Vec::<String>::new());
        assert_eq!(mail.header("subject"), Some(format!("{name}, 20 % off in {city}").as_str()));
        let text = mail.part("text/plain").expect("text");
        assert_eq!(text.trim(), format!("Dear {name} ({}), 20 % off in {city}.", id(i)));
        assert!(mail.part("text/html").expect("HTML").contains(&format!("<p>Dear {name}</p>")));
        let links = mail.links();
        let token = |url: &str| url.rsplit('/').next().expect("a token").to_owned();
        let kinds = [Kind::Click, Kind::Click, Kind::Unsubscribe];
        let tokens =
            links.iter().map(|link| token(link)).zip(kinds).chain([(token(&mail.pixel()), Kind::Open)]);
        for (token, kind) in tokens {
            let claims = keyring.verify(kind, &token).expect("a token of ours");
            assert_eq!(claims.delivery.contact.0, numbers[&id(i)], "{} has links of its own", id(i));
        }
    }
}

/// Pixels and links of some move the report and the contact.
async fn check_tracking(setup: &Setup, mails: &BTreeMap<String, Mail>, books: &Books) {
    let some: Vec<usize> = (1..=CONTACTS).filter(|i| exclusion(*i).is_none()).step_by(1_000).collect();
    let own = format!("http://{}", setup.public);
    let path = |url: &str| url.strip_prefix(&own).expect("a link to us").to_owned();
    for i in &some {
        let mail = &mails[&mailbox(&id(*i))];
        let pixel = get(setup.public, &path(&mail.pixel())).await.unwrap();
        assert_eq!(
            (pixel.status().as_u16(), &pixel.headers()["content-type"]),
            (200, &"image/gif".parse().unwrap())
        );
        let links = mail.links();
        let targets = ["https://shop.example/spring?a=1&b=2".to_owned(), varying(*i)];
        for (link, target) in links.iter().zip(targets) {
            let answer = get(setup.public, &path(link)).await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()),
                (302, target.as_str())
            );
        }
    }
    let n = i64::try_from(some.len()).unwrap();
    let report = eventually("opens and clicks in the report", async || {
        let report = books.report("spring").await;
        let opens = report.opens.expect("e-mail knows opens");
        (opens.total == n && report.clicks.total == 2 * n).then_some(report)
    })
    .await;
    assert_eq!((report.opens.unwrap().unique, report.clicks.unique, report.clicks.machine), (n, n, 0));
    let links: Vec<_> =
        report.links.iter().map(|link| (link.url.as_str(), link.clicks, link.unique)).collect();
    assert_eq!(links.len(), 2, "a link that varies counts as one: {links:?}");
    assert!(links.iter().all(|(_, clicks, unique)| (*clicks, *unique) == (n, n)), "{links:?}");
    let engagement = books.contact(&id(some[0])).await.engagement;
    assert_eq!((engagement.opens, engagement.clicks), (1, 2));
    books.assert_balanced("spring").await;
    let told = setup.cli(&["report", "spring", "--format", "json"]).await;
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["opens"], json!({"unique": n, "total": n, "machine": 0}));
    assert_eq!((&told["sent"], &told["states"]), (&json!(mails.len()), &json!(report.states)));
}

/// The link that varies, as it was rendered for the i-th contact.
fn varying(i: usize) -> String {
    let city = ["Berlin", "%E4%B8%8A%E6%B5%B7", "S%C3%A3o%20Paulo", "O%27Fallon%20%26%20%22Co%22"][i % 4];
    format!("https://shop.example/for/{}?city={city}", id(i))
}
