//! A marketing system that is not ours: publishes with another AMQP client, in another language.

use std::io::Write;
use std::process::{Command, Stdio};

/// Publishes `body` with `peers/publish.py`, which documents `options`.
///
/// # Errors
/// What the script says when the broker did not take a message.
pub async fn publish(url: &str, options: &[&str], body: &str) -> Result<usize, String> {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/peers/publish.py"));
    command.args(["--url", url]).args(options);
    let body = body.to_owned();
    tokio::task::spawn_blocking(move || run(&mut command, &body)).await.expect("the thread lives")
}

fn run(command: &mut Command, body: &str) -> Result<usize, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("no Python, run scripts/setup: {error}"))?;
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(body.as_bytes()).map_err(|error| error.to_string())?;
    drop(stdin);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|_| "no count on stdout".to_owned())
}

#[cfg(test)]
mod tests {
    use lapin::options::{BasicGetOptions, QueueDeclareOptions};
    use lapin::types::FieldTable;

    use super::*;
    use crate::services::broker::TestBroker;
    use crate::services::wait::eventually;

    #[tokio::test]
    async fn a_foreign_client_reaches_our_queue() {
        let broker = TestBroker::shared();
        let connection = broker.connect().await;
        let channel = connection.create_channel().await.unwrap();
        let queue = broker.prefix();
        let fleeting = QueueDeclareOptions { auto_delete: true, ..Default::default() };
        channel.queue_declare(queue.into(), fleeting, FieldTable::default()).await.unwrap();

        let options = ["--routing-key", queue, "--lines", "--header", "x-origin=shop", "--message-id", "m-1"];
        assert_eq!(publish(broker.url(), &options, "{\"n\": 1}\n\n{\"n\": 2}\n").await, Ok(2));

        for body in ["{\"n\": 1}", "{\"n\": 2}"] {
            let message = eventually("a message", async || {
                channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()
            })
            .await;
            assert_eq!(message.data, body.as_bytes());
            let properties = &message.properties;
            assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
            assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "m-1");
            assert!(properties.headers().as_ref().unwrap().inner().contains_key("x-origin"));
        }
    }

    #[tokio::test]
    async fn a_message_without_a_queue_is_an_error() {
        let broker = TestBroker::shared();
        let refused = publish(broker.url(), &["--routing-key", broker.prefix()], "{}").await;
        assert!(refused.unwrap_err().contains("UnroutableError"));
    }
}
