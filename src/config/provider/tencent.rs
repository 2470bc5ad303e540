//! The settings of kind `tencent`.

use std::path::PathBuf;
use std::time::Duration;

use super::codes::{Codes, codes};
use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// An application of Tencent Cloud's SMS service.
#[derive(Debug, Clone)]
pub struct TencentSettings {
    pub secret_id: String,
    pub secret_key: Secret,
    pub sdk_app_id: String,
    pub region: String,
    pub base_url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// For the whole answer.
    pub timeout: Duration,
    /// The end of the hook's path; `None`: receipts are not taken.
    pub hook_secret: Option<Secret>,
    /// How often waiting receipts and replies are fetched; `None`: never.
    pub pull_every: Option<Duration>,
    /// Go before the built-in tables.
    pub codes: Codes,
}

pub(super) fn tencent(table: &mut Table<'_>) -> Option<TencentSettings> {
    table.require("secret_id", "the id of an API key that may send messages");
    if !table.has("secret_key_file") {
        table.require("secret_key", "the API key's secret");
    }
    table.require("sdk_app_id", "the SMS application's SDK AppID, as `1400006666`");
    let secret_id = table.text("secret_id", grammar::line);
    let secret_key = table.secret("secret_key", "secret_key_file", |text| grammar::line(text).map(drop));
    let sdk_app_id = table.text("sdk_app_id", grammar::line);
    let region = table.text("region", grammar::line);
    let base_url = table.text("base_url", grammar::public_url);
    let ca_file = table.path("ca_file");
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(10));
    let hook_secret = table.secret("hook_secret", "hook_secret_file", grammar::path_secret);
    let pull_every = table.text("pull_every", grammar::wait);
    let codes = codes(table);
    Some(TencentSettings {
        secret_id: secret_id?,
        secret_key: secret_key?,
        sdk_app_id: sdk_app_id?,
        region: region.unwrap_or_else(|| "ap-guangzhou".to_owned()),
        base_url: base_url.unwrap_or_else(|| "https://sms.tencentcloudapi.com".to_owned()),
        ca_file,
        timeout,
        hook_secret,
        pull_every,
        codes,
    })
}
