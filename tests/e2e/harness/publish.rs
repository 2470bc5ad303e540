//! A marketing system that is not ours: publishes with another AMQP client, in another language.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use crate::services::wait::eventually;

/// `peers/stream.py`: one job after the other, each until RabbitMQ has confirmed it.
#[derive(Debug)]
pub struct Stream {
    process: Process,
    _dir: TempDir,
}

impl Stream {
    /// A job every so many seconds; `@N@` in it is its number, from 1.
    pub fn start(url: &str, routing_key: &str, every: &str, job: &Value) -> Stream {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/peers/stream.py"));
        command.args(["--url", url, "--exchange", "campaignd", "--routing-key", routing_key]);
        command.args(["--every", every, "--body", &job.to_string()]);
        Stream { process: Process::start(&mut command, dir.path().join("log")), _dir: dir }
    }

    /// How many are confirmed: those numbered up to it.
    pub fn confirmed(&self) -> usize {
        let log = self.process.log();
        let last = log.split_inclusive('\n').rfind(|line| line.ends_with('\n'));
        last.map_or(0, |line| line.trim().parse().unwrap_or_else(|_| panic!("the stream says {log}")))
    }

    /// Waits until one more is confirmed.
    pub async fn goes_on(&self) {
        let before = self.confirmed();
        eventually("another confirm", async || (self.confirmed() > before).then_some(())).await;
    }

    /// Ends it; how many were confirmed.
    pub async fn end(mut self) -> usize {
        self.process.sigterm();
        assert!(self.process.ended().await.success(), "{}", self.process.log());
        self.confirmed()
    }
}

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
