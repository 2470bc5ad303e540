//! The documents say what is so: links lead somewhere, examples are read, tables are the code's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use campaignd::model::filter::Filter;
use campaignd::model::job::Job;
use campaignd::model::{Reason, State};

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut broken = Vec::new();
    for file in documents() {
        let text = read(&file);
        for link in links(&without_code(&text)).filter(|link| !link.contains("://")) {
            let (path, heading) = link.split_once('#').map_or((link, None), |(path, to)| (path, Some(to)));
            let target = if path.is_empty() { file.clone() } else { file.with_file_name("").join(path) };
            let found =
                target.exists() && heading.is_none_or(|heading| headings(&read(&target)).contains(heading));
            if !found {
                broken.push(format!("{}: {link}", shown(&file)));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_document_is_reached_from_the_readme() {
    let (mut reached, mut next) = (BTreeSet::new(), vec![root().join("README.md")]);
    while let Some(file) = next.pop() {
        if !reached.insert(file.clone()) {
            continue;
        }
        let text = without_code(&read(&file));
        let files = links(&text).map(|link| link.split('#').next().unwrap_or_default());
        let pages = files.filter(|path| path.ends_with(".md") && !path.contains("://"));
        next.extend(pages.filter_map(|path| fs::canonicalize(file.with_file_name("").join(path)).ok()));
    }
    let lost: Vec<_> = documents().filter(|file| !reached.contains(file)).map(|file| shown(&file)).collect();
    assert!(lost.is_empty(), "no link leads to {}", lost.join(", "));
}

#[test]
fn examples_of_jobs_are_read() {
    let page = read(&root().join("docs/jobs.md"));
    let examples = blocks(&page, "json");
    assert!(examples.len() >= 10, "{}", examples.len());
    for example in examples {
        if let Err(error) = Job::read(example.as_bytes()) {
            panic!("{error}\n{example}");
        }
    }
}

#[test]
fn examples_of_filters_are_read() {
    let page = read(&root().join("docs/jobs.md"));
    let filters: Vec<_> =
        first_cells(section(&page, "## Filters")).filter(|cell| cell.starts_with('{')).collect();
    assert!(filters.len() >= 10, "{filters:?}");
    for filter in filters {
        if let Err(error) = serde_json::from_str::<Filter>(filter) {
            panic!("{error}: {filter}");
        }
    }
}

#[test]
fn the_tables_of_states_and_reasons_are_the_codes() {
    let page = read(&root().join("docs/jobs.md"));
    let words: Vec<_> = first_cells(section(&page, "## What becomes of a recipient")).collect();
    let states = State::ALL.iter().map(|state| state.as_str());
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    assert_eq!(words, states.chain(reasons).collect::<Vec<_>>());
}

/// README, CHANGELOG, CONTRIBUTING and everything in `docs/`.
fn documents() -> impl Iterator<Item = PathBuf> {
    let folders = [root().to_owned(), root().join("docs"), root().join("docs/decisions")];
    let entries = folders.into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "md"))
}

/// What stands in `](...)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The text without fenced blocks and code spans, where brackets mean other things.
fn without_code(text: &str) -> String {
    let prose: Vec<&str> = text.split("```").step_by(2).collect();
    prose.join("\n").split('`').step_by(2).collect::<Vec<_>>().join("code")
}

/// The anchors of a page's headings, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let prose: Vec<&str> = text.split("```").step_by(2).collect();
    let prose = prose.join("\n");
    let titles =
        prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    titles
        .map(|title| title.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-"))
        .collect()
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// From a heading to the next of its level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).expect("the heading");
    rest.split("\n## ").next().unwrap_or(rest)
}

/// The code that the first cell of each table row holds.
fn first_cells(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
