//! The sample data in `tests/data/` is what its README says, and the job format judges each sample job so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use campaignd::model::contact::Contact;
use campaignd::model::job::Job;
use campaignd::model::{Channel, address};

#[test]
fn good_jobs_are_read() {
    for file in json_files("tests/data/jobs") {
        if let Err(error) = Job::read(&fs::read(&file).unwrap()) {
            panic!("{}: {error}", file.display());
        }
    }
}

/// Each fault, and how the error that names it begins.
#[rustfmt::skip]
const FAULTS: &[(&str, &str)] = &[
    ("audience-all-false", "$.audience: "),
    ("audience-consent-alone", "$.audience: `consent`"),
    ("audience-empty-id", "$.audience.contacts[1]: "),
    ("audience-missing", "$: missing field `audience`"),
    ("audience-two-ways", "$.audience: an audience is exactly one of"),
    ("burst-without-rate", "$.burst: "),
    ("channel-unknown", "$.channel: "),
    ("contacts-bad-email", "$.upsert[1].addresses[0].address: "),
    ("contacts-bad-locale", "$.upsert[0].locale: "),
    ("contacts-bad-timezone", "$.upsert[0].timezone: "),
    ("control-action-unknown", "$.action: "),
    ("control-without-campaign", "$: missing field `campaign`"),
    ("empty", "$: not JSON"),
    ("expiry-before-send", "$.expires_at: "),
    ("field-of-a-later-release", "$.variants: "),
    ("field-unknown", "$.tempalte: unknown field"),
    ("filter-comparison-missing", "$.audience.segment: "),
    ("filter-condition-unknown", "$.audience.segment.any[0]"),
    ("filter-span", "$.audience.segment.opened.within: "),
    ("filter-tag-not-text", "$.audience.segment.all[0].tag: "),
    ("filter-too-deep", "$.audience.segment: a filter nests at most"),
    ("filter-two-comparisons", "$.audience.segment"),
    ("id-empty", "$.id: "),
    ("id-missing", "$: missing field `id`"),
    ("id-too-long", "$.id: "),
    ("lane-unknown", "$.lane: "),
    ("message-bad-address", "$.to.address: "),
    ("message-to-nobody", "$.to: "),
    ("message-to-two", "$.to"),
    ("not-an-object", "$: a job is a JSON object"),
    ("not-json", "$: not JSON"),
    ("not-utf-8", "$: not JSON"),
    ("number-with-leading-zeros", "$: not JSON"),
    ("purpose-unknown", "$.purpose: "),
    ("rate-unreadable", "$.rate: "),
    ("rate-zero", "$.rate: "),
    ("text-with-nul", "$.data.name: "),
    ("time-without-zone", "$.send_at: "),
    ("trailing-comma", "$: not JSON"),
    ("type-missing", "$.type: missing"),
    ("type-unknown", "$.type: "),
];

#[test]
fn bad_jobs_are_refused_with_the_place_of_their_fault() {
    let mut wrong = Vec::new();
    for (name, expected) in FAULTS {
        let body = fs::read(root().join(format!("tests/data/jobs/bad/{name}.json"))).unwrap();
        match Job::read(&body) {
            Ok(_) => wrong.push(format!("{name}: was read")),
            Err(error) if error.to_string().starts_with(expected) => {}
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let named: BTreeSet<_> = FAULTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = json_files("tests/data/jobs/bad").into_iter();
    let there: BTreeSet<_> =
        stems.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(named, there);
}

#[test]
fn contacts_are_as_their_readme_says() {
    let mut reader = csv::Reader::from_path(root().join("tests/data/contacts.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let ids: BTreeSet<_> = rows.iter().map(|row| row[0].to_owned()).collect();
    assert_eq!((rows.len(), ids.len()), (180, 180));
    for row in &rows {
        let mut contact = Contact { external_id: row[0].to_owned(), ..Contact::default() };
        contact.locale = Some(row[5].to_owned()).filter(|text| !text.is_empty());
        contact.timezone = Some(row[6].to_owned()).filter(|text| !text.is_empty());
        assert_eq!(contact.canonicalize(), Ok(()), "{row:?}");
    }
    for (column, channel, filled, unique) in [(1, Channel::Email, 171, 168), (2, Channel::Sms, 38, 37)] {
        let texts = rows.iter().map(|row| &row[column]).filter(|text| !text.is_empty());
        let all: Vec<_> = texts.map(|text| address::canonical(channel, text).unwrap()).collect();
        assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (filled, unique), "{channel}");
    }
}

fn json_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    assert!(!files.is_empty(), "no samples in {folder}");
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
