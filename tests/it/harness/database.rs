//! A PostgreSQL database a test: empty at first, dropped at the end, so tests run side by side.

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::service_url;

#[derive(Debug)]
pub struct TestDb {
    admin_url: String,
    name: String,
}

impl TestDb {
    pub async fn create() -> TestDb {
        let db = TestDb {
            admin_url: service_url("CAMPAIGND_TEST_PG_URL"),
            name: format!("campaignd_test_{}", Uuid::now_v7().simple()),
        };
        let created =
            connect(&db.admin_url).await.batch_execute(&format!("CREATE DATABASE {}", db.name)).await;
        created.expect("creates a database");
        db
    }

    /// As `store.url` of the configuration takes it.
    pub fn url(&self) -> String {
        let (server, _) = self.admin_url.rsplit_once('/').expect("a URL that ends in /DATABASE");
        format!("{server}/{}", self.name)
    }

    pub async fn connect(&self) -> Client {
        connect(&self.url()).await
    }
}

/// A client of any database; its connection's task ends with it.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|error| panic!("no PostgreSQL, run scripts/services up: {error}"));
    tokio::spawn(connection);
    client
}

impl Drop for TestDb {
    /// On a runtime of its own, because the test's may be ending.
    fn drop(&mut self) {
        let (url, drop) =
            (self.admin_url.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        let dropped = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { connect(&url).await.batch_execute(&drop).await })
        });
        match dropped.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("{} stays behind: {error}", self.name),
            Err(_) => eprintln!("{} stays behind", self.name),
        }
    }
}

#[tokio::test]
async fn each_test_has_its_own_database() {
    let (one, other) = (TestDb::create().await, TestDb::create().await);
    for db in [&one, &other] {
        db.connect().await.batch_execute("CREATE TABLE t (i int)").await.unwrap();
    }
}

#[tokio::test]
async fn nothing_stays_behind() {
    let db = TestDb::create().await;
    let (name, _open) = (db.name.clone(), db.connect().await);
    let admin = connect(&db.admin_url).await;
    drop(db);
    let left = admin.query("SELECT FROM pg_database WHERE datname = $1", &[&name]).await.unwrap();
    assert!(left.is_empty());
}
