//! Keys of tracking tokens on PostgreSQL.

use async_trait::async_trait;
use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::PgStore;
use crate::model::TrackingKey;
use crate::model::tracking_key::{Retirement, next_id, retirement};
use crate::store::keys::Keys;
use crate::store::{Error, Result, fresh_secret};

/// Two that change keys at once would both decide by what was before.
const LOCK: &str = "LOCK TABLE tracking_keys IN SHARE ROW EXCLUSIVE MODE";

#[async_trait]
impl Keys for PgStore {
    async fn tracking_keys(&self) -> Result<Vec<TrackingKey>> {
        let client = self.client().await?;
        let keys = read(&client).await?;
        if !keys.is_empty() {
            return Ok(keys);
        }
        let first = "INSERT INTO tracking_keys (id, secret) VALUES (0, $1) ON CONFLICT DO NOTHING";
        client.execute(first, &[&fresh_secret().as_slice()]).await?;
        read(&client).await
    }

    async fn rotate_tracking_key(&self) -> Result<Option<u8>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(LOCK).await?;
        let Some(id) = next_id(&read(&transaction).await?) else { return Ok(None) };
        transaction
            .execute(
                "INSERT INTO tracking_keys (id, secret) VALUES ($1, $2)
                 ON CONFLICT (id) DO UPDATE SET secret = excluded.secret, created_at = now(), retired_at = NULL",
                &[&i16::from(id), &fresh_secret().as_slice()],
            )
            .await?;
        transaction.commit().await?;
        Ok(Some(id))
    }

    async fn retire_tracking_key(&self, id: u8) -> Result<Retirement> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(LOCK).await?;
        let retirement = retirement(id, &read(&transaction).await?);
        if retirement == Retirement::Done {
            let forget = "UPDATE tracking_keys SET secret = NULL, retired_at = now() WHERE id = $1";
            transaction.execute(forget, &[&i16::from(id)]).await?;
            transaction.commit().await?;
        }
        Ok(retirement)
    }
}

async fn read(client: &impl GenericClient) -> Result<Vec<TrackingKey>> {
    let sql = "SELECT id, secret, created_at, retired_at, now() FROM tracking_keys ORDER BY id";
    client.query(sql, &[]).await?.iter().map(key).collect()
}

fn key(row: &Row) -> Result<TrackingKey> {
    let (id, secret): (i16, Option<Vec<u8>>) = (row.get(0), row.get(1));
    let (created_at, now): (Timestamp, Timestamp) = (row.get(2), row.get(4));
    let broken = || Error::Refused(format!("tracking key {id} is damaged").into());
    Ok(TrackingKey {
        id: u8::try_from(id).map_err(|_| broken())?,
        secret: secret.map(<[u8; 32]>::try_from).transpose().map_err(|_| broken())?,
        created_at,
        age: now.duration_since(created_at),
        retired_at: row.get(3),
    })
}
