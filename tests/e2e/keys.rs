//! The key that signs links changes under a daemon's feet: what was sent goes on working, no fresh link is refused by
//! anybody, and what a retired key signed is worth as much as a forgery.

use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::http::{get, post_form};
use crate::harness::mail::{Mail, RecordingSink};
use crate::harness::shop::{Shop, campaign, message, write_templates};
use crate::services::database::connect;
use crate::services::wait::eventually;

/// One mail's ways back to us, as paths: they lead to every daemon of the store.
struct Ways {
    click: String,
    unsubscribe: String,
    pixel: String,
}

impl Ways {
    fn of(mail: &Mail) -> Ways {
        let path = |url: &str| format!("/{}", url.splitn(4, '/').nth(3).expect("a path"));
        let links = mail.links();
        let unsubscribe = links.last().expect("a way out");
        Ways { click: path(&links[0]), unsubscribe: path(unsubscribe), pixel: path(&mail.pixel()) }
    }

    /// The number of the key that signed them.
    fn key(&self) -> u8 {
        let key = |path: &str| {
            let token = path.rsplit('/').next().expect("a token").trim_end_matches(".gif");
            URL_SAFE_NO_PAD.decode(token).expect("base64url")[0]
        };
        let keys = [&self.click, &self.unsubscribe, &self.pixel].map(|path| key(path));
        assert_eq!(keys, [keys[0]; 3], "one key a mail");
        keys[0]
    }

    async fn click(&self, setup: &Setup) -> (u16, bool) {
        let answer = get(setup.public, &self.click).await.expect("an answer");
        (answer.status().as_u16(), answer.headers().contains_key("location"))
    }
}

const WORKS: (u16, bool) = (302, true);
const FORGED: (u16, bool) = (404, false);

fn said(output: &Output) -> (bool, String) {
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn rotate(setup: &Setup) -> u64 {
    let output = setup.cli(&["--json", "keys", "rotate"]).await;
    assert!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    made["id"].as_u64().expect("a number")
}

async fn stages(setup: &Setup) -> Vec<String> {
    let output = setup.cli(&["--json", "keys", "list"]).await;
    let keys: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let keys = keys.as_array().expect("a list").iter();
    keys.map(|key| format!("{} {}", key["id"], key["state"].as_str().expect("a word"))).collect()
}

/// As if the keys had been there for some seconds more.
async fn age_keys(setup: &Setup, seconds: i64) {
    if let Some(file) = setup.store_url.strip_prefix("sqlite:") {
        let store = rusqlite::Connection::open(file).expect("the store");
        let age = "UPDATE tracking_keys SET created_at = created_at - ?1";
        store.execute(age, [seconds * 1_000_000]).expect("ages the keys");
    } else {
        let age = format!("UPDATE tracking_keys SET created_at = created_at - interval '{seconds} s'");
        connect(&setup.store_url).await.batch_execute(&age).await.expect("ages the keys");
    }
}

async fn signs(daemon: &Daemon, key: u64) {
    let line = format!("tracking key {key} signs from now on");
    eventually(&line, async || daemon.process.log().contains(&line).then_some(())).await;
}

/// Clicks of a campaign that were recorded, of whomever.
async fn clicks(shop: &Shop, id: &str) -> i64 {
    let clicks = shop.books.report(id).await.clicks;
    clicks.total + clicks.machine
}

async fn clicked(shop: &Shop, id: &str, n: i64) {
    eventually("the clicks", async || (clicks(shop, id).await == n).then_some(())).await;
}

/// A campaign to everyone; the ways back of its first mail.
async fn send(shop: &Shop, id: &str) -> Ways {
    let before = shop.sink.mails().len();
    shop.submit(campaign(id, json!({}))).await;
    shop.books.finished(id).await;
    Ways::of(&shop.mails(before + 1).await[before])
}

/// Everything about a store's keys but how long a new one waits, which is aged away. `others` are further daemons.
async fn keys_come_and_go(shop: &mut Shop, others: &[(Setup, Daemon)]) {
    let daemons: Vec<&Daemon> = others.iter().map(|(_, daemon)| daemon).collect();
    let everywhere = async |shop: &Shop, ways: &Ways, expected: (u16, bool)| {
        for setup in others.iter().map(|(setup, _)| setup).chain([&shop.setup]) {
            assert_eq!(ways.click(setup).await, expected);
        }
    };
    let n = i64::try_from(others.len() + 1).expect("few");
    shop.people(2).await;
    let old = send(shop, "before").await;
    assert_eq!(old.key(), 0);
    everywhere(shop, &old, WORKS).await;

    assert_eq!(rotate(&shop.setup).await, 1);
    assert_eq!(stages(&shop.setup).await, ["0 signs", "1 waits"]);
    assert_eq!(send(shop, "meanwhile").await.key(), 0, "the new key waits until everyone knows it");
    age_keys(&shop.setup, 60).await;
    for daemon in daemons.iter().copied().chain([&shop.daemon]) {
        signs(daemon, 1).await;
    }
    let new = send(shop, "after").await;
    assert_eq!(new.key(), 1);
    everywhere(shop, &new, WORKS).await;
    everywhere(shop, &old, WORKS).await;
    clicked(shop, "before", 2 * n).await;
    let left = post_form(shop.setup.public, &old.unsubscribe, "List-Unsubscribe=One-Click").await.unwrap();
    assert_eq!(left.status(), 200, "{}", left.body());
    let preview = shop.setup.cli(&["--json", "preview", "hello", "--contact", "P1"]).await;
    let preview = String::from_utf8(preview.stdout).expect("text");
    let token = preview.split("/u/").nth(1).expect("a way out").split(['"', '\\', '<', '>']).next().unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(token.trim()).expect("base64url")[0], 1, "commands sign as daemons do");

    let (done, why) = said(&shop.setup.cli(&["keys", "retire", "1", "--yes"]).await);
    assert!(!done && why.contains("key 1 is the one that signs"), "{why}");
    let (done, why) = said(&shop.setup.cli(&["keys", "retire", "0", "--yes"]).await);
    assert!(!done && why.contains("a moment ago"), "{why}");
    age_keys(&shop.setup, 60).await;
    let (done, why) = said(&shop.setup.cli(&["keys", "retire", "0"]).await);
    assert!(!done && why.contains("clicks are answered with 404") && why.contains("--yes"), "{why}");
    everywhere(shop, &old, WORKS).await;
    clicked(shop, "before", 3 * n).await;
    let (done, why) = said(&shop.setup.cli(&["keys", "retire", "0", "--yes"]).await);
    assert!(done, "{why}");
    for setup in others.iter().map(|(setup, _)| setup).chain([&shop.setup]) {
        // What is asked for while it still works is an unsubscribe's page: nothing that counts.
        eventually("the end of the old key", async || {
            let page = get(setup.public, &old.unsubscribe).await.expect("an answer");
            (page.status() == 404).then_some(())
        })
        .await;
    }
    everywhere(shop, &old, FORGED).await;
    let pixel = get(shop.setup.public, &old.pixel).await.unwrap();
    assert_eq!(
        (pixel.status().as_u16(), &pixel.headers()["content-type"]),
        (200, &"image/gif".parse().unwrap())
    );
    everywhere(shop, &new, WORKS).await;
    // A true click after the forged ones has everything before it recorded, too.
    clicked(shop, "after", 2 * n).await;
    assert_eq!(clicks(shop, "before").await, 3 * n, "nothing that a retired key signed is recorded");
    assert_eq!(stages(&shop.setup).await, ["0 retired", "1 signs"]);

    shop.restart().await;
    everywhere(shop, &new, WORKS).await;
    everywhere(shop, &old, FORGED).await;
    assert_audited(shop).await;
    for id in ["before", "meanwhile", "after"] {
        shop.books.assert_balanced(id).await;
    }
}

