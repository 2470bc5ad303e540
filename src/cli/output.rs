//! Results on standard output: text for people, or JSON for machines.

use std::io::{self, ErrorKind, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Row, Table};
use jiff::Timestamp;
use serde::Serialize;

/// Where results go. A reader that went away, as `head` does, has seen enough: that is no failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// `value` as JSON, or what `text` makes of it.
    ///
    /// # Errors
    /// When standard output does not take it, as on a full disk.
    pub(super) fn show<T: Serialize + ?Sized>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        if self.json { self.json(value) } else { self.text(&text()) }
    }

    /// # Errors
    /// As [`Output::show`].
    pub(super) fn json<T: Serialize + ?Sized>(self, value: &T) -> io::Result<()> {
        self.text(&serde_json::to_string_pretty(value)?)
    }

    /// Ends the text with a line break where it has none.
    ///
    /// # Errors
    /// As [`Output::show`].
    pub(super) fn text(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.write_all(end.as_bytes()))
            .and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// Columns under a header, without lines between them.
pub(super) fn table<R: Into<Row>>(header: impl Into<Row>, rows: impl IntoIterator<Item = R>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n")
}

/// To the second, in UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// [`time`], or `-`.
pub(super) fn maybe_time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), time)
}

/// `1 row`, `2 rows`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
