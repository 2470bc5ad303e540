//! Connections to the file, and what each is set to.

use std::fs::OpenOptions;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use crate::clock::Clock;
use crate::store::Result;

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 256;
/// How often a writer looks whether another process let go of the file.
const LOOK: Duration = Duration::from_millis(1);
/// After so many looks the store counts as away: half a minute.
const LOOKS: i32 = 30_000;

/// A connection, and the clock that everything on it goes by.
#[derive(Debug)]
pub(super) struct Connection {
    file: rusqlite::Connection,
    clock: Clock,
}

impl Connection {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// In microseconds, as the columns hold it.
    pub(super) fn now_us(&self) -> i64 {
        self.now().as_microsecond()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn in_memory() -> Connection {
        let file = rusqlite::Connection::open_in_memory().expect("a database in memory");
        Connection { file, clock: Clock::system() }
    }
}

impl Deref for Connection {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &Self::Target {
        &self.file
    }
}

/// A connection that writes: every commit is on the disk before it returns. A file that is made is its owner's alone, and
/// so are those that SQLite makes beside it: it holds addresses, and the keys that tokens are signed with.
pub(super) fn writing(path: &Path, clock: Clock) -> Result<Connection> {
    // One that is there, or cannot be made, is SQLite's to open or to refuse.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).ok();
    let mut file = rusqlite::Connection::open(path)?;
    prepare(&mut file)?;
    // A checkpoint every 40 MB keeps the log from being copied back page by page.
    file.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 10000; PRAGMA cache_size = -32000",
    )?;
    Ok(Connection { file, clock })
}

/// A connection that reads and can do nothing else.
pub(super) fn reading(path: &Path, clock: Clock) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut file = rusqlite::Connection::open_with_flags(path, flags)?;
    prepare(&mut file)?;
    file.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4000")?;
    Ok(Connection { file, clock })
}

fn prepare(connection: &mut rusqlite::Connection) -> Result<()> {
    connection.busy_handler(Some(wait))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Else a statement whose `LIMIT` is bound, among others, is planned anew whenever it is bound again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch("PRAGMA temp_store = MEMORY")?;
    Ok(())
}

/// Whether to look again, after a moment. SQLite's own waits grow to 100 ms and would rarely find a busy writer's gap.
#[expect(clippy::disallowed_methods, reason = "runs on the writer's and readers' own threads")]
fn wait(looks: i32) -> bool {
    std::thread::sleep(LOOK);
    looks < LOOKS
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_file_is_its_owners_alone_and_another_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        let made = writing(&folder.path().join("made.db"), Clock::system()).unwrap();
        made.execute_batch("CREATE TABLE t (a)").unwrap();
        assert_eq!((mode("made.db"), mode("made.db-wal")), (0o600, 0o600));
        let there = folder.path().join("there.db");
        fs::write(&there, "").unwrap();
        fs::set_permissions(&there, fs::Permissions::from_mode(0o640)).unwrap();
        writing(&there, Clock::system()).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        assert_eq!(mode("there.db"), 0o640);
    }
}
