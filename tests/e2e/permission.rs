//! Who may be written to: consent and purpose when a campaign is planned, and whatever changes before a mail goes.

use campaignd::model::{CampaignStatus, Channel};
use campaignd::store::contacts::Suppression;
use serde_json::{Value, json};

use crate::harness::books::{Books, Fates};
use crate::harness::http::{get, post_form};
use crate::harness::mail::Mail;
use crate::harness::shop::{Shop, campaign, mailbox, person};
use crate::services::wait::eventually;

async fn suppress(books: &Books, id: &str) {
    let one = Suppression { channel: Channel::Email, address: mailbox(id), reason: "asked".into() };
    assert_eq!(books.store.suppress(&[one]).await.unwrap(), 1);
}

/// The link to unsubscribe in a mail that `id` got.
fn unsubscribe_link(mails: &[Mail], id: &str) -> String {
    let mail = mails.iter().find(|mail| mail.to == [mailbox(id)]).expect("a mail");
    let header = mail.header("list-unsubscribe").expect("List-Unsubscribe");
    let link = header.split('<').find(|part| part.starts_with("http")).expect("a link");
    let link = link.split('>').next().unwrap_or_default().to_owned();
    assert_eq!(mail.header("list-unsubscribe-post"), Some("List-Unsubscribe=One-Click"));
    assert!(mail.links().contains(&link), "the mail itself offers it, too");
    link
}

async fn unsubscribe(shop: &Shop, mails: &[Mail], id: &str) {
    let link = unsubscribe_link(mails, id);
    let answer = post_form(shop.setup.public, shop.path(&link), "List-Unsubscribe=One-Click").await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.body());
}

fn fates(expected: &[(&str, &str)]) -> Fates {
    expected.iter().map(|(id, fate)| ((*id).to_owned(), (*fate).to_owned())).collect()
}

#[tokio::test]
async fn each_rule_names_its_reason() {
    let shop = Shop::open("").await;
    let quiet = json!({"external_id": "QUIET", "attributes": {"name": "Q"},
        "addresses": [{"channel": "email", "address": mailbox("QUIET")}]});
    let nowhere = json!({"external_id": "NOWHERE", "attributes": {"name": "N"}, "addresses": []});
    let people = json!([person("YES"), quiet, nowhere, person("GONE"), person("BARRED")]);
    shop.submit(json!({"type": "contacts", "id": "people", "upsert": people})).await;
    shop.submit(campaign("first", json!({"audience": {"contacts": ["GONE"]}}))).await;
    let mails = shop.mails(1).await;
    unsubscribe(&shop, &mails, "GONE").await;
    suppress(&shop.books, "BARRED").await;

    let audience = json!({"contacts": ["YES", "QUIET", "NOWHERE", "GONE", "BARRED", "YES", "NOBODY"]});
    shop.submit(campaign("marketing", json!({"audience": audience}))).await;
    let common = [
        ("YES", "accepted"),
        ("YES#2", "excluded/duplicate"),
        ("NOBODY", "excluded/unknown_contact"),
        ("NOWHERE", "excluded/no_address"),
        ("BARRED", "excluded/suppressed"),
    ];
    let expected = [&common[..], &[("GONE", "excluded/unsubscribed"), ("QUIET", "excluded/no_consent")]];
    assert_eq!(shop.books.finished("marketing").await, fates(&expected.concat()));

    shop.submit(campaign("service", json!({"audience": audience, "purpose": "service"}))).await;
    let expected = [&common[..], &[("GONE", "accepted"), ("QUIET", "accepted")]];
    assert_eq!(shop.books.finished("service").await, fates(&expected.concat()));
    let service = shop.mails(5).await;
    let service = service.iter().rfind(|mail| mail.to == [mailbox("QUIET")]).expect("a mail");
    assert_eq!(service.header("list-unsubscribe-post"), None, "a service mail offers no way to unsubscribe");
}

#[tokio::test]
async fn people_given_with_the_job_become_contacts() {
    let shop = Shop::open("").await;
    let recipient = |address: &str| json!({"address": address, "data": {"name": format!("<{address}>")}});
    let recipients: Vec<Value> =
        ["new@example.org", "no address", "NEW@example.org"].into_iter().map(recipient).collect();
    shop.submit(campaign("closed", json!({"audience": {"recipients": recipients}}))).await;
    let tally =
        |expected: &[(&str, i64)]| expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    shop.books.finished("closed").await;
    let expected =
        tally(&[("excluded/duplicate", 1), ("excluded/invalid_address", 1), ("excluded/no_consent", 1)]);
    assert_eq!(shop.books.tally("closed").await, expected);

    shop.submit(campaign("open", json!({"audience": {"recipients": recipients, "consent": true}}))).await;
    shop.books.finished("open").await;
    let expected = tally(&[("excluded/duplicate", 1), ("excluded/invalid_address", 1), ("accepted", 1)]);
    assert_eq!(shop.books.tally("open").await, expected);
    let [mail] = shop.sink.mails().try_into().unwrap();
    assert_eq!(mail.header("subject"), Some("Hello <new@example.org>"));
    assert!(mail.part("text/html").unwrap().contains("Hello &lt;new@example.org&gt;"));
}

#[tokio::test]
async fn what_changes_after_planning_still_counts() {
    let shop = Shop::open("").await;
    shop.people(60).await;
    shop.submit(campaign("first", json!({}))).await;
    let mails = shop.mails(60).await;
    shop.books.finished("first").await;
    shop.submit(campaign("second", json!({"rate": "10/s"}))).await;
    shop.mails(62).await;
    shop.control("c-1", "second", "pause").await;

    let link = unsubscribe_link(&mails, "P60");
    assert_eq!(get(shop.setup.public, shop.path(&link)).await.unwrap().status(), 200);
    assert_eq!(shop.books.contact("P60").await.addresses[0].unsubscribed_at, None, "asking changes nothing");
    unsubscribe(&shop, &mails, "P60").await;
    eventually("the unsubscribe", async || shop.books.contact("P60").await.addresses[0].unsubscribed_at)
        .await;
    suppress(&shop.books, "P59").await;
    assert!(shop.books.store.erase_contact("P58").await.unwrap());

    shop.control("c-2", "second", "resume").await;
    shop.books.until("second", CampaignStatus::Running).await;
    let fates = shop.books.finished("second").await;
    assert_eq!(fates["P60"], "excluded/unsubscribed");
    assert_eq!(fates["P59"], "excluded/suppressed");
    assert_eq!(fates["erased"], "excluded/erased");
    assert_eq!(fates.values().filter(|fate| *fate == "accepted").count(), 57);
    assert_eq!(shop.sink.mails().len(), 60 + 57);
}
