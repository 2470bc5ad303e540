//! `[store]`, `[amqp]` and `[log]`: the services around the daemon.

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;

use super::grammar;
use super::reader::Table;
use super::secret::Secret;
use crate::postgres_url::{InvalidUrl, PostgresUrl};
use crate::tls::{Files, Identity};

/// The ledger's home.
#[derive(Debug, Clone)]
pub struct Store {
    pub url: Secret,
    pub kind: StoreKind,
    /// The size of the pool, at least 1.
    pub connections: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKind {
    Postgres(Box<PostgresUrl>),
    /// The database's file.
    Sqlite(PathBuf),
}

/// The broker that jobs come from.
#[derive(Debug, Clone)]
pub struct Amqp {
    pub url: Secret,
    /// Where the URL is `amqps://`.
    pub tls: Files,
    /// Unacknowledged jobs a queue, at least 1.
    pub prefetch: u16,
}

#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    /// A level, or a list of them by module.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Plain,
    Json,
}

pub(super) fn store(mut table: Table<'_>) -> Option<Store> {
    let folder = table.in_folder("");
    if !table.has("url_file") {
        table.require("url", "where the ledger lives, as `sqlite:data/campaignd.db` or `postgres://user:password@host/database`");
    }
    let url = table.secret("url", "url_file", |url| store_kind(url).map(drop));
    let connections = table.number::<NonZeroUsize>("connections", "a whole number, at least 1");
    table.finish();
    let url = url?;
    let kind = match store_kind(url.reveal()).ok()? {
        StoreKind::Sqlite(file) => StoreKind::Sqlite(folder.join(file)),
        StoreKind::Postgres(url) => StoreKind::Postgres(Box::new(url.within(&folder))),
    };
    Some(Store { url, kind, connections: connections.map_or(8, NonZeroUsize::get) })
}

fn store_kind(url: &str) -> Result<StoreKind, String> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let named = !path.is_empty() && !path.starts_with(':') && !path.ends_with('/');
        return match named {
            true => Ok(StoreKind::Sqlite(path.into())),
            false => Err("needs a file, as `sqlite:data/campaignd.db`".to_owned()),
        };
    }
    match url.parse() {
        Ok(url) => Ok(StoreKind::Postgres(Box::new(url))),
        Err(InvalidUrl::Form) => {
            Err("is neither `sqlite:FILE` nor `postgres://user:password@host/database`".to_owned())
        }
        Err(invalid) => Err(invalid.to_string()),
    }
}

pub(super) fn amqp(mut table: Table<'_>) -> Option<Amqp> {
    let url = table.secret("url", "url_file", |url| match url.parse::<lapin::uri::AMQPUri>() {
        Ok(_) => Ok(()),
        Err(_) => Err("is not a URL as `amqp://user:password@host:5672/%2f`".to_owned()),
    });
    let ca = table.path("ca_file");
    if table.has("cert_file") != table.has("key_file") {
        let (present, absent) =
            if table.has("cert_file") { ("cert_file", "key_file") } else { ("key_file", "cert_file") };
        table.require(absent, &format!("`{present}` needs it beside it"));
    }
    let identity = table.path("cert_file").zip(table.path("key_file"));
    let identity = identity.map(|(certificate, key)| Identity { certificate, key });
    let prefetch = table.number::<NonZeroU16>("prefetch", "a whole number from 1 to 65535");
    table.finish();
    Some(Amqp { url: url?, tls: Files { ca, identity }, prefetch: prefetch.map_or(16, NonZeroU16::get) })
}

pub(super) fn log(mut table: Table<'_>) -> Log {
    let format = table.word("format", &[("plain", LogFormat::Plain), ("json", LogFormat::Json)]);
    let level = table.text("level", grammar::log_level);
    table.finish();
    Log { format: format.unwrap_or(LogFormat::Plain), level: level.unwrap_or_else(|| "info".to_owned()) }
}
