//! Migrations: numbered files, each applied once, in order, under a lock.

use deadpool_postgres::{GenericClient, Object};

use crate::store::{Error, Result};

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_ledger.sql"),
    include_str!("migrations/0002_shared_rates.sql"),
    include_str!("migrations/0003_access.sql"),
    include_str!("migrations/0004_doubt.sql"),
    include_str!("migrations/0005_tracking_keys.sql"),
    include_str!("migrations/0006_plain_members.sql"),
];

const MIGRATION_LOCK: i64 = 0x6361_6d70_0001;

/// The version that this program needs.
fn needed() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

async fn found(client: &impl GenericClient) -> Result<i32> {
    let exists: bool =
        client.query_one("SELECT to_regclass('schema_migrations') IS NOT NULL", &[]).await?.get(0);
    if !exists {
        return Ok(0);
    }
    Ok(client.query_one("SELECT coalesce(max(version), 0) FROM schema_migrations", &[]).await?.get(0))
}

pub(super) async fn run(client: &mut Object) -> Result<(i32, i32)> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                 version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    let before = found(&transaction).await?;
    if before > needed() {
        return Err(Error::Schema { found: before, needed: needed() });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).skip(usize::try_from(before).unwrap_or(0)) {
        transaction.batch_execute(sql).await?;
        transaction.execute("INSERT INTO schema_migrations (version) VALUES ($1)", &[&version]).await?;
    }
    transaction.commit().await?;
    Ok((before, needed()))
}

pub(super) async fn check(client: &impl GenericClient) -> Result<()> {
    let found = found(client).await?;
    if found == needed() { Ok(()) } else { Err(Error::Schema { found, needed: needed() }) }
}
