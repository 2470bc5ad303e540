//! What most commands begin with: the configuration, the store behind it, and whom their arguments mean.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::exit::Failure;
use crate::amqp::Broker;
use crate::app;
use crate::config::{self, Config, StoreKind};
use crate::store::Store;
use crate::store::contacts::ContactRecord;

/// # Errors
/// Everything that is wrong with the configuration; exit code 64.
pub(super) fn configuration(path: &Path) -> Result<Config, Failure> {
    Config::load(path, &config::environment()).map_err(Failure::usage)
}

/// The store, and where it is as error messages may say it.
pub(super) struct Session {
    pub(super) config: Config,
    pub(super) store: Arc<dyn Store>,
    place: String,
}

impl Session {
    /// Loads the configuration and makes sure that the store answers and its schema fits.
    ///
    /// # Errors
    /// A wrong configuration, or a store that is away or too old.
    pub(super) async fn open(path: &Path) -> Result<Session, Failure> {
        let session = Session::unchecked(path)?;
        session.check().await?;
        Ok(session)
    }

    /// Makes sure that the store answers and its schema fits.
    ///
    /// # Errors
    /// When it does not.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.store.check().await.with_context(|| self.place.clone()).map_err(Failure::from)
    }

    /// Asks the store nothing yet: its schema may not exist.
    pub(super) fn unchecked(path: &Path) -> Result<Session, Failure> {
        let config = configuration(path)?;
        let store = app::open_store(&config)?;
        let place = place(&config.store);
        Ok(Session { config, store, place })
    }

    /// The store's place without its password, as the beginning of an error.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The external id that this is, or of whoever owns this address; also of a contact that lists alone have named.
    ///
    /// # Errors
    /// When there is none, or the store is away.
    pub(super) async fn external_id(&self, id_or_address: &str) -> Result<String, Failure> {
        if self.store.timeline(id_or_address, 1).await?.is_some() {
            return Ok(id_or_address.to_owned());
        }
        let owner = self.store.owner_of(id_or_address).await?;
        owner.ok_or_else(|| no_contact(id_or_address))
    }

    /// The contact with this external id or else this address.
    ///
    /// # Errors
    /// When there is none, or the store is away.
    pub(super) async fn contact(&self, id_or_address: &str) -> Result<ContactRecord, Failure> {
        if let Some(contact) = self.store.contact(id_or_address).await? {
            return Ok(contact);
        }
        if let Some(owner) = self.store.owner_of(id_or_address).await?
            && let Some(contact) = self.store.contact(&owner).await?
        {
            return Ok(contact);
        }
        Err(no_contact(id_or_address))
    }
}

fn no_contact(id_or_address: &str) -> Failure {
    anyhow!("no contact has the external id or address `{id_or_address}`").into()
}

/// The broker of the configuration.
///
/// # Errors
/// When there is none, or its URL is wrong; exit code 64.
pub(super) fn broker(config: &Config) -> Result<Broker, Failure> {
    let Some(amqp) = &config.amqp else {
        return Err(Failure::usage(anyhow!(
            "no RabbitMQ is configured, so there is no dead-letter queue: set `url` under [amqp]"
        )));
    };
    Broker::new(amqp.url.reveal(), &amqp.tls).map_err(Failure::usage)
}

/// Where the store is, without its password.
fn place(store: &config::Store) -> String {
    match &store.kind {
        StoreKind::Sqlite(file) => format!("SQLite at {}", file.display()),
        StoreKind::Postgres(url) => postgres(&url.config),
    }
}

/// `PostgreSQL at 127.0.0.1:5432, database `campaignd``.
fn postgres(parsed: &tokio_postgres::Config) -> String {
    let ports = parsed.get_ports();
    let hosts = parsed.get_hosts().iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            tokio_postgres::config::Host::Tcp(name) => format!("{name}:{port}"),
            tokio_postgres::config::Host::Unix(path) => format!("{} (port {port})", path.display()),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    let database = parsed.get_dbname().or(parsed.get_user()).unwrap_or("postgres");
    format!("PostgreSQL at {}, database `{database}`", hosts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_where_and_no_password() {
        assert_eq!(
            postgres(&"postgres://user:hunter2@db.internal:6432/news".parse().unwrap()),
            "PostgreSQL at db.internal:6432, database `news`"
        );
        assert_eq!(
            postgres(&"postgresql://user:hunter2@a,b:7000/news".parse().unwrap()),
            "PostgreSQL at a:5432, b:7000, database `news`"
        );
    }
}
