//! API tokens on SQLite.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::params;

use super::connection::Connection;
use super::values::At;
use super::{SqliteStore, decode};
use crate::model::access::Scopes;
use crate::store::Result;
use crate::store::tokens::{Created, LiveToken, MOST_TOKENS, NewToken, TokenRecord, Tokens};

const LIVE: &str = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1)";

#[async_trait]
impl Tokens for SqliteStore {
    async fn create_token(&self, token: &NewToken) -> Result<Created> {
        let token = token.clone();
        self.write(move |connection| create(connection, &token)).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>> {
        self.read(|connection| {
            let mut list = connection.prepare_cached(
                "SELECT name, scopes, created_at, last_used_at, expires_at, revoked_at FROM tokens ORDER BY name",
            )?;
            let mut rows = list.query([])?;
            let mut tokens = Vec::new();
            while let Some(row) = rows.next()? {
                tokens.push(TokenRecord {
                    name: row.get(0)?,
                    scopes: decode(row.get(1)?, Scopes::from_code)?,
                    created_at: row.get::<_, At>(2)?.instant(),
                    last_used_at: row.get::<_, Option<At>>(3)?.map(At::instant),
                    expires_at: row.get::<_, Option<At>>(4)?.map(At::instant),
                    revoked_at: row.get::<_, Option<At>>(5)?.map(At::instant),
                });
            }
            Ok(tokens)
        })
        .await
    }

    async fn live_tokens(&self) -> Result<Vec<LiveToken>> {
        self.read(live).await
    }

    async fn tokens_used(&self, uses: &[(i64, Timestamp)]) -> Result<()> {
        let uses = uses.to_vec();
        self.write(move |connection| {
            let sql = "UPDATE tokens SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE number = ?1";
            let mut update = connection.prepare_cached(sql)?;
            for (number, at) in uses {
                update.execute(params![number, At(at)])?;
            }
            Ok(())
        })
        .await
    }

    async fn revoke_token(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.write(move |connection| {
            let sql = format!("UPDATE tokens SET revoked_at = ?1 WHERE name = ?2 AND {LIVE}");
            Ok(connection.prepare_cached(&sql)?.execute(params![connection.now_us(), name])? > 0)
        })
        .await
    }
}

fn create(connection: &Connection, token: &NewToken) -> Result<Created> {
    let count = format!("SELECT count(*) FROM tokens WHERE {LIVE}");
    let live: u32 = connection.prepare_cached(&count)?.query_row([connection.now_us()], |row| row.get(0))?;
    if live as usize >= MOST_TOKENS {
        return Ok(Created::TooMany);
    }
    let insert = "INSERT INTO tokens (name, hash, scopes, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING";
    let row =
        params![token.name, token.hash, token.scopes.code(), connection.now_us(), token.expires_at.map(At)];
    let inserted = connection.prepare_cached(insert)?.execute(row)?;
    Ok(if inserted == 0 { Created::NameTaken } else { Created::Done })
}

fn live(connection: &Connection) -> Result<Vec<LiveToken>> {
    let sql = format!(
        "SELECT number, name, hash, scopes, expires_at FROM tokens WHERE {LIVE} ORDER BY number LIMIT {MOST_TOKENS}"
    );
    let mut list = connection.prepare_cached(&sql)?;
    let mut rows = list.query([connection.now_us()])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(LiveToken {
            number: row.get(0)?,
            name: row.get(1)?,
            hash: row.get(2)?,
            scopes: decode(row.get(3)?, Scopes::from_code)?,
            expires_at: row.get::<_, Option<At>>(4)?.map(At::instant),
        });
    }
    Ok(tokens)
}
