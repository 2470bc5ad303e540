//! Records of a CSV file (RFC 4180), one after another, with the line each begins on.
//!
//! Holds one record at a time, however large the file. A record that cannot be read costs its first line alone:
//! reading goes on with the next line, so that one stray quote does not swallow what follows it.

use std::io::{self, Read};

/// The most bytes of one record, and of one line of NDJSON.
pub(super) const MAX_RECORD: usize = 1 << 20;
const CHUNK: usize = 64 * 1024;

/// A record's fields, or why it is none.
pub(super) type Fields = Result<Vec<Vec<u8>>, &'static str>;

/// A line without its end, or why it is not read.
pub(super) type Line = Result<Vec<u8>, &'static str>;

#[derive(Debug)]
pub(super) struct Record {
    /// From 1.
    pub(super) line: u64,
    pub(super) fields: Fields,
}

const TOO_LONG: &str = "has more than 1 MiB";
const UNCLOSED: &str = "has a quote that never closes";
const AFTER_QUOTE: &str = "has text after a closing quote; a quote inside of quotes is written twice";

/// How a record is cut out of what has been read so far.
enum Scan {
    /// The record and how many bytes it takes with its line end.
    Whole(Vec<Vec<u8>>, usize),
    Broken(&'static str),
    /// It does not end here; `quoted` where a quote is open.
    Open {
        quoted: bool,
    },
}

pub(super) struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where in `buffer` the unread bytes begin.
    at: usize,
    ended: bool,
    line: u64,
    taken: u64,
}

impl<R: Read> Input<R> {
    /// Begins after a byte order mark, where there is one.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn new(source: R) -> io::Result<Self> {
        let mut input = Input { source, buffer: Vec::new(), at: 0, ended: false, line: 1, taken: 0 };
        input.more()?;
        if input.rest().starts_with(b"\xEF\xBB\xBF") {
            input.at = 3;
        }
        Ok(input)
    }

    /// What has been read and not been taken yet: the beginning of the file, before the first record.
    pub(super) fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// How far in the file everything before this is done, in bytes.
    pub(super) fn position(&self) -> u64 {
        self.taken
    }

    /// The next CSV record; lines without a character are passed over.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn record(&mut self) -> io::Result<Option<Record>> {
        loop {
            let line = self.line;
            match scan(self.rest(), self.ended) {
                Scan::Whole(fields, bytes) => {
                    self.take(bytes);
                    if fields.len() == 1 && fields.first().is_some_and(Vec::is_empty) {
                        continue;
                    }
                    return Ok(Some(Record { line, fields: Ok(fields) }));
                }
                Scan::Open { quoted: true } if self.ended => return self.broken(UNCLOSED).map(Some),
                Scan::Open { .. } if self.ended => return Ok(None),
                Scan::Open { quoted } if self.rest().len() > MAX_RECORD => {
                    return self.broken(if quoted { UNCLOSED } else { TOO_LONG }).map(Some);
                }
                Scan::Open { .. } => self.more()?,
                Scan::Broken(problem) => return self.broken(problem).map(Some),
            }
        }
    }

    /// The next line without its end; lines of white space are passed over.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn line(&mut self) -> io::Result<Option<(u64, Line)>> {
        loop {
            let line = self.line;
            let end = memchr::memchr(b'\n', self.rest());
            match end {
                None if self.rest().len() > MAX_RECORD => {
                    self.skip_line()?;
                    return Ok(Some((line, Err(TOO_LONG))));
                }
                None if !self.ended => self.more()?,
                None if self.rest().is_empty() => return Ok(None),
                _ => {
                    let bytes = end.map_or(self.rest().len(), |end| end + 1);
                    let text = self.rest().get(..bytes).unwrap_or_default().trim_ascii().to_vec();
                    self.take(bytes);
                    if text.len() > MAX_RECORD {
                        return Ok(Some((line, Err(TOO_LONG))));
                    }
                    if !text.is_empty() {
                        return Ok(Some((line, Ok(text))));
                    }
                }
            }
        }
    }

    fn broken(&mut self, problem: &'static str) -> io::Result<Record> {
        let line = self.line;
        self.skip_line()?;
        Ok(Record { line, fields: Err(problem) })
    }

    /// Passes over everything up to and with the next line break.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', self.rest()) {
                self.take(end + 1);
                return Ok(());
            }
            self.take(self.rest().len());
            if self.ended {
                return Ok(());
            }
            self.more()?;
        }
    }

    fn take(&mut self, bytes: usize) {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        let breaks = memchr::memchr_iter(b'\n', taken).count();
        self.line += breaks as u64;
        self.at += bytes;
        self.taken += bytes as u64;
    }

    /// Reads on: as much again as there is, so that a long record is not scanned too often.
    fn more(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let wanted = CHUNK.max(self.buffer.len()) as u64;
        let read = self.source.by_ref().take(wanted).read_to_end(&mut self.buffer)?;
        self.ended = read == 0;
        Ok(())
    }
}

