//! The audit log on PostgreSQL.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PgStore;
use crate::model::audit::Deed;
use crate::store::audit::{Audit, AuditQuery, AuditRecord};
use crate::store::{Admin, Result};

#[async_trait]
impl Audit for PgStore {
    async fn audit(&self, deeds: &[Deed]) -> Result<()> {
        let secrets = self.secrets().await?;
        let hash = |deed: &Deed| deed.contact.as_deref().map(|id| secrets.contact_hash(id)).transpose();
        let contacts = deeds.iter().map(hash).collect::<Result<Vec<_>>>()?;
        let who: Vec<&str> = deeds.iter().map(|deed| deed.who.as_str()).collect();
        let actions: Vec<&str> = deeds.iter().map(|deed| deed.action.as_str()).collect();
        let subjects: Vec<Option<&str>> = deeds.iter().map(|deed| deed.subject.as_deref()).collect();
        let contents: Vec<Option<&[u8]>> =
            deeds.iter().map(|deed| deed.content.as_ref().map(<[u8; 32]>::as_slice)).collect();
        let endings: Vec<&str> = deeds.iter().map(|deed| deed.ending.as_str()).collect();
        let details: Vec<Option<&str>> = deeds.iter().map(|deed| deed.detail.as_deref()).collect();
        self.client()
            .await?
            .execute(
                "INSERT INTO audit (who, action, subject, contact, content, ending, detail)
                 SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::text[], $7::text[])",
                &[&who, &actions, &subjects, &contacts, &contents, &endings, &details],
            )
            .await?;
        Ok(())
    }

    async fn audit_log(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>> {
        let secrets = self.secrets().await?;
        let contact = query.contact.as_deref().map(|id| secrets.contact_hash(id)).transpose()?;
        let rows = self
            .client()
            .await?
            .query(
                "SELECT number, at, who, action, subject, encode(contact, 'hex'), encode(content, 'hex'), ending, detail
                 FROM audit
                 WHERE ($1::timestamptz IS NULL OR at >= $1) AND ($2::bigint IS NULL OR number < $2)
                       AND ($3::bytea IS NULL OR contact = $3)
                 ORDER BY number DESC LIMIT $4",
                &[&query.since, &query.before, &contact, &i64::from(query.limit)],
            )
            .await?;
        Ok(rows.iter().map(record).collect())
    }

    async fn prune_audit(&self, days: u32) -> Result<u64> {
        let sql = "DELETE FROM audit WHERE at < now() - make_interval(days => $1)";
        Ok(self.client().await?.execute(sql, &[&i32::try_from(days).unwrap_or(i32::MAX)]).await?)
    }
}

fn record(row: &Row) -> AuditRecord {
    AuditRecord {
        number: row.get(0),
        at: row.get(1),
        who: row.get(2),
        action: row.get(3),
        subject: row.get(4),
        contact: row.get(5),
        content: row.get(6),
        ending: row.get(7),
        detail: row.get(8),
    }
}
