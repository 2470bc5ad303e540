//! The settings of kind `jpush`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// The vendor keeps what cannot be delivered at once for at most ten days.
const LONGEST_TTL: Duration = Duration::from_secs(10 * 86_400);

/// An app at JPush (docs.jiguang.cn, Push API v3).
#[derive(Debug, Clone)]
pub struct JpushSettings {
    pub app_key: String,
    pub master_secret: Secret,
    pub base_url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Many messages a request, which the vendor opens to VIP accounts.
    pub batch: bool,
    pub cid: Cid,
    /// How long a message waits for a device that is away.
    pub ttl: Duration,
    /// Whether iOS devices are reached by APNs' production environment, not its development one.
    pub apns_production: bool,
    /// For the whole answer.
    pub timeout: Duration,
}

/// Where the keys by which JPush drops repeats come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cid {
    /// From JPush, as its documentation demands; a later attempt has another.
    Fetched,
    /// From the delivery, so that every attempt has the same; the vendor does not promise to take such.
    Derived,
}

pub(super) fn jpush(table: &mut Table<'_>) -> Option<JpushSettings> {
    table.require("app_key", "the app's AppKey, from JPush's console");
    if !table.has("master_secret_file") {
        table.require("master_secret", "the app's Master Secret, from JPush's console");
    }
    let app_key = table.text("app_key", grammar::line);
    let master_secret =
        table.secret("master_secret", "master_secret_file", |text| grammar::line(text).map(drop));
    let base_url = table.text("base_url", grammar::public_url);
    let ca_file = table.path("ca_file");
    let batch = table.flag("batch").unwrap_or(false);
    let words = [("fetched", Cid::Fetched), ("derived", Cid::Derived)];
    let cid = table.word("cid", &words).unwrap_or(Cid::Fetched);
    let ttl = table.text("ttl", grammar::duration).unwrap_or(Duration::from_secs(86_400));
    if ttl > LONGEST_TTL {
        table.problem("ttl", "is above JPush's limit of ten days");
    }
    let apns_production = table.flag("apns_production").unwrap_or(true);
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(30));
    Some(JpushSettings {
        app_key: app_key?,
        master_secret: master_secret?,
        base_url: base_url.unwrap_or_else(|| "https://api.jpush.cn".to_owned()),
        ca_file,
        batch,
        cid,
        ttl,
        apns_production,
        timeout,
    })
}
