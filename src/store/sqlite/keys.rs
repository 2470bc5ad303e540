//! Keys of tracking tokens on SQLite.

use async_trait::async_trait;
use rusqlite::params;

use super::SqliteStore;
use super::connection::Connection;
use super::values::At;
use crate::model::TrackingKey;
use crate::model::tracking_key::{Retirement, next_id, retirement};
use crate::store::keys::Keys;
use crate::store::{Result, fresh_secret};

#[async_trait]
impl Keys for SqliteStore {
    async fn tracking_keys(&self) -> Result<Vec<TrackingKey>> {
        let keys = self.read(read).await?;
        if !keys.is_empty() {
            return Ok(keys);
        }
        self.write(|connection| {
            if read(connection)?.is_empty() {
                put(connection, 0)?;
            }
            read(connection)
        })
        .await
    }

    async fn rotate_tracking_key(&self) -> Result<Option<u8>> {
        self.write(|connection| {
            let id = next_id(&read(connection)?);
            id.map(|id| put(connection, id)).transpose()?;
            Ok(id)
        })
        .await
    }

    async fn retire_tracking_key(&self, id: u8) -> Result<Retirement> {
        self.write(move |connection| {
            let retirement = retirement(id, &read(connection)?);
            if retirement == Retirement::Done {
                let forget = "UPDATE tracking_keys SET secret = NULL, retired_at = ?2 WHERE id = ?1";
                connection.execute(forget, params![id, connection.now_us()])?;
            }
            Ok(retirement)
        })
        .await
    }
}

fn put(connection: &Connection, id: u8) -> Result<()> {
    let put = "INSERT INTO tracking_keys (id, secret, created_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET secret = excluded.secret, created_at = excluded.created_at, retired_at = NULL";
    connection.execute(put, params![id, fresh_secret(), connection.now_us()])?;
    Ok(())
}

fn read(connection: &Connection) -> Result<Vec<TrackingKey>> {
    let sql = "SELECT id, secret, created_at, retired_at FROM tracking_keys ORDER BY id";
    let (mut list, now) = (connection.prepare_cached(sql)?, connection.now());
    let mut rows = list.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let created_at = row.get::<_, At>(2)?.instant();
        keys.push(TrackingKey {
            id: row.get(0)?,
            secret: row.get(1)?,
            created_at,
            age: now.duration_since(created_at),
            retired_at: row.get::<_, Option<At>>(3)?.map(At::instant),
        });
    }
    Ok(keys)
}
