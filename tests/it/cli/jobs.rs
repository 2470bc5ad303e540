//! Jobs on their way in, and those that did not get there.

use axum::http::StatusCode;
use axum::routing::post;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{Shell, sample};
use crate::harness::broker::TestBroker;

const STORE: &str = "postgres://u:p@127.0.0.1:1/none";

async fn with_broker() -> (TestBroker, Shell) {
    let broker = TestBroker::vhost().await;
    let shell = Shell::new(STORE, &format!("[amqp]\nurl = \"{}\"\n", broker.url()));
    (broker, shell)
}

#[tokio::test]
async fn a_job_goes_to_the_queue_of_its_type() {
    let (broker, shell) = with_broker().await;
    for (file, queue) in [("campaign.json", "campaignd.jobs"), ("message.json", "campaignd.messages")] {
        let answer = shell.json(&["enqueue", &sample(&format!("jobs/{file}"))]).await;
        assert_eq!((&answer["queue"], &answer["result"]), (&json!(queue), &json!("queued")));
        let channel = broker.connect().await.create_channel().await.unwrap();
        let mut consumer = channel
            .basic_consume(queue.into(), "test".into(), Default::default(), Default::default())
            .await
            .unwrap();
        let body: Value = serde_json::from_slice(&consumer.next().await.unwrap().unwrap().data).unwrap();
        assert_eq!(body["id"], answer["id"]);
    }
}

#[tokio::test]
async fn a_bad_job_does_not_travel() {
    let shell = Shell::alone();
    shell.run(&["enqueue", &sample("jobs/bad/channel-unknown.json")]).await.failed(65, "error: $.channel: ");
    shell.run(&["enqueue", "gone.json"]).await.failed(64, "cannot open gone.json");
    shell.run(&["enqueue", "-"]).await.failed(65, "$: not JSON");
    shell.write("large.json", vec![b' '; (16 << 20) + 1]);
    shell.run(&["enqueue", "large.json"]).await.failed(65, "at most 16 MiB");
    let away = shell.run(&["enqueue", &sample("jobs/campaign.json")]).await;
    away.failed(1, "no daemon answers at 127.0.0.1:2; start `campaignd run`");
}

#[tokio::test]
async fn without_a_broker_the_daemon_is_asked_itself() {
    let router = axum::Router::new().route(
        "/v1/jobs",
        post(async |axum::Json(job): axum::Json<Value>| match job["id"].as_str() {
            Some("spring") => {
                let answer = json!({"type": job["type"], "id": "spring", "result": "accepted", "warnings": ["careful"]});
                (StatusCode::ACCEPTED, axum::Json(answer))
            }
            _ => (StatusCode::CONFLICT, axum::Json(json!({"detail": "$.id: came before"}))),
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async { axum::serve(listener, router).await });
    let shell = Shell::alone();
    let job = json!({"type": "control", "id": "spring", "campaign": "c", "action": "pause"});
    shell.write("job.json", job.to_string());
    shell.write("other.json", job.to_string().replace("spring", "summer"));
    let enqueue = async |file: &str| {
        let mut command = shell.command(&["enqueue", file]);
        command.env("CAMPAIGND__HTTP__ADMIN", address.to_string());
        tokio::task::spawn_blocking(move || super::Answer::of(command.output().unwrap())).await.unwrap()
    };
    let taken = enqueue("job.json").await;
    assert_eq!((taken.code, taken.stdout.as_str()), (0, "control spring: accepted\n"), "{taken:?}");
    assert_eq!(taken.stderr, "warning: careful\n");
    enqueue("other.json").await.failed(65, "409 Conflict: $.id: came before");
    server.abort();
}

#[tokio::test]
async fn dead_letters_are_listed_retried_and_dropped() {
    let (broker, shell) = with_broker().await;
    shell.run(&["dead", "list"]).await.failed(1, "no queue `campaignd.dead`");
    shell.json(&["enqueue", &sample("jobs/campaign.json")]).await;
    assert_eq!(shell.run(&["dead", "list"]).await.stdout, "no dead letters\n");

    let channel = broker.connect().await.create_channel().await.unwrap();
    for id in ["one", "two", "three"] {
        let mut headers = lapin::types::FieldTable::default();
        headers
            .insert("x-campaignd-error".into(), lapin::types::AMQPValue::LongString("$.id: missing".into()));
        headers.insert(
            "x-campaignd-queue".into(),
            lapin::types::AMQPValue::LongString("campaignd.messages".into()),
        );
        let properties = lapin::BasicProperties::default().with_message_id(id.into()).with_headers(headers);
        channel.confirm_select(Default::default()).await.unwrap();
        let confirm = channel
            .basic_publish(
                "".into(),
                "campaignd.dead".into(),
                Default::default(),
                b"{\"type\": \"message\"}",
                properties,
            )
            .await
            .unwrap();
        confirm.await.unwrap();
    }
    let list = shell.json(&["dead", "list", "--limit", "2"]).await;
    assert_eq!((&list["total"], list["letters"].as_array().unwrap().len()), (&json!(3), 2));
    let table = shell.run(&["dead", "list", "--limit", "2"]).await.stdout;
    assert!(table.contains("$.id: missing") && table.contains("2 of 3 letters"), "{table}");

    assert_eq!(shell.run(&["dead", "retry", "two"]).await.stdout, "1 letter sent back\n");
    let wrong = shell.run(&["dead", "drop", "two"]).await;
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("no letter has the id two"), "{wrong:?}");
    assert_eq!(shell.run(&["dead", "drop", "--all"]).await.stdout, "2 letters dropped\n");
    assert_eq!(shell.json(&["dead", "list"]).await["total"], 0);
}
