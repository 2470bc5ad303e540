//! Jobs over RabbitMQ: once each whatever comes twice, and what cannot be done is kept with a reason that can be read.

use lapin::message::BasicGetMessage;
use lapin::options::BasicGetOptions;
use lapin::types::AMQPValue;
use serde_json::{Value, json};

use crate::harness::http::post;
use crate::harness::publish::publish;
use crate::harness::shop::{Shop, campaign, person};
use crate::services::wait::eventually;

const JOBS: [&str; 4] = ["--exchange", "campaignd", "--routing-key", "jobs"];

async fn dead(channel: &lapin::Channel) -> BasicGetMessage {
    eventually("a dead letter", async || {
        channel.basic_get("campaignd.dead".into(), BasicGetOptions { no_ack: true }).await.unwrap()
    })
    .await
}

fn header(letter: &BasicGetMessage, name: &str) -> String {
    let headers = letter.properties.headers().as_ref().expect("headers");
    match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

async fn dead_letters(shop: &Shop) -> (lapin::Connection, lapin::Channel) {
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(&shop.setup.amqp_url, properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn publish_job(shop: &Shop, job: &str) {
    assert_eq!(publish(&shop.setup.amqp_url, &JOBS, job).await, Ok(1));
}

#[tokio::test]
async fn a_job_twice_is_one_campaign_and_another_content_a_conflict() {
    let shop = Shop::open_with_broker("").await;
    let (_connection, letters) = dead_letters(&shop).await;
    shop.people(3).await;
    let job = campaign("twice", json!({"data": {"n": 1}}));
    publish_job(&shop, &job.to_string()).await;
    // The same content in other words.
    publish_job(&shop, &serde_json::to_string_pretty(&job).unwrap()).await;
    let known = post(shop.setup.admin, "/v1/jobs", &job.to_string()).await.unwrap();
    assert!([200, 202].contains(&known.status().as_u16()), "{}", known.body());
    let other = campaign("twice", json!({"data": {"n": 2}}));
    publish_job(&shop, &other.to_string()).await;
    let letter = dead(&letters).await;
    assert_eq!(serde_json::from_slice::<Value>(&letter.data).unwrap(), other);
    assert!(
        header(&letter, "x-campaignd-error").contains("conflict"),
        "{}",
        header(&letter, "x-campaignd-error")
    );
    assert_eq!(header(&letter, "x-campaignd-queue"), "campaignd.jobs");
    let refused = post(shop.setup.admin, "/v1/jobs", &other.to_string()).await.unwrap();
    assert_eq!(refused.status(), 409);

    let fates = shop.books.finished("twice").await;
    assert_eq!(fates.len(), 3);
    assert_eq!(shop.reached().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_done_is_kept_with_its_reason_and_the_queue_goes_on() {
    let shop = Shop::open_with_broker("").await;
    let (_connection, letters) = dead_letters(&shop).await;
    let segment = json!({"audience": {"segment": {"all": [{"tag": 7}]}}});
    let bad = [
        ("{\"type\": \"campaign\", ".to_owned(), "$"),
        (campaign("a", json!({"data": "text"})).to_string(), "$.data"),
        (campaign("b", segment).to_string(), "$.audience.segment.all[0]"),
        (campaign("c", json!({"template": "missing"})).to_string(), "$.template"),
        (campaign("d", json!({"channel": "fax"})).to_string(), "$.channel"),
        (campaign("e", json!({"channel": "sms"})).to_string(), "$.channel"),
        (campaign("f", json!({"nonsense": 1})).to_string(), "nonsense"),
        (
            json!({"type": "control", "id": "g", "campaign": "none", "action": "pause"}).to_string(),
            "$.campaign",
        ),
        ("[]".to_owned(), "$"),
    ];
    for (job, path) in &bad {
        publish_job(&shop, job).await;
        let letter = dead(&letters).await;
        assert_eq!(String::from_utf8_lossy(&letter.data), job.as_str());
        let error = header(&letter, "x-campaignd-error");
        assert!(error.contains(path), "{job}: {error}");
        assert_eq!(header(&letter, "x-campaignd-queue"), "campaignd.jobs");
    }
    let contacts = json!({"type": "contacts", "id": "people", "upsert": [person("P1")]});
    publish_job(&shop, &contacts.to_string()).await;
    publish_job(&shop, &campaign("good", json!({})).to_string()).await;
    eventually("the campaign behind the bad ones", async || shop.books.status("good").await).await;
    shop.books.finished("good").await;
    assert_eq!(shop.reached().len(), 1);
    let none = letters.basic_get("campaignd.dead".into(), BasicGetOptions { no_ack: true }).await.unwrap();
    assert!(none.is_none(), "each bad job is kept once");
}
