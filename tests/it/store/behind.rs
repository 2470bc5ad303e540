//! What tests see and do behind the store's back.

use rusqlite::types::ValueRef;

use super::bed::{Bed, Db, behind};

impl Bed {
    /// Every row of every table as text, binary in hex, with its table's name.
    pub(crate) async fn rows(&self) -> Vec<(String, String)> {
        match &self.db {
            Db::Postgres(db) => {
                let client = db.connect().await;
                let tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
                let mut rows = Vec::new();
                for table in client.query(tables, &[]).await.unwrap() {
                    let table: String = table.get(0);
                    let found = client.query(&format!("SELECT t::text FROM {table} t"), &[]).await.unwrap();
                    rows.extend(found.iter().map(|row| (table.clone(), row.get(0))));
                }
                rows
            }
            Db::Sqlite(folder) => {
                let connection = behind(folder);
                let tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1";
                let mut tables = connection.prepare(tables).unwrap();
                let tables: Vec<String> =
                    tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
                tables.into_iter().flat_map(|table| sqlite_rows(&connection, &table)).collect()
            }
        }
    }

    /// What the store's engine says to a statement that it must refuse.
    pub(crate) async fn refused(&self, sql: &str) -> String {
        match &self.db {
            Db::Postgres(db) => {
                let error = db.connect().await.batch_execute(sql).await.unwrap_err();
                error.as_db_error().unwrap().message().to_owned()
            }
            Db::Sqlite(folder) => behind(folder).execute_batch(sql).unwrap_err().to_string(),
        }
    }

    /// A row of the audit log as if it had been written some days ago.
    pub(crate) async fn audited_before(&self, days: u32, subject: &str) {
        let at = match &self.db {
            Db::Postgres(_) => format!("now() - interval '{days} days'"),
            Db::Sqlite(_) => format!("(unixepoch() - {days} * 86400) * 1000000"),
        };
        let sql = format!(
            "INSERT INTO audit (at, who, action, subject, ending) VALUES ({at}, 'loopback', 'job_accepted', '{subject}', 'done')"
        );
        self.execute(&sql).await;
    }
}

fn sqlite_rows(connection: &rusqlite::Connection, table: &str) -> Vec<(String, String)> {
    let mut select = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = select.column_count();
    let text = |row: &rusqlite::Row<'_>| {
        let values = (0..columns).map(|column| match row.get_ref(column).unwrap() {
            ValueRef::Blob(bytes) => hex::encode(bytes),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Null => String::new(),
        });
        Ok((table.to_owned(), values.collect::<Vec<_>>().join("|")))
    };
    select.query_map([], text).unwrap().collect::<Result<_, _>>().unwrap()
}
