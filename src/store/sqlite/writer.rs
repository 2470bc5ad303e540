//! The only task that writes: one request a transaction, in the order in which they come, each answered once its commit is
//! on the disk. Whoever has much to write brings it together: the ledger's commits, events, receipts and jobs are groups
//! already. A savepoint a request would let strangers share a commit, but copies every page that it touches [measured:
//! more time than the commit that it saves].

use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use crate::store::{Error, Result};

/// Requests that wait at most; then whoever brings more waits.
const QUEUE: usize = 1_024;

type Request = Box<dyn FnOnce(&Connection) + Send>;

#[derive(Debug)]
pub(super) struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    /// The thread ends when the writer is dropped and everything that waited is done.
    pub(super) fn start(connection: Connection) -> Result<Self> {
        let (requests, mut waiting) = mpsc::channel::<Request>(QUEUE);
        thread::Builder::new()
            .name("sqlite writer".to_owned())
            .spawn(move || {
                while let Some(request) = waiting.blocking_recv() {
                    request(&connection);
                }
            })
            .map_err(|error| Error::Refused(error.into()))?;
        Ok(Writer { requests })
    }

    /// Runs `work` in a transaction of its own; what it wrote stands if, and only if, it succeeds.
    ///
    /// # Errors
    /// As the work's; `Unavailable` where it could not be committed.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let request: Request = Box::new(move |connection| {
            // A caller that went away does not want to know.
            answer.send(transact(connection, work)).ok();
        });
        self.requests.send(request).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::Unavailable("the writer of the store has ended".into())
}

fn transact<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let result = work(connection);
    let committed = match &result {
        Ok(_) => connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])),
        Err(_) => Ok(0),
    };
    if !connection.is_autocommit() {
        // Where even this fails, the next BEGIN says so to whoever comes next.
        connection.execute_batch("ROLLBACK").ok();
    }
    committed?;
    result
}
