//! The settings of kind `getui`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// Most messages of one request.
const MAX_BATCH: u16 = 200;
/// The vendor keeps what cannot be delivered at once for at most three days.
const LONGEST_TTL: Duration = Duration::from_secs(3 * 86_400);

/// An app at Getui (docs.getui.com, REST API v2).
#[derive(Debug, Clone)]
pub struct GetuiSettings {
    /// Stands in the path of every request.
    pub app_id: String,
    pub app_key: String,
    pub master_secret: Secret,
    /// Without the app's id.
    pub base_url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Messages of one request, at most 200.
    pub batch: NonZeroU16,
    /// How long a message waits for a device that is away.
    pub ttl: Duration,
    /// Whether devices that are away are reached by APNs and their makers' services.
    pub vendor_channels: bool,
    /// For the whole answer.
    pub timeout: Duration,
}

pub(super) fn getui(table: &mut Table<'_>) -> Option<GetuiSettings> {
    table.require("app_id", "the app's AppID, from Getui's console");
    table.require("app_key", "the app's AppKey, from Getui's console");
    if !table.has("master_secret_file") {
        table.require("master_secret", "the app's MasterSecret, from Getui's console");
    }
    let app_id = table.text("app_id", app_id);
    let app_key = table.text("app_key", grammar::line);
    let master_secret =
        table.secret("master_secret", "master_secret_file", |text| grammar::line(text).map(drop));
    let base_url = table.text("base_url", grammar::public_url);
    let ca_file = table.path("ca_file");
    let bounds = "a whole number from 1 to 200";
    let batch = table.number::<NonZeroU16>("batch", bounds);
    if batch.is_some_and(|batch| batch.get() > MAX_BATCH) {
        table.problem("batch", format!("must be {bounds}"));
    }
    let ttl = table.text("ttl", grammar::duration).unwrap_or(Duration::from_secs(86_400));
    if ttl > LONGEST_TTL {
        table.problem("ttl", "is above Getui's limit of three days");
    }
    let vendor_channels = table.flag("vendor_channels").unwrap_or(true);
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(30));
    Some(GetuiSettings {
        app_id: app_id?,
        app_key: app_key?,
        master_secret: master_secret?,
        base_url: base_url.unwrap_or_else(|| "https://restapi.getui.com/v2".to_owned()),
        ca_file,
        batch: batch.unwrap_or(const { NonZeroU16::new(MAX_BATCH).unwrap() }),
        ttl,
        vendor_channels,
        timeout,
    })
}

fn app_id(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(text.to_owned());
    }
    Err("must be letters and digits, as Getui's console shows it".to_owned())
}
