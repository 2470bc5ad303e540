//! The audit log on SQLite.

use async_trait::async_trait;
use rusqlite::{Row, params};

use super::SqliteStore;
use super::values::At;
use crate::model::audit::Deed;
use crate::store::audit::{Audit, AuditQuery, AuditRecord};
use crate::store::{Admin, Result};

/// Microseconds.
const DAY: i64 = 86_400_000_000;

#[async_trait]
impl Audit for SqliteStore {
    async fn audit(&self, deeds: &[Deed]) -> Result<()> {
        let (deeds, secrets) = (deeds.to_vec(), self.secrets().await?);
        self.write(move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO audit (at, who, action, subject, contact, content, ending, detail)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            for deed in deeds {
                let contact = deed.contact.as_deref().map(|id| secrets.contact_hash(id)).transpose()?;
                insert.execute(params![
                    connection.now_us(),
                    deed.who.as_str(),
                    deed.action.as_str(),
                    deed.subject,
                    contact,
                    deed.content,
                    deed.ending.as_str(),
                    deed.detail,
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn audit_log(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>> {
        let secrets = self.secrets().await?;
        let contact = query.contact.as_deref().map(|id| secrets.contact_hash(id)).transpose()?;
        let query = query.clone();
        self.read(move |connection| {
            let mut list = connection.prepare_cached(
                "SELECT number, at, who, action, subject, contact, content, ending, detail FROM audit
                 WHERE (?1 IS NULL OR at >= ?1) AND (?2 IS NULL OR number < ?2) AND (?3 IS NULL OR contact = ?3)
                 ORDER BY number DESC LIMIT ?4",
            )?;
            let bound = params![query.since.map(At), query.before, contact, query.limit];
            let rows = list.query_map(bound, record)?.collect::<rusqlite::Result<_>>()?;
            Ok(rows)
        })
        .await
    }

    async fn prune_audit(&self, days: u32) -> Result<u64> {
        self.write(move |connection| {
            let before = connection.now_us() - i64::from(days) * DAY;
            let sql = "DELETE FROM audit WHERE at < ?1";
            Ok(connection.prepare_cached(sql)?.execute([before])? as u64)
        })
        .await
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    Ok(AuditRecord {
        number: row.get(0)?,
        at: row.get::<_, At>(1)?.instant(),
        who: row.get(2)?,
        action: row.get(3)?,
        subject: row.get(4)?,
        contact: row.get::<_, Option<Vec<u8>>>(5)?.map(hex::encode),
        content: row.get::<_, Option<Vec<u8>>>(6)?.map(hex::encode),
        ending: row.get(7)?,
        detail: row.get(8)?,
    })
}
