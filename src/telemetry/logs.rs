//! Logs on standard error, as text for people or as JSON for machines, without anybody's address.
//!
//! Callers mask addresses where they log them (`model::address::masked`). What slips through all the same, in an
//! error of a library or an answer of a provider, [`MaskingWriter`] masks in the finished line: e-mail addresses, what
//! stands before the `@` of a URL, and phone numbers in E.164 form. Push tokens and openids look like any other word:
//! for those the callers stay responsible.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::model::address::masked;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Plain,
    Json,
}

/// Why logs could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the log level is none: write error, warn, info, debug, trace, off, or a list as `info,campaignd=debug`"
    )]
    Level(#[source] tracing_subscriber::filter::ParseError),
    #[error("logs are started already")]
    Twice(#[source] TryInitError),
}

/// Sends what the program traces to standard error from now on. `level` is a level or a list of them by module.
///
/// # Errors
/// Where `level` cannot be read, or where the process has a subscriber already.
pub fn start(format: Format, level: &str) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(level).map_err(StartError::Level)?;
    let builder = SubscriberBuilder::default()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(MaskingWriter::new(io::stderr));
    match format {
        Format::Plain => builder.finish().try_init(),
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(StartError::Twice)
}

/// Masks addresses in each line on its way to another writer.
#[derive(Debug, Clone)]
pub struct MaskingWriter<W>(W);

impl<W> MaskingWriter<W> {
    pub fn new(inner: W) -> Self {
        Self(inner)
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for MaskingWriter<W> {
    type Writer = MaskingWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        MaskingWriter(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        MaskingWriter(self.0.make_writer_for(meta))
    }
}

impl<W: Write> Write for MaskingWriter<W> {
    /// Takes all of `line`. The subscriber writes each event in one call, so no address is ever cut in two.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(without_addresses(text).as_bytes())?,
            Err(_) => self.0.write_all(without_addresses(&String::from_utf8_lossy(line)).as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `line` with its e-mail addresses and phone numbers masked. One pass; a line without either is not copied.
pub fn without_addresses(line: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut kept = 0;
    for (at, mark) in line.match_indices(['@', '+']) {
        if at < kept {
            continue;
        }
        let (before, after) = line.split_at(at);
        let address = match mark {
            "@" => email(before, after).map(|range| (range.0.max(kept), range.1)),
            _ => phone(before, after),
        };
        let Some((start, end)) = address else { continue };
        clean += line.get(kept..start).unwrap_or_default();
        clean += &masked(line.get(start..end).unwrap_or_default());
        kept = end;
    }
    if kept == 0 {
        return Cow::Borrowed(line);
    }
    clean += line.get(kept..).unwrap_or_default();
    Cow::Owned(clean)
}

/// Where the address around the `@` between `before` and `after` begins and ends.
fn email(before: &str, after: &str) -> Option<(usize, usize)> {
    let local = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-');
    let domain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
    let head = before.trim_end_matches(local);
    let mut start = head.len();
    let local_part = before.get(start..)?;
    // The letters of an escape belong to it: `\n` and `\u001b` in JSON, `ESC[0m` in a terminal's colours.
    start += match local_part.chars().next()? {
        'u' if head.ends_with('\\') => 5.min(local_part.len()),
        first if head.ends_with('\\') => first.len_utf8(),
        _ if head.ends_with("\u{1b}[") => local_part.find('m').map_or(0, |m| m + 1),
        _ => 0,
    };
    let host = after.get(1..)?;
    let host = host.len() - host.trim_start_matches(domain).len();
    let end = before.len() + 1 + host;
    (start < before.len() && before.is_char_boundary(start) && host > 0).then_some((start, end))
}

/// Where the number that begins with the `+` between `before` and `after` begins and ends. After a letter or digit the
/// `+` is a version's or a sum's.
fn phone(before: &str, after: &str) -> Option<(usize, usize)> {
    let digits = after.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let leading_zero = after.starts_with("+0");
    let joined = before.chars().next_back().is_some_and(char::is_alphanumeric);
    ((7..=15).contains(&digits) && !leading_zero && !joined)
        .then_some((before.len(), before.len() + 1 + digits))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_masked_wherever_they_stand() {
        for (line, clean) in [
            ("no address at all", "no address at all"),
            ("to=anna.k+x@example.com refused", "to=a***@example.com refused"),
            ("<anna@example.com>, \"bob@example.cn\"", "<a***@example.com>, \"b***@example.cn\""),
            ("小明@例子.中国 and +8613800138000.", "小***@例子.中国 and ***00."),
            ("to:+8613800138000,+4915112345678", "to:***00,***78"),
            ("amqp://guest:guest@127.0.0.1:5672/%2f", "amqp://guest:g***@127.0.0.1:5672/%2f"),
            (
                "2026-04-01T09:00:00+08:00 version 1.2.3+20260401",
                "2026-04-01T09:00:00+08:00 version 1.2.3+20260401",
            ),
            ("+12 + +0123456789 +1234567890123456 @ a@ @b", "+12 + +0123456789 +1234567890123456 @ a@ @b"),
            ("+8613800138000@example.com", "***00***@example.com"),
            ("a@b@c.de", "a***@b***@c.de"),
        ] {
            assert_eq!(without_addresses(line), clean);
        }
    }

    #[test]
    fn escapes_stay_whole() {
        assert_eq!(without_addresses(r#"{"a":"\nanna@x.de"}"#), r#"{"a":"\na***@x.de"}"#);
        assert_eq!(without_addresses(r#"{"a":"\u001banna@x.de"}"#), r#"{"a":"\u001ba***@x.de"}"#);
        assert_eq!(without_addresses("\u{1b}[0manna@x.de\u{1b}[0m"), "\u{1b}[0ma***@x.de\u{1b}[0m");
    }

    /// What subscribers write to in tests.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_traced_is_masked() {
        let lines = Lines::default();
        let sink = lines.clone();
        let subscriber =
            SubscriberBuilder::default().json().with_writer(MaskingWriter::new(move || sink.clone()));
        tracing::subscriber::with_default(subscriber.finish(), || {
            tracing::info!(to = "anna@example.com", "550 no such user +8613800138000 \u{1b}\n");
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let event: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(event["fields"]["to"], "a***@example.com");
        assert!(!written.contains("anna") && !written.contains("+86"), "{written}");
    }

    proptest! {
        #[test]
        fn any_line_is_taken(line in "(\\PC|[@+\\\\u0-9m\u{1b}\\[]){0,60}") {
            drop(without_addresses(&line));
        }

        #[test]
        fn no_address_survives(before in "[ ,:=<(]", local in "[a-z0-9._-]{2,20}", after in "[ ,:;>)\"]") {
            let address = format!("{local}@example.com");
            let line = format!("x{before}{address}{after}y");
            prop_assert!(!without_addresses(&line).contains(&address));
        }

        #[test]
        fn lines_without_marks_are_not_copied(line in "[^@+]{0,60}") {
            prop_assert!(matches!(without_addresses(&line), Cow::Borrowed(_)));
        }
    }
}
