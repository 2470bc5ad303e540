//! RabbitMQ for a test: a virtual host of its own, deleted at the end, or names of its own in the shared one.

use std::process::Command;

use lapin::{Connection, ConnectionProperties};
use uuid::Uuid;

use super::service_url;

#[derive(Debug)]
pub struct TestBroker {
    url: String,
    prefix: String,
    vhost: Option<String>,
}

impl TestBroker {
    /// Costs nothing. Name everything after [`prefix`](Self::prefix) and let it delete itself.
    pub fn shared() -> TestBroker {
        TestBroker { url: service_url("CAMPAIGND_TEST_AMQP_URL"), prefix: unique(), vhost: None }
    }

    /// Costs a second or two; for what uses the fixed names `campaignd.*`.
    pub async fn vhost() -> TestBroker {
        let shared = service_url("CAMPAIGND_TEST_AMQP_URL");
        let (server, _) = shared.rsplit_once('/').expect("a URL that ends in /VHOST");
        let vhost = unique();
        let broker =
            TestBroker { url: format!("{server}/{vhost}"), prefix: unique(), vhost: Some(vhost.clone()) };
        tokio::task::spawn_blocking(move || {
            rabbitmqctl(&["add_vhost", &vhost])?;
            rabbitmqctl(&["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"])
        })
        .await
        .expect("the thread lives")
        .expect("creates a virtual host");
        broker
    }

    /// As `amqp.url` of the configuration takes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What no other test's names begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub async fn connect(&self) -> Connection {
        Connection::connect(&self.url, ConnectionProperties::default())
            .await
            .unwrap_or_else(|error| panic!("no RabbitMQ, run scripts/services up: {error}"))
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(vhost) = &self.vhost
            && let Err(error) = rabbitmqctl(&["delete_vhost", vhost])
        {
            eprintln!("virtual host {vhost} stays behind: {error}");
        }
    }
}

fn unique() -> String {
    format!("test-{}", Uuid::now_v7().simple())
}

fn rabbitmqctl(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"))
        .arg("rabbitmqctl")
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[cfg(test)]
mod tests {
    use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
    use lapin::types::FieldTable;

    use super::super::wait::eventually;
    use super::*;

    async fn publish_and_get(broker: &TestBroker, queue: &str) -> Vec<u8> {
        let connection = broker.connect().await;
        let channel = connection.create_channel().await.unwrap();
        let fleeting = QueueDeclareOptions { exclusive: true, ..Default::default() };
        channel.queue_declare(queue.into(), fleeting, FieldTable::default()).await.unwrap();
        channel
            .basic_publish(
                "".into(),
                queue.into(),
                BasicPublishOptions::default(),
                b"hello",
                Default::default(),
            )
            .await
            .unwrap();
        eventually("the message", async || {
            channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()
        })
        .await
        .delivery
        .data
    }

    #[tokio::test]
    async fn a_virtual_host_has_its_own_names() {
        let (one, other) = tokio::join!(TestBroker::vhost(), TestBroker::vhost());
        for broker in [&one, &other] {
            assert_eq!(publish_and_get(broker, "campaignd.jobs").await, b"hello");
        }
    }

    #[tokio::test]
    async fn prefixes_keep_tests_apart() {
        let (one, other) = (TestBroker::shared(), TestBroker::shared());
        assert_ne!(one.prefix(), other.prefix());
        assert_eq!(publish_and_get(&one, one.prefix()).await, b"hello");
    }
}
