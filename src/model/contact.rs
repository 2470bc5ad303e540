//! A contact as callers write it: `upsert` in a contacts job, a line of NDJSON, the body of a PUT.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Channel, address};

/// CONTACT of the contract. Absent fields leave what is stored; `null` in `attributes` removes one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// The caller's id, 1 to 200 bytes.
    pub external_id: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
    /// Replaces all tags where present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// BCP 47, as `zh-CN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// IANA name, as `Asia/Shanghai`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Replaces all addresses where present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<ContactAddress>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactAddress {
    pub channel: Channel,
    pub address: String,
    /// The WeChat app id or push app; empty for e-mail and SMS.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Agreement to marketing; absent changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
}

/// Agreement to marketing on one address. Only a dated one that is later than an unsubscribe undoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    Given,
    GivenAt(Timestamp),
    Withdrawn,
}

impl Serialize for Consent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Consent::Given => serializer.serialize_bool(true),
            Consent::Withdrawn => serializer.serialize_bool(false),
            Consent::GivenAt(at) => at.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Consent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Consent;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false, or the instant of the agreement in RFC 3339")
            }
            fn visit_bool<E: serde::de::Error>(self, given: bool) -> Result<Consent, E> {
                Ok(if given { Consent::Given } else { Consent::Withdrawn })
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Consent, E> {
                let at =
                    text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))?;
                super::instant::check(at).map(Consent::GivenAt).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Consent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Consent".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "whether, or when, the person agreed to marketing on this address",
            "anyOf": [{"type": "boolean"}, {"type": "string", "format": "date-time"}]
        })
    }
}

pub const MAX_EXTERNAL_ID: usize = 200;
pub const MAX_ATTRIBUTES: usize = 200;
pub const MAX_ATTRIBUTES_BYTES: usize = 64 * 1024;

/// One thing wrong with a value, and where: `path` is relative to the value, as `.addresses[0].address`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub path: String,
    pub message: String,
}

impl Problem {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { path: path.into(), message: message.into() }
    }

    /// The same problem seen from one level further out.
    pub fn under(mut self, prefix: &str) -> Self {
        self.path.insert_str(0, prefix);
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Whether `id` may be an id of the caller's.
pub fn check_id(id: &str) -> Result<(), &'static str> {
    if id.is_empty() || id.len() > MAX_EXTERNAL_ID {
        return Err("an id has 1 to 200 bytes");
    }
    if id.chars().any(char::is_control) {
        return Err("an id has no control characters");
    }
    Ok(())
}

impl Contact {
    /// Puts addresses into their canonical form and reports everything that is wrong.
    ///
    /// # Errors
    /// All problems at once; the contact must not be stored then.
    pub fn canonicalize(&mut self) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        if let Err(problem) = check_id(&self.external_id) {
            problems.push(Problem::new(".external_id", problem));
        }
        if self.attributes.len() > MAX_ATTRIBUTES {
            problems.push(Problem::new(".attributes", format!("more than {MAX_ATTRIBUTES} attributes")));
        }
        let bytes = serde_json::to_vec(&self.attributes).map_or(0, |json| json.len());
        if bytes > MAX_ATTRIBUTES_BYTES {
            problems.push(Problem::new(".attributes", format!("more than {MAX_ATTRIBUTES_BYTES} bytes")));
        }
        if self.attributes.keys().any(|name| name.is_empty() || name.contains('\0')) {
            problems.push(Problem::new(".attributes", "a name is empty or has a NUL character"));
        }
        if let Some(zone) = &self.timezone
            && jiff::tz::TimeZone::get(zone).is_err()
        {
            problems.push(Problem::new(
                ".timezone",
                format!("`{zone}` is no IANA time zone, as `Asia/Shanghai` is"),
            ));
        }
        if let Some(locale) = &self.locale
            && !is_language_tag(locale)
        {
            problems.push(Problem::new(".locale", format!("`{locale}` is no language tag, as `zh-CN` is")));
        }
        for (index, address) in self.addresses.iter_mut().flatten().enumerate() {
            match address::canonical(address.channel, &address.address) {
                Ok(canonical) => address.address = canonical,
                Err(problem) => {
                    problems.push(Problem::new(format!(".addresses[{index}].address"), problem.to_string()));
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// The outer shape of BCP 47: subtags of 1 to 8 letters or digits, the first one of 2 or 3 letters.
pub fn is_language_tag(tag: &str) -> bool {
    let mut subtags = tag.split(['-', '_']);
    let language = subtags
        .next()
        .is_some_and(|s| (2..=3).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphabetic()));
    language && subtags.all(|s| (1..=8).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_come_at_once() {
        let mut contact: Contact = serde_json::from_str(
            r#"{"external_id": "", "timezone": "Mars/Olympus", "locale": "x", "addresses": [{"channel": "email", "address": "nope"}]}"#,
        )
        .unwrap();
        let paths: Vec<String> = contact.canonicalize().unwrap_err().into_iter().map(|p| p.path).collect();
        assert_eq!(paths, [".external_id", ".timezone", ".locale", ".addresses[0].address"]);
    }

    #[test]
    fn consent_is_a_flag_or_an_instant() {
        let read = |json: &str| serde_json::from_str::<Consent>(json);
        assert_eq!(read("true").unwrap(), Consent::Given);
        assert!(matches!(read(r#""2026-04-01T09:00:00+08:00""#).unwrap(), Consent::GivenAt(_)));
        assert!(read(r#""yesterday""#).is_err());
    }
}
