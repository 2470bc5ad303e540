//! A system that listens to events with another AMQP client, in another language.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use crate::services::wait::eventually;

/// `peers/consume.py`.
#[derive(Debug)]
pub struct Listener {
    process: Process,
    _dir: TempDir,
}

impl Listener {
    /// Hears everything on `exchange` from now on.
    pub async fn start(url: &str, exchange: &str) -> Listener {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/peers/consume.py"));
        command.args(["--url", url, "--exchange", exchange]);
        let mut process = Process::start(&mut command, dir.path().join("log"));
        eventually("the listener", async || {
            assert!(process.status().is_none(), "the listener ended: {}", process.log());
            process.log().starts_with("listening").then_some(())
        })
        .await;
        Listener { process, _dir: dir }
    }

    /// Routing keys and bodies so far.
    pub fn heard(&self) -> Vec<(String, Value)> {
        let log = self.process.log();
        let lines = log.split_inclusive('\n').skip(1).filter_map(|line| line.strip_suffix('\n'));
        let read = |line| {
            let mut message: Value = serde_json::from_str(line).expect("a line of the listener's");
            (message["routing_key"].as_str().expect("text").to_owned(), message["body"].take())
        };
        lines.map(read).collect()
    }

    /// Waits for the message with this routing key.
    pub async fn hears(&self, routing_key: &str) -> Value {
        eventually(routing_key, async || {
            self.heard().into_iter().find_map(|(key, body)| (key == routing_key).then_some(body))
        })
        .await
    }
}
