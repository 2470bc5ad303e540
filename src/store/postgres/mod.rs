//! The store on PostgreSQL: hand-written, batched SQL on a pool of connections.

mod adding;
mod audit;
mod cached;
mod campaigns;
mod contacts;
mod counters;
mod dispatching;
mod duties;
mod engagement;
mod entries;
mod erasing;
mod exports;
mod filter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod granting;
mod jobs;
mod judging;
mod keys;
mod leases;
mod migrate;
mod moving;
mod overview;
mod pausing;
mod planning;
mod rates;
mod receipts;
mod recipients;
mod recording;
mod references;
mod reports;
mod standing;
mod suppressing;
mod tls;
mod tokens;
mod tracking;
mod upserting;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use async_trait::async_trait;
use deadpool_postgres::{
    GenericClient, Manager, ManagerConfig, Object, QueueMode, RecyclingMethod, Runtime, Transaction,
};
use tokio::sync::OnceCell;
use tokio_postgres::error::SqlState;

use self::tls::Tls;
use super::{Admin, CONNECTION_WAIT, Error, Pool, Result, Secrets, SharedRates, decode, fresh_secret};
use crate::model::{CampaignNo, Channel};
use crate::postgres_url::{InvalidUrl, PostgresUrl, SslMode};

const SILENCE: std::time::Duration = std::time::Duration::from_secs(15);
/// How long a transaction may wait for its client's next word.
const STANDSTILL: &str = "10s";

/// Campaign numbers that one partition of `deliveries` holds.
const CAMPAIGNS_A_PARTITION: i64 = 64;

pub struct PgStore {
    config: tokio_postgres::Config,
    tls: Tls,
    mode: SslMode,
    pool: deadpool_postgres::Pool,
    secrets: OnceCell<Secrets>,
    /// Partitions that are known to exist.
    partitions: Mutex<HashSet<i64>>,
    /// Numbers of providers' names.
    providers: Mutex<HashMap<String, i16>>,
}

impl std::fmt::Debug for PgStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgStore").finish_non_exhaustive()
    }
}

impl PgStore {
    /// A pool of at most `connections` to `url`; connects when first asked for something.
    ///
    /// # Errors
    /// When the URL, or a file that it names, cannot be read.
    pub fn new(url: &str, connections: usize) -> Result<Self> {
        let url: PostgresUrl = url.parse().map_err(|error: InvalidUrl| Error::Refused(error.into()))?;
        PgStore::at(&url, connections)
    }

    /// As [`PgStore::new`], of a URL that was read before.
    ///
    /// # Errors
    /// When a file that it names cannot be read.
    pub fn at(url: &PostgresUrl, connections: usize) -> Result<Self> {
        let tls = Tls::new(url).map_err(|error| Error::Refused(error.into()))?;
        let mut config = url.config.clone();
        // Compiling a page's statement costs more than running it. The locks of a daemon that stands still hold up all
        // others.
        let options = format!(
            "-c jit=off -c idle_in_transaction_session_timeout={STANDSTILL} {}",
            config.get_options().unwrap_or_default()
        );
        config.application_name("campaignd").connect_timeout(CONNECTION_WAIT).options(options);
        // A server that fell silent is noticed before our leases are taken for dead.
        config.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE).keepalives_interval(CONNECTION_WAIT);
        let manager = Manager::from_config(
            config.clone(),
            tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(connections)
            // The connection that was used last has its statements prepared and its server's memory warm.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECTION_WAIT))
            .create_timeout(Some(CONNECTION_WAIT))
            .build()
            .map_err(|error| Error::Refused(error.into()))?;
        Ok(PgStore {
            config,
            tls,
            mode: url.mode,
            pool,
            secrets: OnceCell::new(),
            partitions: Mutex::default(),
            providers: Mutex::default(),
        })
    }

