//! Who gets in at the admin listener, what they may do there, and what the audit log says of it.

use std::process::Output;

use hyper::{Method, Response};
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::http::{ask, get};
use crate::harness::mail::RecordingSink;
use crate::harness::shop::{Shop, campaign, person};
use crate::services::wait::eventually;

/// A daemon that may be reached from everywhere.
async fn open_shop() -> Shop {
    let sink = RecordingSink::start().await;
    let setup = Setup::without_broker(sink.address(), "").await;
    setup.open_admin();
    setup.configure("http", "trusted_proxies = \"127.0.0.1\"");
    Shop::with(setup, sink).await
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// A new token, which the daemon knows.
async fn token(shop: &Shop, name: &str, scope: &str) -> String {
    let made = shop.setup.cli(&["tokens", "create", name, "--scope", scope, "--expires", "1h"]).await;
    let token = text(&made).trim().to_owned();
    let mut client = 0_u8;
    eventually("a token that is known", async || {
        // Each time another client, so that nobody asks too often before the daemon has read it.
        client = client.wrapping_add(1);
        let (from, bearer) = (format!("192.0.2.{client}"), format!("Bearer {token}"));
        let headers = [("x-forwarded-for", from.as_str()), ("authorization", bearer.as_str())];
        let answer =
            ask(shop.setup.admin, Method::GET, "/v1/nothing", &headers, "").await.expect("an answer");
        (![401, 429].contains(&answer.status().as_u16())).then_some(())
    })
    .await;
    token
}

async fn with(shop: &Shop, method: Method, path: &str, token: &str, body: &str) -> Response<String> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    ask(shop.setup.admin, method, path, &headers, body).await.expect("an answer")
}

async fn audited(shop: &Shop) -> Vec<(String, String, Option<String>)> {
    let query = campaignd::store::audit::AuditQuery { limit: 100, ..Default::default() };
    let log = shop.books.store.audit_log(&query).await.expect("the store");
    log.into_iter().rev().map(|record| (record.who, record.action, record.subject)).collect()
}

#[tokio::test]
async fn each_token_opens_its_own_doors_until_it_is_revoked() {
    let shop = open_shop().await;
    for path in ["/", "/metrics", "/v1/campaigns", "/openapi.json", "/nothing"] {
        assert_eq!(get(shop.setup.admin, path).await.unwrap().status(), 401, "{path}");
    }
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(get(shop.setup.admin, probe).await.unwrap().status(), 200, "{probe}");
    }
    let (read, send, admin) = (
        token(&shop, "look", "read").await,
        token(&shop, "shop", "send").await,
        token(&shop, "boss", "admin").await,
    );
    let people =
        json!({"type": "contacts", "id": "people", "upsert": [person("P1"), person("P2")]}).to_string();
    assert_eq!(with(&shop, Method::POST, "/v1/jobs", &read, &people).await.status(), 403);
    assert_eq!(with(&shop, Method::POST, "/v1/jobs", &send, &people).await.status(), 202);
    let job = campaign("spring", json!({})).to_string();
    assert_eq!(with(&shop, Method::POST, "/v1/jobs", &send, &job).await.status(), 202);
    let pause = json!({"type": "control", "id": "stop", "campaign": "spring", "action": "pause"}).to_string();
    assert_eq!(with(&shop, Method::POST, "/v1/jobs", &send, &pause).await.status(), 403);
    assert_eq!(with(&shop, Method::GET, "/v1/campaigns/spring", &send, "").await.status(), 403);
    assert_eq!(with(&shop, Method::GET, "/v1/campaigns/spring", &read, "").await.status(), 200);
    assert_eq!(with(&shop, Method::GET, "/metrics", &read, "").await.status(), 200);
    assert_eq!(with(&shop, Method::DELETE, "/v1/contacts/P2", &send, "").await.status(), 403);
    shop.books.finished("spring").await;
    assert_eq!(with(&shop, Method::POST, "/v1/campaigns/spring/pause", &admin, "").await.status(), 200);
    assert_eq!(with(&shop, Method::DELETE, "/v1/contacts/P2", &admin, "").await.status(), 204);

    text(&shop.setup.cli(&["tokens", "revoke", "shop"]).await);
    eventually("the end of a token", async || {
        (with(&shop, Method::POST, "/v1/jobs", &send, &job).await.status() == 401).then_some(())
    })
    .await;
    let log = with(&shop, Method::GET, "/v1/audit?limit=100", &admin, "").await;
    let log: Value = serde_json::from_str(log.body()).unwrap();
    assert!(!log.to_string().contains("example.com") && !log.to_string().contains("P2"), "{log}");
    let deeds: Vec<(String, String, Option<String>)> = audited(&shop).await;
    let deeds: Vec<String> = deeds
        .into_iter()
        .map(|(who, action, subject)| {
            format!("{} {action} {}", who.split(':').next().unwrap(), subject.unwrap_or_default())
        })
        .collect();
    assert_eq!(
        deeds,
        [
            "cli token_created look",
            "cli token_created shop",
            "cli token_created boss",
            "token job_accepted campaign spring",
            "token campaign_paused spring",
            "token contact_erased ",
            "cli token_revoked shop",
        ]
    );
}

