//! The rules that the source keeps: which module may import which, how long a file is, how it opens.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module, and what of ours it may import. Each imports only what stands above it, so the arrows go one way.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("token", &["model"]),
    ("backoff", &["model"]),
    ("clock", &["model"]),
    ("tls", &[]),
    ("postgres_url", &["tls"]),
    ("config", &["model", "tls", "postgres_url"]),
    ("http", &["model"]),
    ("amqp", &["tls"]),
    ("telemetry", &["model", "http"]),
    ("lifecycle", &["telemetry"]),
    ("batcher", &["telemetry"]),
    ("spool", &["model", "telemetry", "batcher", "clock"]),
    ("store", &["model", "telemetry", "clock", "tls", "postgres_url"]),
    ("render", &["model", "token", "config"]),
    ("provider", &["model", "config", "telemetry", "tls"]),
    ("bounce", &["model", "token", "provider", "lifecycle"]),
    ("mailbox", &["model", "provider", "http"]),
    ("intake", &["model", "amqp", "lifecycle", "telemetry", "http"]),
    ("plan", &["model", "store", "lifecycle", "telemetry"]),
    (
        "dispatch",
        &[
            "model",
            "token",
            "store",
            "render",
            "provider",
            "batcher",
            "lifecycle",
            "telemetry",
            "backoff",
            "clock",
        ],
    ),
    ("track", &["model", "token", "clock", "lifecycle", "telemetry", "batcher", "http", "spool"]),
    ("report", &["model", "store"]),
    ("access", &["model", "clock", "store", "http", "lifecycle", "telemetry"]),
    ("admin", &["model", "store", "report", "http", "access"]),
    ("pages", &["model", "store", "report", "http"]),
    ("app", ALL),
    ("cli", ALL),
    ("fuzzing", ALL),
];
/// Everything that stands above.
const ALL: &[&str] = &["*"];

const MAX_LINES: usize = 500;

#[test]
fn modules_import_only_what_they_may() {
    let mut broken = Vec::new();
    for file in rust_files(&root().join("src")) {
        let Some(module) = module_of(&file) else { continue };
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("{}: module `{module}` is not in the table of this test", shown(&file)));
            continue;
        };
        // The daemon is built without `fuzzing`, so only checks can import it.
        for import in imports(&read(&file)).into_iter().filter(|import| import != "fuzzing") {
            if import != module && *allowed != ALL && !allowed.contains(&import.as_str()) {
                broken.push(format!("{}: `{module}` may not import `{import}`", shown(&file)));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    for (index, (module, imports)) in MAY_IMPORT.iter().enumerate() {
        let above: Vec<_> = MAY_IMPORT.iter().take(index).map(|(name, _)| *name).collect();
        for import in imports.iter().filter(|_| *imports != ALL) {
            assert!(
                above.contains(import),
                "`{module}` may import `{import}`, which does not stand above it"
            );
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let mut broken = Vec::new();
    let ours = ["src", "tests"];
    for file in ours.iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let text = read(&file);
        let lines = text.lines().count();
        if lines > MAX_LINES {
            broken.push(format!("{}: {lines} lines, at most {MAX_LINES}: split it", shown(&file)));
        }
        if !text.starts_with("//!") {
            broken.push(format!("{}: open it with `//!`: what it owns, promises, never does", shown(&file)));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn imports_are_found_in_every_form() {
    let source = "use crate::model::{Job, Filter};\nuse crate::{store::{self, Store}, render, token as t};\n\
                  pub(crate) use crate::config;\n// not crate::plan\nlet x = crate::clock::now(); // nor crate::app\n";
    let expected = ["clock", "config", "model", "render", "store", "token"].map(String::from);
    assert_eq!(imports(source), BTreeSet::from(expected));
}

/// The first names after `crate::`, comments left out.
fn imports(source: &str) -> BTreeSet<String> {
    let code: String = source.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let mut found = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        match path.strip_prefix('{') {
            None => found.extend(first_name(path)),
            Some(group) => found.extend(group_members(group).into_iter().filter_map(first_name)),
        }
    }
    found
}

/// What stands between the commas of the outer level, up to the brace that closes the group.
fn group_members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.extend(group.get(start..at));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members
}

fn first_name(path: &str) -> Option<String> {
    let path = path.trim_start();
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    path.get(..end).filter(|name| !name.is_empty()).map(String::from)
}

/// The top-level module that a file of `src/` belongs to; none for `lib.rs` and `main.rs`, which name them all.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(root().join("src")).ok()?;
    let first = Path::new(inside.components().next()?.as_os_str()).file_stem()?.to_str()?.to_owned();
    (!["lib", "main"].contains(&first.as_str())).then_some(first)
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("a readable source file")
}
