//! The ceiling of the store: a table like the ledger's, rows inserted in batches and each updated once, over one
//! connection, a commit a batch. No counters, no batches' own rows, nobody who reads.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio_postgres::{Client, NoTls};

use super::tell;

/// Rows of a batch, as the daemon's.
const BATCH: i64 = 500;

const TABLE: &str = "DROP TABLE IF EXISTS bare_deliveries;
    CREATE TABLE bare_deliveries (LIKE deliveries INCLUDING ALL) WITH (fillfactor = 40)";

const INSERT: &str =
    "INSERT INTO bare_deliveries (campaign, contact, occurrence, address, batch, updated_at, state)
    SELECT 1, contact, 0, contact, $2, now(), 1 FROM unnest($1::bigint[]) AS n (contact)";

/// One look-up in the index a key, whatever the statistics say.
const UPDATE: &str = "UPDATE bare_deliveries d
    SET state = 3, attempts = 1, provider = 1, provider_ref = n.reference, updated_at = now()
    FROM unnest($1::bigint[], $2::text[]) AS n (contact, reference),
         LATERAL (SELECT x.ctid FROM bare_deliveries x
                  WHERE x.campaign = 1 AND x.contact = n.contact AND x.occurrence = 0 LIMIT 1) AS t
    WHERE d.ctid = t.ctid";

#[derive(Debug, Args)]
pub(crate) struct Ledger {
    /// A database with the daemon's schema
    #[arg(long)]
    store: String,
    #[arg(long)]
    rows: i64,
}

pub(super) async fn run(args: Ledger) -> anyhow::Result<()> {
    let (client, connection) =
        tokio_postgres::connect(&args.store, NoTls).await.context("PostgreSQL cannot be reached")?;
    let driver = tokio::spawn(connection);
    client.batch_execute(TABLE).await?;
    let began = Instant::now();
    let (mut inserting, mut updating) = (Duration::ZERO, Duration::ZERO);
    let (insert, update) = (client.prepare(INSERT).await?, client.prepare(UPDATE).await?);
    for first in (0..args.rows).step_by(500) {
        let contacts: Vec<i64> = (first..args.rows.min(first + BATCH)).collect();
        let at = Instant::now();
        client.execute(&insert, &[&contacts, &(first / BATCH)]).await?;
        inserting += at.elapsed();
    }
    for first in (0..args.rows).step_by(500) {
        let contacts: Vec<i64> = (first..args.rows.min(first + BATCH)).collect();
        let references: Vec<String> =
            contacts.iter().map(|contact| format!("2.0.0 ok {contact:016}")).collect();
        let at = Instant::now();
        client.execute(&update, &[&contacts, &references]).await?;
        updating += at.elapsed();
    }
    tell(&json!({
        "messages": args.rows, "seconds": began.elapsed().as_secs_f64(),
        "inserting": inserting.as_secs_f64(), "updating": updating.as_secs_f64(),
    }));
    finish(client).await?;
    driver.abort();
    Ok(())
}

async fn finish(client: Client) -> anyhow::Result<()> {
    Ok(client.batch_execute("DROP TABLE bare_deliveries").await?)
}
