//! A PostgreSQL and a RabbitMQ of a test's own, for tests that stop, crash and start them. Costs some ten seconds.

use std::path::{Path, PathBuf};
use std::process::Command;

use uuid::Uuid;

use super::free_address;

#[derive(Debug)]
pub struct Instance {
    name: String,
    ports: Vec<(&'static str, u16)>,
    /// Of `ca.pem`, `server.pem` and `server.key`, where they take TLS.
    tls: Option<PathBuf>,
}

impl Instance {
    /// Both services, fresh and running.
    pub async fn start() -> Instance {
        Instance::started(None).await
    }

    /// The same with the certificates in `folder`: PostgreSQL demands TLS, RabbitMQ takes it at [`Instance::amqps_port`].
    pub async fn with_tls(folder: &Path) -> Instance {
        Instance::started(Some(folder.to_owned())).await
    }

    async fn started(tls: Option<PathBuf>) -> Instance {
        let variables = [
            "CAMPAIGND_PG_PORT",
            "CAMPAIGND_AMQP_PORT",
            "CAMPAIGND_AMQPS_PORT",
            "CAMPAIGND_DIST_PORT",
            "CAMPAIGND_EPMD_PORT",
        ];
        let instance = Instance {
            name: format!("test{}", Uuid::now_v7().simple()),
            ports: variables.map(|variable| (variable, free_address().port())).into(),
            tls,
        };
        instance.up("postgres").await;
        instance.up("rabbitmq").await;
        instance
    }

    /// As `store.url` takes it.
    pub fn store_url(&self) -> String {
        let plain = format!("postgres://campaignd:campaignd@127.0.0.1:{}/campaignd", self.pg_port());
        match &self.tls {
            Some(folder) => format!("{plain}?sslmode=verify-full&sslrootcert={}/ca.pem", folder.display()),
            None => plain,
        }
    }

    /// As `amqp.url` takes it.
    pub fn amqp_url(&self) -> String {
        match self.tls {
            Some(_) => format!("amqps://guest:guest@127.0.0.1:{}/%2f", self.amqps_port()),
            None => format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.amqp_port()),
        }
    }

    /// Where RabbitMQ takes no TLS.
    pub fn amqp_port(&self) -> u16 {
        self.port("CAMPAIGND_AMQP_PORT")
    }

    pub fn pg_port(&self) -> u16 {
        self.port("CAMPAIGND_PG_PORT")
    }

    pub fn amqps_port(&self) -> u16 {
        self.port("CAMPAIGND_AMQPS_PORT")
    }

    /// Starts `postgres` or `rabbitmq` and waits until it serves.
    pub async fn up(&self, service: &str) {
        self.run(&["up", service]).await;
    }

    /// A clean shutdown.
    pub async fn down(&self, service: &str) {
        self.run(&["down", service]).await;
    }

    /// The end without a shutdown; what was durable is there after the next `up`. RabbitMQ 3.10 counts a queue as
    /// durable a moment later than it says so: one declared just before a crash may be gone (seen).
    pub async fn crash(&self, service: &str) {
        self.run(&["crash", service]).await;
    }

    /// Lets it run on no more, with all its connections open, until [`Instance::thaw`].
    pub async fn freeze(&self, service: &str) {
        self.run(&["freeze", service]).await;
    }

    pub async fn thaw(&self, service: &str) {
        self.run(&["thaw", service]).await;
    }

    async fn run(&self, arguments: &[&str]) {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("the thread lives");
        let output = output.expect("scripts/services runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"));
        let ports = self.ports.iter().map(|(variable, port)| (variable, port.to_string()));
        command.args(arguments).env("CAMPAIGND_SERVICES", &self.name).envs(ports);
        if let Some(folder) = &self.tls {
            command.env("CAMPAIGND_TLS_DIR", folder);
        }
        command
    }

    fn port(&self, variable: &str) -> u16 {
        self.ports.iter().find(|(name, _)| *name == variable).expect("a port of ours").1
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        match self.command(&["wipe"]).status() {
            Ok(status) if status.success() => {}
            failed => eprintln!("the services {} stay behind: {failed:?}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::options::{BasicGetOptions, ConfirmSelectOptions, QueueDeclareOptions};
    use lapin::types::FieldTable;
    use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

    use super::*;
    use crate::services::database::connect;
    use crate::services::wait::eventually;

    async fn dial(url: &str) -> (Connection, Channel) {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    #[tokio::test]
    async fn what_was_durable_outlives_stops_and_crashes() {
        let instance = Instance::start().await;
        connect(&instance.store_url()).await.batch_execute("CREATE TABLE t AS SELECT 7 AS n").await.unwrap();
        let (connection, channel) = dial(&instance.amqp_url()).await;
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare("q".into(), durable, FieldTable::default()).await.unwrap();
        drop((channel, connection));

        instance.down("rabbitmq").await;
        instance.up("rabbitmq").await;
        let (connection, channel) = dial(&instance.amqp_url()).await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let kept = BasicProperties::default().with_delivery_mode(2);
        let sent =
            channel.basic_publish("".into(), "q".into(), Default::default(), b"kept", kept).await.unwrap();
        assert!(sent.await.unwrap().is_ack());

        instance.crash("postgres").await;
        instance.crash("rabbitmq").await;
        drop((channel, connection));
        assert!(tokio_postgres::connect(&instance.store_url(), tokio_postgres::NoTls).await.is_err());
        instance.up("postgres").await;
        instance.up("rabbitmq").await;

        let row = connect(&instance.store_url()).await.query_one("SELECT n FROM t", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 7);
        let (_connection, channel) = dial(&instance.amqp_url()).await;
        let message = eventually("the message kept", async || {
            channel.basic_get("q".into(), BasicGetOptions { no_ack: true }).await.unwrap()
        })
        .await;
        assert_eq!(message.data, b"kept");
    }
}
