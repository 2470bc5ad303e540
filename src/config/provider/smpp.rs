//! The settings of kind `smpp`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::codes::{Codes, codes};
use crate::config::grammar;
use crate::config::reader::Table;
use crate::config::secret::Secret;

/// Bounds of `window` and `binds`, and how they are named.
const MOST_WINDOW: u16 = 1_000;
const WINDOW: &str = "a whole number from 1 to 1000";
const MOST_BINDS: u16 = 64;
const BINDS: &str = "a whole number from 1 to 64";
/// Octets of the fields, without the NULs that end them (SMPP 3.4, section 4.1.1). A password may be longer than its 8:
/// many providers give such.
const SYSTEM_ID: usize = 15;
const SYSTEM_TYPE: usize = 12;
const FROM: usize = 20;
/// Characters of a sender that is no number (3GPP TS 23.040, section 9.1.2.5): networks carry no more.
const FROM_NAME: usize = 11;

/// An account at an SMSC that speaks SMPP 3.4.
#[derive(Debug, Clone)]
pub struct SmppSettings {
    /// A host name or an IP address.
    pub host: String,
    pub port: u16,
    /// TLS from the first byte.
    pub tls: bool,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    pub system_id: String,
    pub password: Secret,
    /// Empty unless the provider asks for one.
    pub system_type: String,
    /// Who messages are from: a name, `+4930123456`, or a short code; `None` leaves it to the provider.
    pub from: Option<String>,
    /// Type of number and numbering plan of `from`; `None`: what it looks like.
    pub from_ton: Option<u8>,
    pub from_npi: Option<u8>,
    /// Messages, or parts of them, without an answer in one bind, at most 1000.
    pub window: NonZeroU16,
    /// Connections at once, at most 64.
    pub binds: NonZeroU16,
    /// Ids come in hexadecimal in answers and in decimal in receipts.
    pub hex_ids: bool,
    /// How often the provider is asked whether it is there.
    pub enquire: Duration,
    /// For connecting, and for each answer.
    pub timeout: Duration,
    /// Go before the built-in tables.
    pub codes: Codes,
}

pub(super) fn smpp(table: &mut Table<'_>) -> Option<SmppSettings> {
    table.require("host", "the SMSC's host name or IP address");
    table.require("system_id", "the account's name at the provider");
    if !table.has("password_file") {
        table.require("password", "the account's password at the provider");
    }
    let host = table.text("host", grammar::host);
    let port = table.number("port", "a whole number from 1 to 65535").map(NonZeroU16::get);
    let tls = table.flag("tls").unwrap_or(false);
    let ca_file = table.path("ca_file");
    let system_id = table.text("system_id", |text| field(text, SYSTEM_ID));
    let password = table.secret("password", "password_file", |text| grammar::line(text).map(drop));
    let system_type = table.text("system_type", |text| field(text, SYSTEM_TYPE));
    let sender = table.text("from", from);
    let octet = "a whole number from 0 to 255";
    let (from_ton, from_npi) = (table.number("from_ton", octet), table.number("from_npi", octet));
    let window = bounded(table, "window", MOST_WINDOW, WINDOW);
    let binds = bounded(table, "binds", MOST_BINDS, BINDS);
    let hex_ids = table.flag("hex_ids").unwrap_or(false);
    let enquire = table.text("enquire", grammar::wait).unwrap_or(Duration::from_secs(20));
    let timeout = table.text("timeout", grammar::wait).unwrap_or(Duration::from_secs(30));
    let codes = codes(table);
    Some(SmppSettings {
        host: host?,
        port: port.unwrap_or(if tls { 3550 } else { 2775 }),
        tls,
        ca_file,
        system_id: system_id?,
        password: password?,
        system_type: system_type.unwrap_or_default(),
        from: sender,
        from_ton,
        from_npi,
        window: window.unwrap_or(const { NonZeroU16::new(50).unwrap() }),
        binds: binds.unwrap_or(NonZeroU16::MIN),
        hex_ids,
        enquire,
        timeout,
        codes,
    })
}

fn bounded(table: &mut Table<'_>, key: &'static str, most: u16, wanted: &str) -> Option<NonZeroU16> {
    let number = table.number::<NonZeroU16>(key, wanted);
    if number.is_some_and(|number| number.get() > most) {
        table.problem(key, format!("must be {wanted}"));
    }
    number
}

fn from(text: &str) -> Result<String, String> {
    let number = text.strip_prefix('+').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
    field(text, if number { FROM } else { FROM_NAME })
}

fn field(text: &str, longest: usize) -> Result<String, String> {
    let text = grammar::line(text)?;
    if text.len() > longest || !text.is_ascii() {
        return Err(format!("has at most {longest} ASCII characters"));
    }
    Ok(text)
}