/// Cuts the first record out of `bytes`; at the file's end it may lack its line break.
fn scan(bytes: &[u8], ended: bool) -> Scan {
    let mut fields = Vec::new();
    let mut rest = bytes;
    loop {
        let (field, after) = match rest.strip_prefix(b"\"") {
            Some(inside) => match quoted(inside) {
                Some(cut) => cut,
                None => return Scan::Open { quoted: true },
            },
            None => {
                let end = rest.iter().position(|byte| matches!(byte, b',' | b'\n')).unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                let at_break = after.first() != Some(&b',');
                (if at_break { without_cr(field) } else { field }.to_vec(), after)
            }
        };
        if fields.is_empty() && bytes.is_empty() {
            return Scan::Open { quoted: false };
        }
        fields.push(field);
        let whole = |fields, after: &[u8]| Scan::Whole(fields, bytes.len() - after.len());
        match after {
            [b',', next @ ..] => rest = next,
            [b'\n', next @ ..] | [b'\r', b'\n', next @ ..] => return whole(fields, next),
            [] | [b'\r'] if ended => return whole(fields, &[]),
            [] | [b'\r'] => return Scan::Open { quoted: false },
            _ => return Scan::Broken(AFTER_QUOTE),
        }
    }
}

/// A field whose first quote stands before `bytes`, and what follows its last one.
fn quoted(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut field = Vec::new();
    let mut rest = bytes;
    loop {
        let (text, after) = rest.split_at(memchr::memchr(b'"', rest)?);
        field.extend_from_slice(text);
        match after {
            [b'"', b'"', next @ ..] => {
                field.push(b'"');
                rest = next;
            }
            _ => return Some((field, after.get(1..)?)),
        }
    }
}

fn without_cr(field: &[u8]) -> &[u8] {
    field.strip_suffix(b"\r").unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives one byte at a time, so that every cut between two reads is tried.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = into.len().min(1);
            self.0.read(&mut into[..count])
        }
    }

    fn read(source: impl Read) -> Vec<(u64, Result<Vec<String>, &'static str>)> {
        let mut input = Input::new(source).unwrap();
        std::iter::from_fn(|| input.record().unwrap())
            .map(|record| {
                let text = |field: Vec<u8>| String::from_utf8_lossy(&field).into_owned();
                (record.line, record.fields.map(|fields| fields.into_iter().map(text).collect()))
            })
            .collect()
    }

    fn good(line: u64, fields: &[&str]) -> (u64, Result<Vec<String>, &'static str>) {
        (line, Ok(fields.iter().map(|field| (*field).to_owned()).collect()))
    }

    #[test]
    fn lines_are_counted_through_quoted_breaks_and_empty_lines() {
        let text = "\u{feff}a,b\r\n\n\"x\ny\",\"say \"\"hi\"\"\"\r\n5\" pipe,\n,\nlast,row";
        let expected = [
            good(1, &["a", "b"]),
            good(3, &["x\ny", "say \"hi\""]),
            good(5, &["5\" pipe", ""]),
            good(6, &["", ""]),
            good(7, &["last", "row"]),
        ];
        assert_eq!(read(text.as_bytes()), expected);
        assert_eq!(read(Drip(text.as_bytes())), expected);
    }

    #[test]
    fn a_stray_quote_costs_its_line_alone() {
        let text = "a,\"b\nc,d\ne,\"f\"g\nh,i\n";
        assert_eq!(
            read(text.as_bytes()),
            [(1, Err(AFTER_QUOTE)), good(2, &["c", "d"]), (3, Err(AFTER_QUOTE)), good(4, &["h", "i"])]
        );
        assert_eq!(read(&b"a,\"b\nc,d\n"[..]), [(1, Err(UNCLOSED)), good(2, &["c", "d"])]);
    }

    #[test]
    fn a_line_without_end_is_refused_and_not_kept() {
        let endless = io::repeat(b'x').take(10 << 20).chain(&b"\na,b\n"[..]);
        let mut input = Input::new(endless).unwrap();
        assert_eq!(input.record().unwrap().unwrap().fields.unwrap_err(), TOO_LONG);
        assert!(input.buffer.capacity() <= 8 * MAX_RECORD, "{}", input.buffer.capacity());
        let next = input.record().unwrap().unwrap();
        assert_eq!((next.line, next.fields.unwrap().len()), (2, 2));
        let unclosed = (&b"\""[..]).chain(io::repeat(b'x').take(2 << 20)).chain(&b"\na,b\n"[..]);
        assert_eq!(read(unclosed), [(1, Err(UNCLOSED)), good(2, &["a", "b"])]);
    }

    #[test]
    fn lines_of_ndjson_have_numbers_too() {
        let mut input = Input::new(Drip(b"{}\r\n\n  \n[]")).unwrap();
        assert_eq!(input.line().unwrap(), Some((1, Ok(b"{}".to_vec()))));
        assert_eq!(input.line().unwrap(), Some((4, Ok(b"[]".to_vec()))));
        assert_eq!((input.line().unwrap(), input.position()), (None, 10));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in prop::collection::vec(prop::collection::vec("[a-c,\"\r\n é]{0,6}", 2..4), 0..8)) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let written = writer.into_inner().unwrap();
            let fields: Vec<Vec<String>> = read(&written[..]).into_iter().map(|(_, fields)| fields.unwrap()).collect();
            prop_assert_eq!(fields, rows);
        }

        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(prop::sample::select(b"a,\"\r\n".to_vec()), 0..60)) {
            let whole = read(&bytes[..]);
            prop_assert_eq!(&whole, &read(Drip(&bytes)));
            let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            prop_assert!(whole.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert!(whole.iter().all(|(line, _)| (1..=lines).contains(line)));
        }
    }
}
