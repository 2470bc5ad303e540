//! Shared rates on PostgreSQL: a row a line, moved on by whoever takes the next slice.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::GenericClient;

use super::{PgStore, cached};
use crate::store::Result;
use crate::store::rates::{AHEAD, Offer, SharedRates, Wish};

/// A line that nobody took from for so long has no debt left, and a new one is no richer.
const IDLE: Duration = Duration::from_secs(24 * 3_600);

const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

#[async_trait]
impl SharedRates for PgStore {
    async fn take(&self, wishes: &[Wish]) -> Result<Vec<Option<Offer>>> {
        let client = self.client().await?;
        let mut offers = offers(&client, wishes).await?;
        let new: Vec<Wish> =
            wishes.iter().filter(|wish| !offers.contains_key(&*wish.line)).cloned().collect();
        if !new.is_empty() {
            open(&client, &new).await?;
            offers.extend(self::offers(&client, &new).await?);
        }
        Ok(wishes.iter().map(|wish| offers.get(&*wish.line).copied()).collect())
    }

    async fn give_back(&self, line: &str, from: i64, end: i64) -> Result<()> {
        let client = self.client().await?;
        let sql = "UPDATE shared_rates SET taken = $2 WHERE line = $1 AND taken = $3";
        cached::execute(&client, sql, &[&line, &from, &end]).await?;
        Ok(())
    }

    async fn forget_lines(&self) -> Result<u64> {
        let client = self.client().await?;
        let sql = format!("DELETE FROM shared_rates WHERE taken < {NOW} - $1");
        cached::execute(&client, &sql, &[&micros(IDLE)]).await
    }
}

async fn open(client: &impl GenericClient, wishes: &[Wish]) -> Result<()> {
    let lines: Vec<&str> = wishes.iter().map(|wish| &*wish.line).collect();
    let sql = format!(
        "INSERT INTO shared_rates (line, taken)
         SELECT line, {NOW} FROM unnest($1::text[]) AS w (line) ORDER BY line ON CONFLICT DO NOTHING"
    );
    cached::execute(client, &sql, &[&lines]).await?;
    Ok(())
}

/// Locks the lines in one order before it moves any.
async fn offers(client: &impl GenericClient, wishes: &[Wish]) -> Result<HashMap<String, Offer>> {
    let lines: Vec<&str> = wishes.iter().map(|wish| &*wish.line).collect();
    let lengths: Vec<i64> = wishes.iter().map(|wish| micros(wish.length)).collect();
    let behind: Vec<i64> = wishes.iter().map(|wish| micros(wish.behind)).collect();
    let sql = format!(
        "WITH held AS MATERIALIZED (
             SELECT line, taken, {NOW} AS now FROM shared_rates WHERE line = ANY($1) ORDER BY line FOR UPDATE),
         offer AS MATERIALIZED (
             SELECT h.line, greatest(h.taken, h.now - w.behind) AS start, h.now, w.length
             FROM held h JOIN unnest($1::text[], $2::bigint[], $3::bigint[]) AS w (line, length, behind) USING (line)),
         moved AS (
             UPDATE shared_rates s SET taken = o.start + o.length FROM offer o
             WHERE s.line = o.line AND o.start <= o.now + $4)
         SELECT line, start, now, start <= now + $4 FROM offer"
    );
    let rows = cached::query(client, &sql, &[&lines, &lengths, &behind, &micros(AHEAD)]).await?;
    let offer = |row: &tokio_postgres::Row| {
        (row.get(0), Offer { from: row.get(1), now: row.get(2), taken: row.get(3) })
    };
    Ok(rows.iter().map(offer).collect())
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
