//! Connections to the file, and what each is set to.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::store::Result;

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 256;
/// How often a writer looks whether another process let go of the file.
const LOOK: Duration = Duration::from_millis(1);
/// After so many looks the store counts as away: half a minute.
const LOOKS: i32 = 30_000;

/// A connection that writes: every commit is on the disk before it returns.
pub(super) fn writing(path: &Path) -> Result<Connection> {
    let mut connection = Connection::open(path)?;
    prepare(&mut connection)?;
    // A checkpoint every 40 MB keeps the log from being copied back page by page.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 10000; PRAGMA cache_size = -32000",
    )?;
    Ok(connection)
}

/// A connection that reads and can do nothing else.
pub(super) fn reading(path: &Path) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut connection = Connection::open_with_flags(path, flags)?;
    prepare(&mut connection)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4000")?;
    Ok(connection)
}

fn prepare(connection: &mut Connection) -> Result<()> {
    connection.busy_handler(Some(wait))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch("PRAGMA temp_store = MEMORY")?;
    Ok(())
}

/// Whether to look again, after a moment. SQLite's own waits grow to 100 ms and would rarely find a busy writer's gap.
#[expect(clippy::disallowed_methods, reason = "runs on the writer's and readers' own threads")]
fn wait(looks: i32) -> bool {
    std::thread::sleep(LOOK);
    looks < LOOKS
}
