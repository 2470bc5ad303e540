//! What must hold of every file of contacts.

use std::io::{self, Read};

use super::row::{Header, from_json};
use crate::cli::records::Input;
use crate::fuzzing::pieces;
use crate::model::contact::{Consent, Contact};

/// The rows of a CSV file are the same however it is read, each is on a line of it, and what a row makes of a contact
/// is what the same contact as JSON is.
pub(crate) fn rows(file: &[u8], seed: u8) {
    let whole = records(file);
    assert_eq!(records(Pieces(pieces(file, seed).collect())), whole);
    let lines = 1 + file.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(whole.iter().all(|(line, _)| (1..=lines).contains(line)) && whole.is_sorted_by(|a, b| a.0 < b.0));
    let mut records = whole.into_iter().filter_map(|(_, fields)| fields.ok());
    let Some(Ok(header)) = records.next().map(Header::read) else { return };
    for fields in records {
        if let Ok(contact) = header.contact(fields, Some(Consent::Given)) {
            assert_same_as_json(&contact);
        }
    }
}

/// Every line of NDJSON is refused, or a contact that reads the same once we have written it.
pub(crate) fn lines(file: &[u8]) {
    let mut input = Input::new(file).expect("bytes are read");
    while let Some((_, line)) = input.line().expect("bytes are read") {
        if let Ok(contact) = from_json(&line.unwrap_or_default(), None) {
            assert_same_as_json(&contact);
        }
    }
    assert_eq!(input.position() + if file.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 }, file.len() as u64);
}

fn assert_same_as_json(contact: &Contact) {
    let written = serde_json::to_vec(contact).expect("a contact is JSON");
    assert_eq!(from_json(&written, None).as_ref(), Ok(contact), "{}", String::from_utf8_lossy(&written));
}

type Row = (u64, Result<Vec<Vec<u8>>, &'static str>);

fn records(source: impl Read) -> Vec<Row> {
    let mut input = Input::new(source).expect("bytes are read");
    let records = std::iter::from_fn(|| input.record().expect("bytes are read"));
    records.map(|record| (record.line, record.fields)).collect()
}

/// A file that comes in pieces.
struct Pieces<'f>(std::collections::VecDeque<&'f [u8]>);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.0.pop_front() else { return Ok(0) };
        let length = piece.read(into)?;
        if !piece.is_empty() {
            self.0.push_front(piece);
        }
        Ok(length)
    }
}
