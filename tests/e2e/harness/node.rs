//! Servers in Node.js that are not ours: `peers/node/NAME.js`, each of which says what it does.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::process::Process;
use crate::services::wait::eventually;

/// One of them, which writes what it saw to a file, a JSON line each.
#[derive(Debug)]
pub struct NodePeer {
    _process: Process,
    dir: TempDir,
    address: SocketAddr,
}

impl NodePeer {
    pub async fn start(script: &str) -> NodePeer {
        let root = env!("CARGO_MANIFEST_DIR");
        let modules = std::env::var("CAMPAIGND_NODE_MODULES")
            .unwrap_or_else(|_| format!("{root}/.services/node/node_modules"));
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("node");
        command.arg(format!("{root}/tests/e2e/peers/node/{script}")).arg(dir.path().join("seen"));
        let mut process = Process::start(command.env("NODE_PATH", modules), dir.path().join("log"));
        let address = eventually(&format!("the port of {script}"), async || {
            assert!(process.status().is_none(), "{script} ended, run scripts/setup: {}", process.log());
            process.log().lines().find_map(|line| line.strip_prefix("listening ")?.parse().ok())
        })
        .await;
        NodePeer { _process: process, dir, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it saw so far, in the order of its coming.
    pub fn seen<T: DeserializeOwned>(&self) -> Vec<T> {
        let lines = fs::read_to_string(self.dir.path().join("seen")).unwrap_or_default();
        let whole = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("a line of the peer's")).collect()
    }
}