    async fn client(&self) -> Result<Object> {
        self.pool.get().await.map_err(|error| match tls::advice(&error, self.mode) {
            Some(advice) => Error::Unavailable(advice(error).into()),
            None => Error::Unavailable(error.into()),
        })
    }

    /// The keyed hash under which a suppression remembers an address.
    async fn address_hash(&self, channel: Channel, address: &str) -> Result<Vec<u8>> {
        self.secrets().await?.address_hash(channel, address)
    }

    /// Makes sure that the partition of `campaign` exists, and the next one, so that it is there ahead of need.
    async fn ensure_partition(&self, client: &impl GenericClient, campaign: CampaignNo) -> Result<()> {
        let first = campaign.0 / CAMPAIGNS_A_PARTITION;
        for partition in [first, first + 1] {
            if self.partitions.lock().is_ok_and(|known| known.contains(&partition)) {
                continue;
            }
            let name = partition_name(partition);
            client.execute("SELECT pg_advisory_xact_lock($1)", &[&PARTITION_LOCK]).await?;
            // One that this very transaction made is gone again if it rolls back.
            let durable = "SELECT xmin::text <> pg_current_xact_id()::xid::text FROM pg_class WHERE oid = to_regclass($1)";
            if let Some(row) = client.query_opt(durable, &[&name]).await? {
                if row.get(0)
                    && let Ok(mut known) = self.partitions.lock()
                {
                    known.insert(partition);
                }
            } else {
                let (from, to) = (partition * CAMPAIGNS_A_PARTITION, (partition + 1) * CAMPAIGNS_A_PARTITION);
                client
                    .batch_execute(&format!(
                        "CREATE TABLE {name} (LIKE deliveries INCLUDING ALL) WITH (fillfactor = 40);
                         ALTER TABLE deliveries ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})"
                    ))
                    .await?;
            }
        }
        Ok(())
    }

    /// Not for a transaction that makes partitions: what it sees here is remembered beyond it.
    async fn has_partition(&self, client: &impl GenericClient, campaign: CampaignNo) -> Result<bool> {
        let partition = campaign.0 / CAMPAIGNS_A_PARTITION;
        if self.partitions.lock().is_ok_and(|known| known.contains(&partition)) {
            return Ok(true);
        }
        let sql = "SELECT to_regclass($1) IS NOT NULL";
        let exists = client.query_one(sql, &[&deliveries_table(campaign)]).await?.get(0);
        if let (true, Ok(mut known)) = (exists, self.partitions.lock()) {
            known.insert(partition);
        }
        Ok(exists)
    }

    /// Numbers of providers' names. Must run outside a transaction: a number that rolls back must not be remembered.
    async fn provider_numbers(
        &self,
        client: &Object,
        names: impl Iterator<Item = &str>,
    ) -> Result<HashMap<String, i16>> {
        let mut numbers = HashMap::new();
        for name in names {
            if numbers.contains_key(name) {
                continue;
            }
            let known = self.providers.lock().ok().and_then(|known| known.get(name).copied());
            let number = match known {
                Some(number) => number,
                None => self.number_provider(client, name).await?,
            };
            numbers.insert(name.to_owned(), number);
        }
        Ok(numbers)
    }

    async fn number_provider(&self, client: &Object, name: &str) -> Result<i16> {
        let select = "SELECT number FROM providers WHERE name = $1";
        let number = match client.query_opt(select, &[&name]).await? {
            Some(row) => row.get(0),
            None => {
                let insert = "INSERT INTO providers (name) VALUES ($1) ON CONFLICT DO NOTHING";
                client.execute(insert, &[&name]).await?;
                client.query_one(select, &[&name]).await?.get(0)
            }
        };
        if let Ok(mut known) = self.providers.lock() {
            known.insert(name.to_owned(), number);
        }
        Ok(number)
    }
}

/// Opens a transaction of keyed look-ups only: a plan that was made while a table was small must not scan it once it
/// is large.
const KEYED: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off; SET LOCAL enable_memoize = off";

