//! The daemon: its configuration, database and virtual host (`Setup`), and one run of it (`Daemon`).

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::free_address;
use super::http::get;
use super::instance::Instance;
use super::process::Process;
use crate::services::broker::TestBroker;
use crate::services::database::TestDb;
use crate::services::wait::eventually;

/// What outlives a run of the daemon, so that a test can start it again.
#[derive(Debug)]
pub struct Setup {
    dir: TempDir,
    pub store_url: String,
    /// Empty where jobs come by HTTP alone.
    pub amqp_url: String,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    _services: Services,
}

#[derive(Debug)]
enum Services {
    /// A database and a virtual host of the services that all tests share.
    Shared {
        _db: TestDb,
        _broker: Option<TestBroker>,
    },
    Own,
}

impl Setup {
    /// E-mail goes to the SMTP server `relay`; `more` is appended to `config.toml`.
    pub async fn new(relay: SocketAddr, more: &str) -> Setup {
        let (db, broker) = tokio::join!(TestDb::create(), TestBroker::vhost());
        let (store_url, amqp_url) = (db.url(), broker.url().to_owned());
        Setup::with(store_url, amqp_url, Services::Shared { _db: db, _broker: Some(broker) }, relay, more)
    }

    /// The same without RabbitMQ, which is cheaper: jobs come by HTTP.
    pub async fn without_broker(relay: SocketAddr, more: &str) -> Setup {
        let db = TestDb::create().await;
        Setup::with(db.url(), String::new(), Services::Shared { _db: db, _broker: None }, relay, more)
    }

    /// The same with nothing beside the daemon: the store is a file in its folder.
    pub fn embedded(relay: SocketAddr, more: &str) -> Setup {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store_url = format!("sqlite:{}", dir.path().join("data/campaignd.db").display());
        Setup::within(dir, store_url, String::new(), Services::Own, relay, more)
    }

    /// The same on services that the test may stop and crash.
    pub fn on(instance: &Instance, relay: SocketAddr, more: &str) -> Setup {
        Setup::with(instance.store_url(), instance.amqp_url(), Services::Own, relay, more)
    }

    /// For another daemon on the same store and broker.
    pub fn beside(&self, relay: SocketAddr) -> Setup {
        Setup::with(self.store_url.clone(), self.amqp_url.clone(), Services::Own, relay, "")
    }

    fn with(store_url: String, amqp_url: String, services: Services, relay: SocketAddr, more: &str) -> Setup {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Setup::within(dir, store_url, amqp_url, services, relay, more)
    }

    fn within(
        dir: TempDir,
        store_url: String,
        amqp_url: String,
        services: Services,
        relay: SocketAddr,
        more: &str,
    ) -> Setup {
        let (public, admin) = (free_address(), free_address());
        let setup = Setup { dir, store_url, amqp_url, public, admin, _services: services };
        setup.write("config.toml", &format!("{}{more}", setup.config(relay)));
        fs::create_dir_all(setup.path().join("templates")).expect("a folder");
        setup
    }

    fn config(&self, relay: SocketAddr) -> String {
        let (public, admin) = (self.public, self.admin);
        let store = &self.store_url;
        let amqp = match self.amqp_url.as_str() {
            "" => String::new(),
            url => format!("[amqp]\nurl = \"{url}\"\n"),
        };
        let (host, port) = (relay.ip(), relay.port());
        format!(
            r#"[store]
url = "{store}"
{amqp}[http]
public = "{public}"
admin = "{admin}"
public_url = "http://{public}"
[templates]
dir = "templates"
[channels.email]
providers = ["relay"]
[providers.relay]
channel = "email"
kind = "smtp"
host = "{host}"
port = {port}
tls = "none"
from = "Shop <news@example.com>"
"#
        )
    }

    /// The folder that the daemon runs in.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file there, as `templates/hello/template.toml`.
    pub fn write(&self, path: &str, contents: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a file's path")).expect("a folder");
        fs::write(path, contents).expect("a file");
    }