#[tokio::test]
async fn commands_show_the_token_of_their_environment() {
    let shop = open_shop().await;
    let token = token(&shop, "shop", "send").await;
    shop.setup
        .write("people.json", &json!({"type": "contacts", "id": "p", "upsert": [person("P1")]}).to_string());
    let stranger = shop.setup.cli(&["enqueue", "people.json"]).await;
    let said = String::from_utf8(stranger.stderr).unwrap();
    assert!(stranger.status.code() == Some(1) && said.contains("401 Unauthorized"), "{said}");
    let known = shop.setup.cli_with(("CAMPAIGND_TOKEN", &token), &["enqueue", "people.json"]).await;
    assert_eq!(text(&known), "contacts p: accepted\n");
    let known = shop.setup.cli_with(("CAMPAIGND__HTTP__TOKEN", &token), &["enqueue", "people.json"]).await;
    assert_eq!(text(&known), "contacts p: known\n");
}

#[tokio::test]
async fn a_strange_name_is_not_answered_on_loopback_either() {
    let shop = Shop::open("").await;
    let named = async |host: &str| {
        ask(shop.setup.admin, Method::GET, "/v1/campaigns", &[("host", host)], "").await.unwrap().status()
    };
    assert_eq!(named("rebound.evil.example:8081").await, 421);
    assert_eq!(named(&format!("localhost:{}", shop.setup.admin.port())).await, 200);
}

#[tokio::test]
async fn whoever_needs_no_token_is_audited_all_the_same() {
    let mut shop = Shop::open_with_broker("").await;
    shop.people(1).await;
    shop.submit(campaign("spring", json!({}))).await;
    let pause = json!({"type": "control", "id": "stop", "campaign": "spring", "action": "pause"}).to_string();
    let way = ["--exchange", "campaignd", "--routing-key", "jobs"];
    assert_eq!(crate::harness::publish::publish(&shop.setup.amqp_url, &way, &pause).await, Ok(1));
    let of = |who: &'static str, action: &'static str, subject: &'static str| {
        (who.to_owned(), action.to_owned(), Some(subject.to_owned()).filter(|subject| !subject.is_empty()))
    };
    let mut expected = vec![
        of("loopback", "job_accepted", "campaign spring"),
        of("rabbitmq", "job_accepted", "control stop"),
    ];
    eventually("the control in the log", async || (audited(&shop).await == expected).then_some(())).await;
    shop.daemon.process.sighup();
    expected.push(of("signal", "config_reloaded", ""));
    eventually("the reload in the log", async || (audited(&shop).await == expected).then_some(())).await;
    let erased = ask(shop.setup.admin, Method::DELETE, "/v1/contacts/P1", &[], "").await.unwrap();
    assert_eq!(erased.status(), 204);
    expected.push(of("loopback", "contact_erased", ""));
    assert_eq!(audited(&shop).await, expected);
}

#[tokio::test]
async fn tokens_outlive_a_restart_with_sqlite() {
    let sink = RecordingSink::start().await;
    let setup = Setup::embedded(sink.address(), "");
    setup.open_admin();
    setup.configure("http", "trusted_proxies = \"127.0.0.1\"");
    let mut shop = Shop::with(setup, sink).await;
    let token = token(&shop, "look", "read").await;
    shop.daemon.process.sigterm();
    assert!(shop.daemon.process.ended().await.success());
    shop.daemon = Daemon::start(&shop.setup).await;
    assert_eq!(
        with(&shop, Method::GET, "/v1/campaigns", &token, "").await.status(),
        200,
        "from the first request on"
    );
    eventually("when it was used", async || {
        shop.books.store.tokens().await.expect("the store").pop()?.last_used_at
    })
    .await;
}
