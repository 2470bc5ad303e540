//! Instants that callers write: RFC 3339, from the year 1900 on, which every store can hold.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

/// 1900-01-01T00:00:00Z.
const FIRST_SECOND: i64 = -2_208_988_800;

pub(super) fn check(at: Timestamp) -> Result<Timestamp, &'static str> {
    if at.as_second() < FIRST_SECOND { Err("an instant before the year 1900") } else { Ok(at) }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    check(Timestamp::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// For fields that may be absent or null.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Option::<Timestamp>::deserialize(deserializer)?.map(check).transpose().map_err(de::Error::custom)
}