    /// Adds `lines` below `[section]` of `config.toml`, before those that are there.
    pub fn configure(&self, section: &str, lines: &str) {
        let path = self.path().join("config.toml");
        let config = fs::read_to_string(&path).expect("the configuration");
        let header = format!("[{section}]\n");
        assert!(config.contains(&header), "there is no {header}");
        fs::write(path, config.replacen(&header, &format!("{header}{lines}\n"), 1)).expect("a file");
    }

    /// Lets the admin listener be reached from everywhere; tests go on reaching it at its address.
    pub fn open_admin(&self) {
        let path = self.path().join("config.toml");
        let config = fs::read_to_string(&path).expect("the configuration");
        let everywhere = format!("admin = \"0.0.0.0:{}\"", self.admin.port());
        let open = config.replacen(&format!("admin = \"{}\"", self.admin), &everywhere, 1);
        assert_ne!(open, config);
        fs::write(path, open).expect("a file");
    }

    /// One command of `campaignd` with this configuration, run to its end.
    pub async fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output()).await.expect("the thread lives").expect("runs")
    }

    /// The same with a variable in its environment.
    pub async fn cli_with(&self, variable: (&str, &str), arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.env(variable.0, variable.1);
        tokio::task::spawn_blocking(move || command.output()).await.expect("the thread lives").expect("runs")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // A release build where the debug build's pace is not what is to be seen.
        let program = std::env::var("CAMPAIGND_TEST_BINARY");
        let mut command = Command::new(program.as_deref().unwrap_or(env!("CARGO_BIN_EXE_campaignd")));
        command.current_dir(self.path()).args(["--config", "config.toml"]).args(arguments);
        command
    }
}

/// One run of `campaignd run`.
#[derive(Debug)]
pub struct Daemon {
    pub process: Process,
}

impl Daemon {
    /// Returns when `/readyz` says yes; panics with the log when the daemon ends before.
    pub async fn start(setup: &Setup) -> Daemon {
        let mut daemon = Daemon::begin(setup);
        daemon.ready(setup).await;
        daemon
    }

    /// Starts it and waits for nothing.
    pub fn begin(setup: &Setup) -> Daemon {
        let log = setup.path().join("daemon.log");
        Daemon { process: Process::start(&mut setup.command(&["run"]), log) }
    }

    pub async fn ready(&mut self, setup: &Setup) {
        let process = &mut self.process;
        eventually("readiness of the daemon", async || {
            if let Some(status) = process.status() {
                panic!("the daemon ended with {status} before it was ready; its log:\n{}", process.log());
            }
            get(setup.admin, "/readyz").await.ok().filter(|answer| answer.status().is_success())
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::mail::{CountingSink, RecordingSink};
    use super::*;

    #[tokio::test]
    async fn a_setup_names_its_services() {
        let sink = CountingSink::start().await;
        let setup = Setup::new(sink.address(), "# more\n").await;
        let config: toml::Table =
            fs::read_to_string(setup.path().join("config.toml")).unwrap().parse().unwrap();
        assert_eq!(config["store"]["url"].as_str(), Some(setup.store_url.as_str()));
        assert_eq!(config["amqp"]["url"].as_str(), Some(setup.amqp_url.as_str()));
        assert_eq!(config["http"]["public"].as_str(), Some(setup.public.to_string().as_str()));
        assert_eq!(config["providers"]["relay"]["port"].as_integer(), Some(sink.address().port().into()));
    }

    #[tokio::test]
    async fn the_binary_answers() {
        let sink = RecordingSink::start().await;
        let setup = Setup::new(sink.address(), "").await;
        for question in ["--version", "--help"] {
            assert!(setup.cli(&[question]).await.status.success(), "{question}");
        }
    }

    #[tokio::test]
    #[should_panic(expected = "before it was ready")]
    async fn a_daemon_that_cannot_start_is_told() {
        let sink = RecordingSink::start().await;
        let setup = Setup::new(sink.address(), "[nonsense]\nkey = 1\n").await;
        let daemon = Daemon::start(&setup).await;
        drop(daemon.process);
    }
}
