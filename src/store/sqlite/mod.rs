//! SQLite: the store that needs nothing installed. One file, one daemon, any number of commands beside it.
//!
//! Everything that writes goes through one [`Writer`], which commits what has gathered in one transaction; readers have
//! connections of their own and see the last commit. A commit is on the disk before it is answered
//! (`synchronous=FULL`), since an intent that a power cut forgets would be sent twice.

mod audit;
mod campaigns;
mod connection;
mod contacts;
mod counters;
mod dispatching;
mod engagement;
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
mod numbers;
mod overview;
mod pausing;
mod planning;
#[cfg(test)]
mod plans;
mod readers;
mod receipts;
mod recipients;
mod recording;
mod references;
mod reports;
mod standing;
mod stopping;
mod suppressing;
mod tokens;
mod tracking;
mod upserting;
mod values;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use rusqlite::{ErrorCode, OptionalExtension, params};
use tokio::sync::OnceCell;

use self::connection::Connection;
use self::readers::Readers;
use self::writer::Writer;
use super::{Admin, Error, Pool, Result, Secrets, decode, fresh_secret};
use crate::clock::Clock;

/// Connections that read at the same time.
const READERS: usize = 4;

#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
    secrets: OnceCell<Secrets>,
    /// Held from the first `join` on: a file has one daemon at a time.
    daemon: Mutex<Option<File>>,
}

impl SqliteStore {
    /// Opens the file, or makes it and its folder; `migrate` then brings its schema up. What is due, and what rows are
    /// stamped with, goes by `clock`.
    ///
    /// # Errors
    /// When the file cannot be opened or written.
    pub fn open(path: &Path, clock: Clock) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| Error::Refused(error.into()))?;
        }
        Ok(SqliteStore {
            path: path.to_owned(),
            writer: Writer::start(connection::writing(path, clock.clone())?)?,
            readers: Readers::open(path, &clock, READERS)?,
            secrets: OnceCell::new(),
            daemon: Mutex::default(),
        })
    }

    /// Runs `work` in the writer's next transaction; resolves once that is on the disk. What fails undoes its own work
    /// alone.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.writer.run(work).await
    }

    /// Runs `work` on a snapshot of the last commit.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.run(work).await
    }

    /// Makes this process the file's daemon.
    ///
    /// # Errors
    /// `Refused` where another process is.
    fn claim(&self) -> Result<()> {
        let mut daemon = self.daemon.lock().map_err(|_| Error::Refused("a lock is poisoned".into()))?;
        if daemon.is_some() {
            return Ok(());
        }
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        let file = File::create(&name).map_err(|error| Error::Refused(error.into()))?;
        match file.try_lock() {
            Ok(()) => *daemon = Some(file),
            Err(TryLockError::WouldBlock) => {
                let advice = format!("another daemon runs on {}; stop it first", self.path.display());
                return Err(Error::Refused(advice.into()));
            }
            Err(TryLockError::Error(error)) => return Err(Error::Refused(error.into())),
        }
        Ok(())
    }
}

#[async_trait]
impl Admin for SqliteStore {
    async fn migrate(&self) -> Result<(i32, i32)> {
        self.write(migrate::run).await
    }

    async fn check(&self) -> Result<()> {
        self.read(migrate::check).await
    }

    async fn secrets(&self) -> Result<Secrets> {
        let load =
            || self.write(|connection| Ok(Secrets { suppression: secret(connection, "suppression")? }));
        self.secrets.get_or_try_init(load).await.cloned()
    }

    fn pool(&self) -> Pool {
        self.readers.pool()
    }
}

/// The named secret, made at its first use.
fn secret(connection: &Connection, name: &str) -> Result<[u8; 32]> {
    let select = "SELECT value FROM secrets WHERE name = ?1";
    let known: Option<Vec<u8>> = connection.query_row(select, [name], |row| row.get(0)).optional()?;
    let value = match known {
        Some(value) => value,
        None => {
            let fresh = fresh_secret();
            let insert = "INSERT INTO secrets (name, value, created_at) VALUES (?1, ?2, ?3)";
            connection.execute(insert, params![name, fresh, connection.now_us()])?;
            fresh.to_vec()
        }
    };
    value.try_into().map_err(|_| Error::Refused(format!("the secret `{name}` does not have 32 bytes").into()))
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let transient = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::OutOfMemory
                    | ErrorCode::SystemIoFailure
            )
        );
        if transient { Error::Unavailable(error.into()) } else { Error::Refused(error.into()) }
    }
}
