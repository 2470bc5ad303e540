//! RabbitMQ and PostgreSQL go away and come back; the daemon stays, and nothing is lost or sent twice.

use serde_json::json;

use crate::harness::books::Books;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::http::get;
use crate::harness::instance::Instance;
use crate::harness::mail::RecordingSink;
use crate::harness::publish::publish;
use crate::harness::shop::{HELLO, HELLO_HTML, Shop, campaign};
use crate::services::wait::eventually;

#[tokio::test]
async fn services_come_and_go() {
    let (instance, sink) = tokio::join!(Instance::start(), RecordingSink::start());
    let setup = Setup::on(&instance, sink.address(), "");
    setup.write("templates/hello/template.toml", HELLO);
    setup.write("templates/hello/email.html.hbs", HELLO_HTML);

    // RabbitMQ is not there at the start: the daemon waits for it, and works with what comes by HTTP.
    instance.down("rabbitmq").await;
    let daemon = Daemon::begin(&setup);
    eventually("an answer", async || get(setup.admin, "/healthz").await.ok()).await;
    let shop = Shop { daemon, books: Books::of(&setup.store_url), sink, setup };
    shop.people(800).await;
    shop.submit(campaign("by-http", json!({"audience": {"contacts": ["P1", "P2"]}}))).await;
    shop.books.finished("by-http").await;
    assert_eq!(get(shop.setup.admin, "/readyz").await.unwrap().status(), 503);
    instance.up("rabbitmq").await;
    let mut shop = shop;
    shop.daemon.ready(&shop.setup).await;

    // PostgreSQL crashes in the middle of a campaign.
    let job = campaign("long", json!({"rate": "100/s"})).to_string();
    assert_eq!(publish(&shop.setup.amqp_url, &["--routing-key", "campaignd.jobs"], &job).await, Ok(1));
    shop.mails(50).await;
    instance.crash("postgres").await;
    assert!(shop.sink.mails().len() < 800, "it crashed in the middle");
    instance.up("postgres").await;

    // RabbitMQ crashes meanwhile, and takes jobs again when it is back.
    instance.crash("rabbitmq").await;
    instance.up("rabbitmq").await;
    let job = campaign("after", json!({"audience": {"contacts": ["P3"]}})).to_string();
    assert_eq!(publish(&shop.setup.amqp_url, &["--routing-key", "campaignd.jobs"], &job).await, Ok(1));
    eventually("the job", async || shop.books.status("after").await).await;
    shop.books.finished("after").await;
    let fates = shop.books.finished("long").await;
    assert!(
        fates.len() == 800 && fates.values().all(|fate| fate == "accepted"),
        "{:?}",
        shop.books.tally("long").await
    );
    assert_eq!(shop.sink.mails().len(), 803);
}
