//! API tokens on PostgreSQL.

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::{PgStore, decode};
use crate::model::access::Scopes;
use crate::store::tokens::{Created, LiveToken, MOST_TOKENS, NewToken, TokenRecord, Tokens};
use crate::store::{Error, Result};

const LIVE: &str = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())";

#[async_trait]
impl Tokens for PgStore {
    async fn create_token(&self, token: &NewToken) -> Result<Created> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // Two at once would both see room for one.
        transaction.execute("LOCK TABLE tokens IN SHARE ROW EXCLUSIVE MODE", &[]).await?;
        let count = format!("SELECT count(*) FROM tokens WHERE {LIVE}");
        let live: i64 = transaction.query_one(&count, &[]).await?.get(0);
        if usize::try_from(live).is_ok_and(|live| live >= MOST_TOKENS) {
            return Ok(Created::TooMany);
        }
        let inserted = transaction
            .execute(
                "INSERT INTO tokens (name, hash, scopes, expires_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                &[&token.name, &token.hash.as_slice(), &token.scopes.code(), &token.expires_at],
            )
            .await?;
        transaction.commit().await?;
        Ok(if inserted == 0 { Created::NameTaken } else { Created::Done })
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>> {
        let sql =
            "SELECT name, scopes, created_at, last_used_at, expires_at, revoked_at FROM tokens ORDER BY name";
        let rows = self.client().await?.query(sql, &[]).await?;
        let record = |row: &Row| {
            Ok(TokenRecord {
                name: row.get(0),
                scopes: decode(row.get(1), Scopes::from_code)?,
                created_at: row.get(2),
                last_used_at: row.get(3),
                expires_at: row.get(4),
                revoked_at: row.get(5),
            })
        };
        rows.iter().map(record).collect()
    }

    async fn live_tokens(&self) -> Result<Vec<LiveToken>> {
        let sql = format!(
            "SELECT number, name, hash, scopes, expires_at FROM tokens WHERE {LIVE} ORDER BY number LIMIT {MOST_TOKENS}"
        );
        let rows = self.client().await?.query(&sql, &[]).await?;
        let live = |row: &Row| {
            let hash: Vec<u8> = row.get(2);
            Ok(LiveToken {
                number: row.get(0),
                name: row.get(1),
                hash: hash
                    .try_into()
                    .map_err(|_| Error::Refused("a token's hash has not 32 bytes".into()))?,
                scopes: decode(row.get(3), Scopes::from_code)?,
                expires_at: row.get(4),
            })
        };
        rows.iter().map(live).collect()
    }

    async fn tokens_used(&self, uses: &[(i64, Timestamp)]) -> Result<()> {
        let (numbers, at): (Vec<i64>, Vec<Timestamp>) = uses.iter().copied().unzip();
        self.client()
            .await?
            .execute(
                "UPDATE tokens t SET last_used_at = greatest(t.last_used_at, n.at)
                 FROM unnest($1::bigint[], $2::timestamptz[]) AS n (number, at) WHERE t.number = n.number",
                &[&numbers, &at],
            )
            .await?;
        Ok(())
    }

    async fn revoke_token(&self, name: &str) -> Result<bool> {
        let sql = format!("UPDATE tokens SET revoked_at = now() WHERE name = $1 AND {LIVE}");
        Ok(self.client().await?.execute(&sql, &[&name]).await? > 0)
    }
}
