//! The command line as its users have it: the real binary, its output, its exit codes.

mod access;
mod campaigns;
mod contacts;
mod jobs;
mod keys;
mod templates;
mod usage;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a configuration, and `campaignd` in it.
struct Shell {
    dir: TempDir,
}

/// How one command ended.
#[derive(Debug)]
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Shell {
    /// `more` is appended to a configuration with this store and a relay where nobody listens.
    fn new(store: &str, more: &str) -> Shell {
        let shell = Shell { dir: tempfile::tempdir().unwrap() };
        let config = format!(
            r#"[store]
url = "{store}"
[http]
public = "127.0.0.1:1"
admin = "127.0.0.1:2"
public_url = "https://news.example"
[channels.email]
providers = ["relay"]
[providers.relay]
kind = "smtp"
host = "127.0.0.1"
port = 1
tls = "none"
from = "Shop <news@example.com>"
{more}"#
        );
        shell.write("config.toml", &config);
        shell.write("templates/hello/template.toml", HELLO);
        shell.write(
            "templates/hello/mail.html",
            "<p><a href=\"https://shop.example/{{city}}\">{{name}}</a></p>",
        );
        shell
    }

    /// A store that is away.
    fn alone() -> Shell {
        Shell::new("postgres://user:hunter2@127.0.0.1:1/none", "")
    }

    fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // A command that does not end fails its test with status 124.
        let mut command = Command::new("timeout");
        command
            .args(["60", env!("CARGO_BIN_EXE_campaignd")])
            .current_dir(self.dir.path())
            .env_remove("RUST_LOG")
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || Answer::of(command.output().unwrap())).await.unwrap()
    }

    /// What a command that must succeed prints with `--json`.
    async fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [&["--json"], arguments].concat();
        let answer = self.run(&arguments).await;
        assert_eq!(answer.code, 0, "{arguments:?}: {answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    }
}

const HELLO: &str = r#"[email]
subject = "Hello {{name}}, {{discount}} off"
html = "mail.html"
[sms]
text = "Hello {{name}}"
"#;

impl Answer {
    fn of(output: Output) -> Answer {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answer {
            code: output.status.code().expect("it was not killed"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Ended with this code, said this on standard error, and nothing on standard output.
    #[track_caller]
    fn failed(&self, code: i32, said: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(said), "{said:?} in {self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
    }
}

fn sample(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path).display().to_string()
}
