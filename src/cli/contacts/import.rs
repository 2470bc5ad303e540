//! `contacts import`: a file of any size into the store, a batch at a time.
//!
//! Rows go in in the file's order, so the later of two rows with one id wins. A row that cannot be read is told and
//! left out; all others go in. Holds a few batches, never the file.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;

use super::row::{self, Header};
use crate::cli::enqueue::open;
use crate::cli::exit::{Exit, Failure, tell};
use crate::cli::operator::deed;
use crate::cli::output::{Output, counted};
use crate::cli::records::Input;
use crate::cli::session::Session;
use crate::model::audit::{Action, Ending};
use crate::model::contact::{Consent, Contact};
use crate::store::contacts::{ForeignAddress, Upsert};

/// Rows of one transaction, at most.
const BATCH_ROWS: usize = 2_000;
/// Bytes of the file that one batch comes from, about.
const BATCH_BYTES: u64 = 4 << 20;
/// Batches that are read ahead while others are stored.
const READ_AHEAD: usize = 4;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd contacts import people.csv --consent
  campaignd contacts import people.ndjson

A CSV file begins with a header. Known columns: external_id, email, phone, wechat, push, locale, timezone, \
tags (with `;` between); all others become attributes. An empty field changes nothing. A line of NDJSON is \
a contact as in a job.")]
pub(in crate::cli) struct Arguments {
    /// CSV or NDJSON
    file: PathBuf,
    /// State that these people agreed to marketing on the addresses in this file; kept as evidence
    #[arg(long)]
    consent: bool,
    /// By default the file's name or its first character says it
    #[arg(long)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Ndjson,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    imported: u64,
    skipped: u64,
    /// Addresses that another contact owns: their rows went in without them.
    addresses_kept_elsewhere: u64,
}

/// Some rows in the order of the file.
#[derive(Debug, Default)]
struct Batch {
    mode: Upsert,
    contacts: Vec<Contact>,
    /// The line of each contact.
    lines: Vec<u64>,
    bad: Vec<(u64, String)>,
    /// Where in the file it ends.
    position: u64,
}

pub(super) async fn import(config: &Path, arguments: &Arguments, out: Output) -> Result<Exit, Failure> {
    let file = open(&arguments.file)?;
    let bar = progress(&file)?;
    let session = Session::open(config).await?;
    let (sender, batches) = mpsc::channel(READ_AHEAD);
    let (path, format) = (arguments.file.clone(), arguments.format);
    let consent = arguments.consent.then_some(Consent::Given);
    let reading = tokio::task::spawn_blocking(move || {
        let mut reader = Reader { sender, batch: Batch::default(), consent };
        reader.read(file, &path, format)
    });
    let source = format!("import {}", arguments.file.display());
    let summary = store(&session, batches, &source, &bar).await;
    bar.finish_and_clear();
    let (ending, rows) = match &summary {
        Ok(summary) => (Ending::Done, format!("{} in", counted(summary.imported, "row"))),
        Err(_) => (Ending::Failed, "broke off".to_owned()),
    };
    session.note(deed(Action::ContactsImported, ending).detail(format!("{rows}, {source}"))).await;
    let summary = summary?;
    reading.await??;
    out.show(&summary, || {
        let Summary { skipped, addresses_kept_elsewhere: kept, .. } = summary;
        format!(
            "{} imported, {skipped} skipped; addresses that stay with other contacts: {kept}",
            counted(summary.imported, "row")
        )
    })?;
    Ok(if summary.skipped > 0 { Exit::Input } else { Exit::Done })
}

/// Stores the batches and tells of every row that did not go in whole. Two go in side by side where nothing in them
/// depends on which is first.
async fn store(
    session: &Session,
    mut batches: mpsc::Receiver<Batch>,
    source: &str,
    bar: &ProgressBar,
) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let upsert = |batch: Batch| async move {
        let stored = session.store.upsert_contacts(&batch.contacts, batch.mode, source).await;
        (batch, stored)
    };
    while let Some(first) = batches.recv().await {
        let stored = match batches.try_recv() {
            Ok(second) if first.is_apart_from(&second) => {
                let (first, second) = tokio::join!(upsert(first), upsert(second));
                [Some(first), Some(second)]
            }
            Ok(second) => [Some(upsert(first).await), Some(upsert(second).await)],
            Err(_) => [Some(upsert(first).await), None],
        };
        for (batch, stored) in stored.into_iter().flatten() {
            summary.add(&batch, stored, bar)?;
        }
    }
    Ok(summary)
}

impl Summary {
    fn add(
        &mut self,
        batch: &Batch,
        stored: crate::store::Result<Vec<ForeignAddress>>,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        for (line, problem) in &batch.bad {
            bar.suspend(|| tell(&format!("line {line}: {problem}")));
        }
        let foreign = stored.with_context(|| {
            format!(
                "{} rows went in before this; import the file again, they stay as they are",
                self.imported
            )
        })?;
        for address in &foreign {
            let line = batch.lines.get(address.index).copied().unwrap_or_default();
            let channel = address.channel;
            bar.suspend(|| {
                tell(&format!(
                    "line {line}: the {channel} address belongs to another contact and stays there"
                ));
            });
        }
        self.imported += batch.contacts.len() as u64;
        self.skipped += batch.bad.len() as u64;
        self.addresses_kept_elsewhere += foreign.len() as u64;
        bar.set_position(batch.position);
        bar.set_message(speed(self, bar));
        Ok(())
    }
}

