//! Connections that read, each used by one request at a time.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::connection::{Connection, reading};
use crate::clock::Clock;
use crate::store::{CONNECTION_WAIT, Error, Pool, Result};

#[derive(Debug)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
    size: usize,
}

impl Readers {
    pub(super) fn open(path: &Path, clock: &Clock, size: usize) -> Result<Self> {
        let idle = (0..size).map(|_| reading(path, clock.clone())).collect::<Result<_>>()?;
        Ok(Readers { idle: Arc::new(Mutex::new(idle)), turns: Arc::new(Semaphore::new(size)), size })
    }

    /// Runs `work` in one read transaction, so that all it reads belongs together.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = timeout(CONNECTION_WAIT, self.turns.clone().acquire_owned())
            .await
            .map_err(|error| Error::Unavailable(error.into()))?
            .map_err(|error| Error::Unavailable(error.into()))?;
        let idle = self.idle.clone();
        let read = move || {
            let _turn = turn;
            let poisoned = || Error::Refused("a reader's lock is poisoned".into());
            let connection = idle.lock().map_err(|_| poisoned())?.pop();
            let connection = connection.ok_or_else(|| Error::Unavailable("no reader is idle".into()))?;
            let result = snapshot(&connection, work);
            idle.lock().map_err(|_| poisoned())?.push(connection);
            result
        };
        spawn_blocking(read).await.map_err(|error| Error::Unavailable(error.into()))?
    }

    pub(super) fn pool(&self) -> Pool {
        let idle = self.turns.available_permits();
        Pool { idle, in_use: self.size - idle.min(self.size) }
    }
}

fn snapshot<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    connection.execute_batch("BEGIN")?;
    let result = work(connection);
    // A read transaction has nothing to lose.
    connection.execute_batch("ROLLBACK")?;
    result
}
