//! The settings of kind `aliyun`.

use std::path::PathBuf;
use std::time::Duration;

use super::codes::{Codes, codes};
use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// An account with Alibaba Cloud's SMS service.
#[derive(Debug, Clone)]
pub struct AliyunSettings {
    pub access_key_id: String,
    pub access_key_secret: Secret,
    pub base_url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// For the whole answer.
    pub timeout: Duration,
    /// One number a call, so that receipts name our delivery; else up to 100.
    pub single: bool,
    /// The end of the hook's path; `None`: receipts are not taken.
    pub hook_secret: Option<Secret>,
    /// After how long a message without a receipt is asked for; `None`: never.
    pub ask_after: Option<Duration>,
    /// Go before the built-in tables.
    pub codes: Codes,
}

pub(super) fn aliyun(table: &mut Table<'_>) -> Option<AliyunSettings> {
    table.require("access_key_id", "the id of an AccessKey that may send messages");
    if !table.has("access_key_secret_file") {
        table.require("access_key_secret", "the AccessKey's secret");
    }
    let access_key_id = table.text("access_key_id", grammar::line);
    let access_key_secret =
        table.secret("access_key_secret", "access_key_secret_file", |text| grammar::line(text).map(drop));
    let base_url = table.text("base_url", grammar::public_url);
    let ca_file = table.path("ca_file");
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(10));
    let single = table.flag("single").unwrap_or(true);
    let hook_secret = table.secret("hook_secret", "hook_secret_file", grammar::path_secret);
    let ask_after = table.text("ask_after", grammar::wait);
    let codes = codes(table);
    Some(AliyunSettings {
        access_key_id: access_key_id?,
        access_key_secret: access_key_secret?,
        base_url: base_url.unwrap_or_else(|| "https://dysmsapi.aliyuncs.com".to_owned()),
        ca_file,
        timeout,
        single,
        hook_secret,
        ask_after,
        codes,
    })
}
