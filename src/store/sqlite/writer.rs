//! The only task that writes. Requests that wait together share a transaction and its commit; each has a savepoint of its
//! own, so that one that fails undoes nothing of the others, and none is answered before the commit.

use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::store::{Error, Result};

/// Requests that wait at most; then whoever brings more waits.
const QUEUE: usize = 1_024;
/// Requests in one transaction, at most.
const GROUP: usize = 256;

#[derive(Debug)]
pub(super) struct Writer {
    requests: mpsc::Sender<Box<dyn Request>>,
}

impl Writer {
    /// The thread ends when the writer is dropped and everything that waited is done.
    pub(super) fn start(connection: Connection) -> Result<Self> {
        let (requests, waiting) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("sqlite writer".to_owned())
            .spawn(move || serve(&connection, waiting))
            .map_err(|error| Error::Refused(error.into()))?;
        Ok(Writer { requests })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let request = Pending { work: Some(work), result: None, answer };
        self.requests.send(Box::new(request)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::Unavailable("the writer of the store has ended".into())
}

/// A request whose type of answer is forgotten.
trait Request: Send {
    /// Does the work; returns whether it is to be kept.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells the caller, now that the fate of the transaction is known.
    fn answer(self: Box<Self>, committed: std::result::Result<(), &rusqlite::Error>);
}

struct Pending<T, F> {
    work: Option<F>,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T> + Send> Request for Pending<T, F> {
    fn run(&mut self, connection: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(connection));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: std::result::Result<(), &rusqlite::Error>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) => Err(error),
            (Some(result), Ok(())) => result,
            (_, Err(error)) => Err(Error::Unavailable(error.to_string().into())),
            (None, Ok(())) => Err(gone()),
        };
        // A caller that went away does not want to know.
        self.answer.send(result).ok();
    }
}

fn serve(connection: &Connection, mut waiting: mpsc::Receiver<Box<dyn Request>>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut group = Vec::new();
        let committed = transact(connection, first, &mut waiting, &mut group);
        if committed.is_err() && !connection.is_autocommit() {
            // Where even this fails, the next BEGIN says so to whoever comes next.
            connection.execute_batch("ROLLBACK").ok();
        }
        for request in group {
            request.answer(committed.as_ref().map(|_| ()));
        }
    }
}

/// Runs `first` and what comes meanwhile; all that was run stands in `group`, whatever happens.
fn transact(
    connection: &Connection,
    first: Box<dyn Request>,
    waiting: &mut mpsc::Receiver<Box<dyn Request>>,
    group: &mut Vec<Box<dyn Request>>,
) -> rusqlite::Result<()> {
    let mut next = Some(first);
    let begun = connection.execute_batch("BEGIN IMMEDIATE");
    while let Some(mut request) = next {
        let kept = begun.is_ok() && savepoint(connection, &mut *request)?;
        group.push(request);
        next = match begun.is_ok() && kept && group.len() < GROUP {
            true => waiting.try_recv().ok(),
            false => None,
        };
    }
    begun?;
    connection.execute_batch("COMMIT")
}

/// Returns whether the request's work stands.
fn savepoint(connection: &Connection, request: &mut dyn Request) -> rusqlite::Result<bool> {
    connection.prepare_cached("SAVEPOINT request")?.execute([])?;
    let kept = request.run(connection);
    if !kept {
        connection.prepare_cached("ROLLBACK TO request")?.execute([])?;
    }
    connection.prepare_cached("RELEASE request")?.execute([])?;
    Ok(kept)
}
