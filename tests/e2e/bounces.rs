//! Mail through a real server, and what it reports back.

use campaignd::model::{CampaignNo, CampaignStatus, ContactNo, DeliveryKey, Outcome, Purpose, Reason};
use campaignd::provider::smtp::{Smtp, SmtpConfig};
use campaignd::provider::{Body, Email, Message, Permit, Provider as _};
use serde_json::json;

use crate::harness::daemon::Setup;
use crate::harness::free_address;
use crate::harness::mail::RecordingSink;
use crate::harness::postfix::Postfix;
use crate::harness::shop::{Shop, campaign};
use crate::services::wait::eventually;

fn message(number: i64, to: &str) -> Message {
    let content = format!("From: news@shop.test\r\nTo: {to}\r\nSubject: {number}\r\n\r\n.dots\r\n");
    Message {
        delivery: DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(number), occurrence: 0 },
        attempt: 1,
        campaign: "spring".into(),
        purpose: Purpose::Marketing,
        to: to.to_owned(),
        unsubscribe: None,
        body: Body::Email(Email {
            envelope_from: "news@shop.test".to_owned(),
            envelope_to: to.to_owned(),
            content: content.into(),
        }),
        permit: Permit::default(),
    }
}

/// Each reply of the server lands on its own message, and what came after its 421 goes over the next connection.
async fn replies_land(port: impl FnOnce(&Postfix) -> u16) {
    let sink = RecordingSink::start().await;
    let postfix = Postfix::start(sink.address(), free_address()).await;
    let mut session = Smtp::new(SmtpConfig::new("127.0.0.1", port(&postfix))).unwrap().session();
    let to = [
        "a@x.test",
        "hard@dest.test",
        "soft@dest.test",
        "b@x.test",
        "full@dest.test",
        "busy@dest.test",
        "c@x.test",
    ];
    let messages: Vec<Message> = (0..).zip(to).map(|(number, to)| message(number, to)).collect();
    let outcomes = session.send(&messages).await;
    let verdicts: Vec<_> = outcomes.iter().map(|outcome| (outcome.as_str(), outcome.reason())).collect();
    assert_eq!(
        verdicts,
        [
            ("accepted", None),
            ("rejected", Some(Reason::UnknownRecipient)),
            ("retry", Some(Reason::TemporaryFailure)),
            ("accepted", None),
            ("retry", Some(Reason::MailboxFull)),
            ("throttled", Some(Reason::Throttled)),
            ("returned", None),
        ]
    );
    // The id by which Postfix's log knows the mail.
    let Outcome::Accepted { provider_ref: Some(id) } = &outcomes[0] else { panic!("{:?}", outcomes[0]) };
    let logged = format!(" {id}: ");
    eventually("the id in the log", async || postfix.log().contains(&logged).then_some(())).await;
    assert_eq!(session.send(&messages[6..]).await[0].as_str(), "accepted");
    session.close().await;
    let mails = eventually("three mails", async || Some(sink.mails()).filter(|mails| mails.len() == 3)).await;
    let mut reached: Vec<_> = mails.into_iter().flat_map(|mail| mail.to).collect();
    reached.sort();
    assert_eq!(reached, ["a@x.test", "b@x.test", "c@x.test"]);
}

#[tokio::test]
async fn replies_of_a_real_server_land_on_their_messages() {
    replies_land(|postfix| postfix.address.port()).await;
}

#[tokio::test]
async fn the_same_without_pipelining() {
    replies_land(|postfix| postfix.one_by_one.port()).await;
}

#[tokio::test]
async fn a_real_report_turns_its_delivery_to_bounced_and_the_address_gets_no_more() {
    let (sink, lmtp) = (RecordingSink::start().await, free_address());
    let postfix = Postfix::start(sink.address(), lmtp).await;
    let setup = Setup::embedded(postfix.address, &format!("[bounces]\nlmtp = \"{lmtp}\"\n"));
    setup.configure("providers.relay", "verp_domain = \"b.example.test\"");
    let shop = Shop::with(setup, sink).await;
    let person = |id: &str, address: &str| {
        let address = json!({"channel": "email", "address": address, "consent": true});
        json!({"external_id": id, "attributes": {"name": id}, "addresses": [address]})
    };
    // The next server refuses who begins with `reject`: by then Postfix has taken the mail.
    let people = [person("P1", "anna@example.com"), person("P2", "reject@example.com")];
    shop.submit(json!({"type": "contacts", "id": "people", "upsert": people})).await;
    shop.submit(campaign("spring", json!({}))).await;
    eventually("the bounce", async || {
        let fates = shop.books.fates("spring").await;
        (fates.get("P2").map(String::as_str) == Some("bounced/unknown_recipient")).then_some(())
    })
    .await;
    shop.books.until("spring", CampaignStatus::Finished).await;
    shop.books.assert_balanced("spring").await;
    let fates = shop.books.fates("spring").await;
    assert_eq!(fates["P1"], "accepted");
    let mail = &shop.mails(1).await[0];
    let local = mail.from.strip_suffix("@b.example.test").expect("an address of that domain");
    assert!(local.starts_with("bounce+") && local.len() <= 64, "{local}");

    shop.submit(campaign("summer", json!({}))).await;
    assert_eq!(shop.books.finished("summer").await["P2"], "excluded/suppressed");
}
