//! Migrations: numbered files, each applied once, in order, in the writer's transaction.

use super::connection::Connection;
use crate::store::{Error, Result};

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_ledger.sql"),
    include_str!("migrations/0002_shared_rates.sql"),
    include_str!("migrations/0003_access.sql"),
    include_str!("migrations/0004_doubt.sql"),
    include_str!("migrations/0005_tracking_keys.sql"),
];

/// The version that this program needs.
fn needed() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

fn found(connection: &Connection) -> Result<i32> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

pub(super) fn run(connection: &Connection) -> Result<(i32, i32)> {
    let before = found(connection)?;
    if before > needed() {
        return Err(Error::Schema { found: before, needed: needed() });
    }
    for sql in MIGRATIONS.iter().skip(usize::try_from(before).unwrap_or(0)) {
        connection.execute_batch(sql)?;
    }
    connection.pragma_update(None, "user_version", needed())?;
    Ok((before, needed()))
}

pub(super) fn check(connection: &Connection) -> Result<()> {
    let found = found(connection)?;
    if found == needed() { Ok(()) } else { Err(Error::Schema { found, needed: needed() }) }
}
