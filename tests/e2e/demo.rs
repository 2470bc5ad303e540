//! The demo as somebody has it who has just built the program: no service, no configuration, nothing left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::http::get;
use crate::harness::process::Process;
use crate::services::wait::eventually;

/// An empty folder to run in, with one for temporary files.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk { dir: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir(desk.temporary()).expect("a folder");
        desk
    }

    fn temporary(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_campaignd"));
        command.current_dir(self.dir.path()).env("TMPDIR", self.temporary());
        // What is meant for a real daemon must not lead the demo there.
        command.env("CAMPAIGND__STORE__URL", "postgres://u:p@127.0.0.1:1/none");
        command.arg("demo").args(arguments);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output()).await.expect("the thread lives").expect("runs")
    }

    /// A demo that goes on; its words go to a file.
    fn start(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(arguments), self.dir.path().join("demo.log"))
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The reports that `--json` printed, by campaign; each one lawful.
fn reports(output: &Output) -> BTreeMap<String, Value> {
    assert!(output.status.success(), "{}\n{}", words(&output.stdout), words(&output.stderr));
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout).expect("reports");
    for report in &reports {
        let states = report["states"].as_object().expect("states");
        let sum: i64 = states.values().map(|n| n.as_i64().expect("a number")).sum();
        assert_eq!(report["targeted"], sum, "{report}");
        assert_eq!((&states["planned"], &states["sending"]), (&0.into(), &0.into()), "{report}");
    }
    let id = |report: &Value| report["campaign"].as_str().expect("an id").to_owned();
    reports.into_iter().map(|report| (id(&report), report)).collect()
}

/// Where the demo that wrote this listens.
fn admin(log: &str) -> Option<SocketAddr> {
    log.split_once("Pages: http://")?.1.split('/').next()?.parse().ok()
}

/// The deliveries whose messages arrived at the sandbox so far.
async fn arrived(admin: SocketAddr) -> BTreeSet<String> {
    let mut arrived = BTreeSet::new();
    let mut after = 0;
    loop {
        let path = format!("/sandbox/messages?limit=1000&after={after}");
        let page = get(admin, &path).await.expect("the mailbox");
        let page: Value = serde_json::from_str(page.body()).expect("messages");
        let messages = page["messages"].as_array().expect("a list");
        if messages.is_empty() {
            return arrived;
        }
        for message in messages {
            let delivery = message["delivery"].as_str().expect("a key").to_owned();
            assert!(arrived.insert(delivery), "nobody gets a message twice: {message}");
        }
        after = page["next"].as_u64().expect("a number");
    }
}

#[tokio::test]
async fn a_demo_shows_a_funnel_a_channel_and_leaves_nothing_behind() {
    let desk = Desk::new();
    let output = desk.run(&["--exit", "--contacts", "300", "--json"]).await;
    let reports = reports(&output);
    let channels: BTreeSet<&str> = reports.values().filter_map(|report| report["channel"].as_str()).collect();
    assert_eq!(channels, BTreeSet::from(["email", "push", "sms", "wechat"]));
    assert_eq!(reports.len(), 5);
    for report in reports.values() {
        assert!(report["sent"].as_i64() > Some(0), "{report}");
        assert!(report["delivered"].as_i64() > Some(0), "{report}");
        let standing = report["campaign"] == "order-thanks";
        assert_eq!(report["status"], if standing { "standing" } else { "finished" }, "{report}");
    }
    let sale = &reports["spring-sale"];
    assert_eq!(sale["targeted"], 300);
    for kind in ["opens", "clicks"] {
        assert!(
            sale[kind]["unique"].as_i64() > Some(0) && sale[kind]["machine"].as_i64() > Some(0),
            "{sale}"
        );
    }
    let reasons: BTreeSet<&str> = reports
        .values()
        .flat_map(|report| report["reasons"].as_array().expect("a list"))
        .filter_map(|row| row["reason"].as_str())
        .collect();
    for reason in ["duplicate", "unknown_contact", "no_address", "suppressed", "no_consent"] {
        assert!(reasons.contains(reason), "{reason} in {reasons:?}");
    }
    let said = words(&output.stderr);
    assert!(said.contains("spring-sale: 300/300") && !said.contains("ERROR"), "{said}");
    assert!(is_empty(&desk.temporary()));
}

#[tokio::test]
async fn a_signal_ends_a_demo_and_its_files() {
    let desk = Desk::new();
    let mut demo = desk.start(&["--contacts", "500"]);
    let admin = eventually("the address of the pages", async || admin(&demo.log())).await;
    eventually("messages", async || Some(()).filter(|()| !is_empty(&desk.temporary()))).await;
    eventually("messages", async || (!arrived(admin).await.is_empty()).then_some(())).await;
    demo.sigterm();
    assert_eq!(demo.ended().await.code(), Some(1));
    assert!(demo.log().contains("error: stopped before its end"), "{}", demo.log());
    assert!(is_empty(&desk.temporary()));
}

#[tokio::test]
async fn a_demo_that_was_killed_goes_on_in_its_folder_and_nobody_gets_anything_twice() {
    let desk = Desk::new();
    let arguments = ["--contacts", "500", "--data", "kept"];
    let mut killed = desk.start(&arguments);
    let first = eventually("the address of the pages", async || admin(&killed.log())).await;
    let before = eventually("a hundred messages", async || {
        Some(arrived(first).await).filter(|arrived| arrived.len() >= 100)
    })
    .await;
    killed.sigkill();
    killed.ended().await;

    let mut demo = Process::start(&mut desk.command(&arguments), desk.dir.path().join("again.log"));
    let second = eventually("the address of the pages", async || admin(&demo.log())).await;
    let mut looked = String::new();
    while !demo.log().contains("Ctrl-C ends the demo.") {
        // The demo says how far it is every few seconds, and ends by itself where nothing goes on.
        eventually("the demo goes on", async || (demo.log() != looked).then(|| looked = demo.log())).await;
        assert!(demo.status().is_none(), "{}", demo.log());
    }
    assert!(demo.log().contains("The law of the ledger holds"), "{}", demo.log());
    let after = arrived(second).await;
    let twice: Vec<_> = before.intersection(&after).collect();
    assert!(!after.is_empty() && twice.is_empty(), "{twice:?}");
    for page in ["/", "/sandbox"] {
        assert_eq!(get(second, page).await.expect("a page").status(), 200, "{page}");
    }
    demo.sigterm();
    assert_eq!(demo.ended().await.code(), Some(0), "{}", demo.log());
    assert!(desk.dir.path().join("kept/campaignd.db").is_file() && is_empty(&desk.temporary()));

    let output = desk.run(&["--exit", "--json", "--contacts", "500", "--data", "kept"]).await;
    assert_eq!(reports(&output)["spring-sale"]["targeted"], 500);
    let other = desk.run(&["--exit", "--contacts", "300", "--data", "kept"]).await;
    assert_eq!(other.status.code(), Some(1));
    assert!(words(&other.stderr).contains("holds another demo"), "{}", words(&other.stderr));
}
