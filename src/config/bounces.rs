//! `[bounces]`: how reports about mail come back.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::grammar;
use super::reader::Table;

#[derive(Debug, Clone, Default)]
pub struct Bounces {
    /// Where a mail server hands reports over by LMTP (RFC 2033).
    pub lmtp: Option<SocketAddr>,
    /// The maildir that a mail server delivers reports to.
    pub maildir: Option<PathBuf>,
    /// A returned Message-ID is believed, though anybody can write one.
    pub message_ids: bool,
}

impl Bounces {
    /// Whether reports come back at all.
    pub fn are_read(&self) -> bool {
        self.lmtp.is_some() || self.maildir.is_some()
    }
}

pub(super) fn bounces(mut table: Table<'_>) -> Bounces {
    let lmtp = table.text("lmtp", grammar::socket_address);
    let maildir = table.path("maildir");
    let message_ids = table.flag("message_ids").unwrap_or(false);
    table.finish();
    Bounces { lmtp, maildir, message_ids }
}