impl Batch {
    /// Whether neither an id nor an address is in both.
    fn is_apart_from(&self, other: &Batch) -> bool {
        let ids: HashSet<&str> = self.contacts.iter().map(|contact| contact.external_id.as_str()).collect();
        let addresses: HashSet<&str> = self.addresses().collect();
        other.contacts.iter().all(|contact| !ids.contains(contact.external_id.as_str()))
            && other.addresses().all(|address| !addresses.contains(address))
    }

    fn addresses(&self) -> impl Iterator<Item = &str> {
        let lists = self.contacts.iter().filter_map(|contact| contact.addresses.as_ref());
        lists.flatten().map(|address| address.address.as_str())
    }
}

/// Hidden where standard error is no terminal.
fn progress(file: &File) -> Result<ProgressBar, Failure> {
    let bar = ProgressBar::new(file.metadata()?.len());
    bar.set_style(ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg} {eta}")?);
    Ok(bar)
}

fn speed(summary: &Summary, bar: &ProgressBar) -> String {
    let rows = summary.imported + summary.skipped;
    let seconds = bar.elapsed().as_secs().max(1);
    format!("{rows} rows, {}/s", rows / seconds)
}

/// Reads the file on a thread of its own, as fast as the batches are taken.
struct Reader {
    sender: mpsc::Sender<Batch>,
    batch: Batch,
    consent: Option<Consent>,
}

/// Whoever takes the batches has given up.
#[derive(Debug)]
struct Unheard;

impl Reader {
    fn read(&mut self, file: File, path: &Path, format: Option<Format>) -> Result<(), Failure> {
        let name = || path.display().to_string();
        let mut input = Input::new(file).with_context(name)?;
        if input.rest().starts_with(b"\xFF\xFE") || input.rest().starts_with(b"\xFE\xFF") {
            return Err(Failure::input(anyhow!("{} is UTF-16: save it as UTF-8", name())));
        }
        // An unheard batch has left its error with those who did not hear it.
        match format.unwrap_or_else(|| Format::of(path, input.rest())) {
            Format::Csv => {
                let header = header(&mut input).with_context(name)?;
                let header = header.map_err(|problem| Failure::input(anyhow!("{}: {problem}", name())))?;
                self.batch.mode = Upsert::Rows;
                self.csv(&mut input, &header)
            }
            Format::Ndjson => self.ndjson(&mut input),
        }
        .with_context(name)?
        .unwrap_or(());
        Ok(())
    }

    fn csv(&mut self, input: &mut Input<File>, header: &Header) -> io::Result<Result<(), Unheard>> {
        while let Some(record) = input.record()? {
            let contact = match record.fields {
                Ok(fields) => header.contact(fields, self.consent),
                Err(problem) => Err(problem.to_owned()),
            };
            if self.add(record.line, contact, input.position()).is_err() {
                return Ok(Err(Unheard));
            }
        }
        Ok(self.send(input.position()))
    }

    fn ndjson(&mut self, input: &mut Input<File>) -> io::Result<Result<(), Unheard>> {
        while let Some((line, text)) = input.line()? {
            let contact = match text {
                Ok(text) => row::from_json(&text, self.consent),
                Err(problem) => Err(problem.to_owned()),
            };
            if self.add(line, contact, input.position()).is_err() {
                return Ok(Err(Unheard));
            }
        }
        Ok(self.send(input.position()))
    }

    fn add(&mut self, line: u64, contact: Result<Contact, String>, position: u64) -> Result<(), Unheard> {
        match contact {
            Ok(contact) => {
                self.batch.contacts.push(contact);
                self.batch.lines.push(line);
            }
            Err(problem) => self.batch.bad.push((line, problem)),
        }
        let rows = self.batch.contacts.len() + self.batch.bad.len();
        if rows < BATCH_ROWS && position < self.batch.position + BATCH_BYTES {
            return Ok(());
        }
        self.send(position)
    }

    fn send(&mut self, position: u64) -> Result<(), Unheard> {
        let next = Batch { position, mode: self.batch.mode, ..Batch::default() };
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.position = position;
        self.sender.blocking_send(batch).map_err(|_| Unheard)
    }
}

impl Format {
    fn of(path: &Path, beginning: &[u8]) -> Format {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "csv" => Format::Csv,
            "ndjson" | "jsonl" => Format::Ndjson,
            _ if beginning.trim_ascii_start().starts_with(b"{") => Format::Ndjson,
            _ => Format::Csv,
        }
    }
}

fn header(input: &mut Input<File>) -> io::Result<Result<Header, String>> {
    Ok(match input.record()? {
        None => Err("the file is empty".to_owned()),
        Some(record) => match record.fields {
            Ok(fields) => Header::read(fields),
            Err(problem) => Err(format!("the header {problem}")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_files_name_or_its_first_character() {
        for (name, beginning, format) in [
            ("a.CSV", "{", Format::Csv),
            ("a.jsonl", "external_id", Format::Ndjson),
            ("a.ndjson", "", Format::Ndjson),
            ("people", " \n{\"", Format::Ndjson),
            ("people.txt", "external_id,email", Format::Csv),
        ] {
            assert_eq!(Format::of(Path::new(name), beginning.as_bytes()), format, "{name}");
        }
    }
}
