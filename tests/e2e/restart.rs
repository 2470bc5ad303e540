//! The daemon ends in the middle of a campaign, asked or not: nothing is lost and nothing sent twice.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::mail::RecordingSink;
use crate::harness::shop::{Shop, campaign, mailbox};

const PEOPLE: usize = 1_500;
const WINDOW: usize = 40;

/// Where the ledger is kept.
#[derive(Clone, Copy)]
enum Ledger {
    Postgres,
    Sqlite,
}

async fn begun(ledger: Ledger, more: &str) -> Shop {
    let sink = RecordingSink::start().await;
    let setup = match ledger {
        Ledger::Postgres => Setup::without_broker(sink.address(), "").await,
        Ledger::Sqlite => Setup::embedded(sink.address(), ""),
    };
    setup.configure("channels.email", &format!("unknown_window = {WINDOW}\n{more}"));
    let shop = Shop::with(setup, sink).await;
    shop.people(PEOPLE).await;
    shop.submit(campaign("all", json!({}))).await;
    shop.mails(100).await;
    shop
}

async fn stopped_it_hands_back_what_it_has(ledger: Ledger) {
    let mut shop = begun(ledger, "").await;
    shop.restart().await;
    assert!(shop.sink.mails().len() < PEOPLE, "it was stopped in the middle");
    shop.restart().await;
    let fates = shop.books.finished("all").await;
    assert!(fates.len() == PEOPLE && fates.values().all(|fate| fate == "accepted"));
    assert_eq!(shop.reached().len(), PEOPLE);
}

async fn killed_it_leaves_only_the_window_in_doubt(ledger: Ledger) {
    let mut shop = begun(ledger, "").await;
    shop.daemon.process.sigkill();
    shop.daemon.process.ended().await;
    assert!(shop.sink.mails().len() < PEOPLE, "it was killed in the middle");
    shop.daemon = Daemon::start(&shop.setup).await;
    let fates = shop.books.finished("all").await;
    assert_eq!(fates.len(), PEOPLE);
    let whose = |fate: &str| -> BTreeSet<String> {
        fates.iter().filter(|(_, is)| *is == fate).map(|(id, _)| mailbox(id)).collect()
    };
    let (accepted, doubtful) = (whose("accepted"), whose("unknown/crash"));
    assert_eq!(accepted.len() + doubtful.len(), PEOPLE, "{:?}", shop.books.tally("all").await);
    assert!(doubtful.len() <= WINDOW, "{} in doubt", doubtful.len());
    let reached = shop.reached();
    assert!(reached.is_superset(&accepted), "whoever counts as accepted has the mail");
    assert!(reached.difference(&accepted).all(|to| doubtful.contains(to)));
}

async fn killed_it_sends_again_what_is_in_doubt(ledger: Ledger) {
    let mut shop = begun(ledger, "on_unknown = \"resend\"").await;
    shop.daemon.process.sigkill();
    shop.daemon.process.ended().await;
    assert!(shop.sink.mails().len() < PEOPLE, "it was killed in the middle");
    shop.daemon = Daemon::start(&shop.setup).await;
    let fates = shop.books.finished("all").await;
    assert!(
        fates.len() == PEOPLE && fates.values().all(|fate| fate == "accepted"),
        "{:?}",
        shop.books.tally("all").await
    );
    let mails = shop.sink.mails();
    let reached: BTreeSet<&String> = mails.iter().flat_map(|mail| &mail.to).collect();
    assert_eq!(reached.len(), PEOPLE, "nobody is left out");
    let doubles = mails.len() - PEOPLE;
    println!("killed with resend: 0 unknown, {doubles} doubles of at most {WINDOW}");
    assert!(doubles <= WINDOW, "{doubles} doubles");
}

#[tokio::test]
async fn a_kill_with_resend_leaves_nobody_in_doubt() {
    killed_it_sends_again_what_is_in_doubt(Ledger::Postgres).await;
}

#[tokio::test]
async fn a_kill_with_resend_leaves_nobody_in_doubt_on_sqlite() {
    killed_it_sends_again_what_is_in_doubt(Ledger::Sqlite).await;
}

#[tokio::test]
async fn asked_to_stop_it_hands_back_what_it_has() {
    stopped_it_hands_back_what_it_has(Ledger::Postgres).await;
}

#[tokio::test]
async fn asked_to_stop_it_hands_back_what_it_has_on_sqlite() {
    stopped_it_hands_back_what_it_has(Ledger::Sqlite).await;
}

#[tokio::test]
async fn a_kill_leaves_only_the_window_in_doubt() {
    killed_it_leaves_only_the_window_in_doubt(Ledger::Postgres).await;
}

#[tokio::test]
async fn a_kill_leaves_only_the_window_in_doubt_on_sqlite() {
    killed_it_leaves_only_the_window_in_doubt(Ledger::Sqlite).await;
}