async fn assert_audited(shop: &Shop) {
    let query = campaignd::store::audit::AuditQuery { limit: 100, ..Default::default() };
    let log = shop.books.store.audit_log(&query).await.expect("the store");
    let deeds: Vec<String> = log
        .iter()
        .rev()
        .filter(|one| one.action.starts_with("key_"))
        .map(|one| format!("{} {} {}", one.action, one.subject.as_deref().unwrap_or("-"), one.ending))
        .collect();
    assert_eq!(
        deeds,
        [
            "key_rotated key 1 done",
            "key_retired key 1 refused",
            "key_retired key 0 refused",
            "key_retired key 0 done",
        ]
    );
}

#[tokio::test]
async fn a_key_is_followed_by_another_and_retired_with_one_daemon_on_sqlite() {
    let sink = RecordingSink::start().await;
    let setup = Setup::embedded(sink.address(), "");
    keys_come_and_go(&mut Shop::with(setup, sink).await, &[]).await;
}

#[tokio::test]
async fn a_key_is_followed_by_another_and_retired_with_two_daemons_on_postgresql() {
    let mut shop = Shop::open("").await;
    let other = beside(&shop).await;
    keys_come_and_go(&mut shop, &[other]).await;
}

async fn beside(shop: &Shop) -> (Setup, Daemon) {
    let setup = shop.setup.beside(shop.sink.address());
    write_templates(&setup);
    let daemon = Daemon::start(&setup).await;
    (setup, daemon)
}

/// In real time: while a key is rotated, mails go out without a break, and both daemons are asked about each at once.
#[tokio::test]
async fn no_daemon_refuses_what_another_has_just_signed() {
    let shop = Shop::open("").await;
    let (other, _daemon) = beside(&shop).await;
    shop.people(1).await;
    assert_eq!(rotate(&shop.setup).await, 1);
    let (mut by_old, mut by_new) = (0, 0);
    while by_new < 20 {
        let n = by_old + by_new;
        shop.submit(message(&format!("m{n}"), json!({"external_id": "P1"}), json!({}))).await;
        let ways = Ways::of(&shop.mails(n + 1).await[n]);
        assert_eq!((ways.click(&shop.setup).await, ways.click(&other).await), (WORKS, WORKS), "mail {n}");
        if ways.key() == 0 { by_old += 1 } else { by_new += 1 }
    }
    println!("{by_old} mails by the old key and {by_new} by the new one: no link was refused");
    assert!(by_old > 0);
}
