//! Mail to a server that is not ours, npm's `smtp-server`: pipelined, with 250, 4xx and 5xx to each recipient of its own,
//! and a 421 in the middle.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::daemon::Setup;
use crate::harness::mail::RecordingSink;
use crate::harness::node::NodePeer;
use crate::harness::shop::{Shop, campaign, mailbox, person};

/// A mail as `peers/node/smtp_server.js` writes it.
#[derive(Deserialize)]
struct Mail {
    to: Vec<String>,
    subject: String,
}

const PEOPLE: usize = 600;

/// By the beginning of the address the server knows what to answer.
fn id(i: usize) -> String {
    let kind = match i {
        200 | 201 | 400 => "LEAVE",
        _ if i % 10 == 1 => "REJECT",
        _ if i % 10 == 2 => "DEFER",
        _ if i % 50 == 3 => "FULL",
        _ => "P",
    };
    format!("{kind}{i}")
}

fn fate(id: &str) -> &'static str {
    match id.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "REJECT" => "rejected/unknown_recipient",
        "FULL" => "failed/retries_exhausted",
        _ => "accepted",
    }
}

#[tokio::test]
async fn each_answer_lands_on_its_own_recipient() {
    let server = NodePeer::start("smtp_server.js").await;
    let setup = Setup::embedded(server.address(), "");
    setup.configure("channels.email", "retry = [\"200ms\", \"300ms\"]\nconcurrency = 4");
    let shop = Shop::with(setup, RecordingSink::start().await).await;
    let people: Vec<Value> = (1..=PEOPLE).map(|i| person(&id(i))).collect();
    shop.submit(json!({"type": "contacts", "id": "people", "upsert": people})).await;
    shop.submit(campaign("spring", json!({}))).await;
    let fates = shop.books.finished("spring").await;
    let wanted = (1..=PEOPLE).map(id).map(|id| (id.clone(), fate(&id).to_owned())).collect();
    let differ: Vec<_> = fates.iter().filter(|(id, told)| fate(id) != *told).take(9).collect();
    assert!(fates == wanted, "{differ:?}");

    let mails: Vec<Mail> = server.seen();
    let reached: BTreeMap<&str, &str> =
        mails.iter().map(|mail| (mail.to[0].as_str(), mail.subject.as_str())).collect();
    assert!(mails.iter().all(|mail| mail.to.len() == 1));
    assert_eq!(reached.len(), mails.len(), "nobody gets a mail twice");
    for i in 1..=PEOPLE {
        let subject = (fate(&id(i)) == "accepted").then(|| format!("Hello Name {}", id(i)));
        assert_eq!(reached.get(mailbox(&id(i)).as_str()).copied(), subject.as_deref());
    }
    for i in (1..=PEOPLE).filter(|i| i % 50 == 3) {
        let attempts = shop.books.explain("spring", &id(i)).await.attempts_made;
        assert!(attempts.iter().all(|attempt| attempt.detail.contains("mailbox full")), "{attempts:?}");
    }
}
