//! Statements that a connection prepares once and keeps: for texts that do not vary.

use deadpool_postgres::GenericClient;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::store::Result;

type Bound<'a> = &'a [&'a (dyn ToSql + Sync)];

pub(super) async fn execute(client: &impl GenericClient, sql: &str, bound: Bound<'_>) -> Result<u64> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.execute(&statement, bound).await?)
}

pub(super) async fn query(client: &impl GenericClient, sql: &str, bound: Bound<'_>) -> Result<Vec<Row>> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, bound).await?)
}

pub(super) async fn query_opt(
    client: &impl GenericClient,
    sql: &str,
    bound: Bound<'_>,
) -> Result<Option<Row>> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query_opt(&statement, bound).await?)
}

pub(super) async fn query_one(client: &impl GenericClient, sql: &str, bound: Bound<'_>) -> Result<Row> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query_one(&statement, bound).await?)
}