/// Begins a transaction whose every statement finds its rows by key, whatever the planner thinks of the tables' sizes:
/// planning them again each time costs more than the look-ups.
async fn keyed(transaction: &Transaction<'_>) -> Result<()> {
    let one_plan = "SET LOCAL plan_cache_mode = force_generic_plan";
    Ok(transaction.batch_execute(&format!("{KEYED}; {one_plan}")).await?)
}

const PARTITION_LOCK: i64 = 0x6361_6d70_0002;

fn partition_name(partition: i64) -> String {
    format!("deliveries_{partition}")
}

/// The child table that holds a campaign's deliveries: naming it spares the planner every other partition.
fn deliveries_table(campaign: CampaignNo) -> String {
    partition_name(campaign.0 / CAMPAIGNS_A_PARTITION)
}

/// Joins `deliveries d` of campaign `$1` to the keys in `n (contact, occurrence)`, one index look-up a key: follow it
/// with `d.ctid = t.ctid`. A plain join lets the planner read the whole campaign instead, where its statistics do not
/// know the campaign yet and it takes a million rows for one.
fn by_key(campaign: CampaignNo) -> String {
    let table = deliveries_table(campaign);
    format!(
        "LATERAL (SELECT x.ctid FROM {table} x
                  WHERE x.campaign = $1 AND x.contact = n.contact AND x.occurrence = n.occurrence LIMIT 1) AS t"
    )
}

#[async_trait]
impl Admin for PgStore {
    async fn migrate(&self) -> Result<(i32, i32)> {
        migrate::run(&mut self.client().await?).await
    }

    async fn check(&self) -> Result<()> {
        migrate::check(&self.client().await?).await
    }

    async fn secrets(&self) -> Result<Secrets> {
        let load = || async {
            // Not from the pool: whoever needs a secret may hold its last connection.
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            let driver = tokio::spawn(connection);
            let secrets = Secrets { suppression: secret(&client, "suppression").await? };
            drop(client);
            // It ends when its client is gone; what it would say, the client has said.
            drop(driver.await);
            Ok(secrets)
        };
        self.secrets.get_or_try_init(load).await.cloned()
    }

    fn pool(&self) -> Pool {
        let status = self.pool.status();
        Pool { idle: status.available, in_use: status.size.saturating_sub(status.available) }
    }

    fn shared_rates(&self) -> Option<&dyn SharedRates> {
        Some(self)
    }
}

/// The named secret, made at its first use; two daemons that start together agree on one.
async fn secret(client: &tokio_postgres::Client, name: &str) -> Result<[u8; 32]> {
    let fresh = fresh_secret();
    client
        .execute(
            "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&name, &fresh.as_slice()],
        )
        .await?;
    let value: Vec<u8> =
        client.query_one("SELECT value FROM secrets WHERE name = $1", &[&name]).await?.get(0);
    value.try_into().map_err(|_| Error::Refused(format!("the secret `{name}` does not have 32 bytes").into()))
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let transient = match error.code() {
            None => error.is_closed() || is_io(&error),
            Some(code) => {
                code.code().starts_with("08")
                    || code.code().starts_with("53")
                    || [
                        SqlState::ADMIN_SHUTDOWN,
                        SqlState::CRASH_SHUTDOWN,
                        SqlState::CANNOT_CONNECT_NOW,
                        SqlState::T_R_DEADLOCK_DETECTED,
                        SqlState::T_R_SERIALIZATION_FAILURE,
                        SqlState::READ_ONLY_SQL_TRANSACTION,
                        SqlState::QUERY_CANCELED,
                        SqlState::LOCK_NOT_AVAILABLE,
                        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                        SqlState::IDLE_SESSION_TIMEOUT,
                    ]
                    .contains(code)
            }
        };
        if transient { Error::Unavailable(error.into()) } else { Error::Refused(error.into()) }
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}
