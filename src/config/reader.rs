//! Typed reading of a tree's tables. A wrong or unknown key becomes a finding and reading goes on, so that one run
//! finds everything. Each key is taken out when it is read; what is left at [`Table::finish`] is unknown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Secret;
use super::problem::{Findings, Origin, did_you_mean};
use super::tree::{Entries, Node, Value};

pub(super) struct Table<'f> {
    findings: &'f Findings,
    /// Where relative paths begin: the file's folder.
    folder: &'f Path,
    path: String,
    origin: Origin,
    entries: Entries,
    /// The keys that were read, and where those that are present stand.
    known: BTreeMap<&'static str, Option<Origin>>,
}

impl<'f> Table<'f> {
    pub(super) fn root(entries: Entries, folder: &'f Path, findings: &'f Findings) -> Self {
        let (path, origin, known) = (String::new(), Origin::File, BTreeMap::new());
        Self { findings, folder, path, origin, entries, known }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn holds_table(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|node| matches!(node.value, Value::Table(_)))
    }

    /// Finds a missing key; `hint` says what belongs there. Call it before the key is read.
    pub(super) fn require(&self, key: &str, hint: &str) {
        if !self.has(key) {
            self.findings.add(self.origin.clone(), self.path_of(key), format!("missing; {hint}"));
        }
    }

    /// Finds that `key`, read before, is wrong.
    pub(super) fn problem(&self, key: &str, text: impl Into<String>) {
        let origin = self.known.get(key).cloned().flatten().unwrap_or_else(|| self.origin.clone());
        self.findings.add(origin, self.path_of(key), text);
    }

    /// A text that `parse` understands; its error becomes the problem.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match self.take(key)?.value {
            Value::Text(text) | Value::Untyped(text) => self.checked(key, parse(&text)),
            other => self.wrong_type(key, "text in quotes", &other),
        }
    }

    /// A number; `wanted` names it with its bounds.
    pub(super) fn number<N: FromStr>(&mut self, key: &'static str, wanted: &str) -> Option<N> {
        let value = self.take(key)?.value;
        let number = match &value {
            Value::Integer(number) => number.to_string().parse(),
            Value::Untyped(text) => text.trim().parse(),
            other => return self.wrong_type(key, wanted, other),
        };
        self.checked(key, number.map_err(|_| format!("must be {wanted}")))
    }

    /// A part of a whole, from 0 to 1.
    pub(super) fn share(&mut self, key: &'static str) -> Option<f64> {
        const WANTED: &str = "a number from 0 to 1, as 0.01";
        let value = self.take(key)?.value;
        let share = match &value {
            Value::Decimal(share) => Ok(*share),
            Value::Integer(number) => number.to_string().parse(),
            Value::Untyped(text) => text.trim().parse(),
            other => return self.wrong_type(key, WANTED, other),
        };
        let share = share.ok().filter(|share| (0.0..=1.0).contains(share));
        self.checked(key, share.ok_or_else(|| format!("must be {WANTED}")))
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)?.value {
            Value::Flag(flag) => Some(flag),
            Value::Untyped(text) => {
                self.checked(key, text.trim().parse().map_err(|_| "must be true or false".to_owned()))
            }
            other => self.wrong_type(key, "true or false", &other),
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.text(key, |text| one_of(text, words))
    }

    /// One of a few words for each name in the table at `key`; the user chooses the names.
    pub(super) fn named_words<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Vec<(String, T)> {
        let Table { entries, findings, path, .. } = self.table(key);
        let mut named = Vec::with_capacity(entries.len());
        for (name, Node { origin, value }) in entries {
            let word = match value {
                Value::Text(text) | Value::Untyped(text) => one_of(&text, words),
                Value::Faulty => continue,
                other => Err(format!("must be text in quotes, not {}", other.name())),
            };
            match word {
                Ok(word) => named.push((name, word)),
                Err(problem) => findings.add(origin, format!("{path}.{name}"), problem),
            }
        }
        named
    }

    /// A list of texts that `parse` understands; one text stands for a list of one, and a variable's is split at its
    /// commas. Each wrong item is found on its own line and left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let node = self.take(key)?;
        let items = match node.value {
            Value::List(items) => items,
            Value::Untyped(text) => {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                words
                    .map(|word| Node { origin: node.origin.clone(), value: Value::Text(word.into()) })
                    .collect()
            }
            Value::Text(_) => vec![node],
            other => return self.wrong_type(key, "a list of texts in quotes", &other),
        };
        let mut list = Vec::new();
        for Node { origin, value } in items {
            match value {
                Value::Text(text) | Value::Untyped(text) => match parse(&text) {
                    Ok(item) => list.push(item),
                    Err(problem) => self.findings.add(origin, self.path_of(key), problem),
                },
                Value::Faulty => {}
                other => {
                    let problem = format!("every item must be text in quotes, not {}", other.name());
                    self.findings.add(origin, self.path_of(key), problem);
                }
            }
        }
        Some(list)
    }

    /// Whether `key` is switched off by the word `off`, which is taken then.
    pub(super) fn is_off(&mut self, key: &'static str) -> bool {
        let off = self.entries.get(key).is_some_and(
            |node| matches!(&node.value, Value::Text(text) | Value::Untyped(text) if text == "off"),
        );
        off && self.take(key).is_some()
    }

    /// A path; a relative one begins at the configuration's folder.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let folder = self.folder;
        self.text(key, |text| if text.is_empty() { Err("is empty".into()) } else { Ok(folder.join(text)) })
    }

    /// Where `name` lies in the configuration's folder.
    pub(super) fn in_folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A secret, given in `key` or as the content of the file that `file_key` names. `check` must not repeat it.
    pub(super) fn secret(
        &mut self,
        key: &'static str,
        file_key: &'static str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<Secret> {
        let checked = |text: &str| check(text).map(|()| Secret::new(text));
        let both = self.has(key) && self.has(file_key);
        let given = self.text(key, checked);
        let folder = self.folder;
        let read = self.text(file_key, |path| match std::fs::read_to_string(folder.join(path)) {
            Ok(content) => checked(content.trim_end_matches(['\r', '\n'])),
            Err(error) => Err(format!("the file cannot be read: {error}")),
        });
        if both {
            self.problem(file_key, format!("stands beside `{key}`; keep one of the two"));
        }
        given.or(read)
    }

    /// The table at `key`, empty where it is absent.
    pub(super) fn table(&mut self, key: &'static str) -> Table<'f> {
        match self.take(key) {
            Some(node) => self.inner(key, node),
            None => {
                Table { path: self.path_of(key), ..Table::root(Entries::new(), self.folder, self.findings) }
            }
        }
    }

    /// The tables of the list at `key`; one table stands for a list of one.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Table<'f>> {
        let Some(node) = self.take(key) else { return Vec::new() };
        match node.value {
            Value::List(items) => items.into_iter().map(|item| self.inner(key, item)).collect(),
            _ => vec![self.inner(key, node)],
        }
    }

    /// The tables inside this one, by names that the user chose.
    pub(super) fn into_tables(mut self) -> Vec<(String, Table<'f>)> {
        let entries = std::mem::take(&mut self.entries);
        entries
            .into_iter()
            .map(|(name, node)| {
                let table = self.inner(&name, node);
                (name, table)
            })
            .collect()
    }

    /// Finds that this table as a whole is wrong.
    pub(super) fn refuse(self, text: impl Into<String>) {
        self.findings.add(self.origin, self.path, text);
    }

    /// Finds every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, node) in &self.entries {
            let known = self.known.keys().copied();
            let mut hint = did_you_mean(key, known.clone());
            if hint.is_empty() {
                hint = format!("; known here: {}", known.collect::<Vec<_>>().join(", "));
            }
            self.findings.add(node.origin.clone(), self.path_of(key), format!("unknown key{hint}"));
        }
    }

    fn inner(&self, name: &str, node: Node) -> Table<'f> {
        let entries = match node.value {
            Value::Table(entries) => entries,
            other => {
                let problem = format!("must be a table, not {}", other.name());
                self.findings.add(node.origin.clone(), self.path_of(name), problem);
                Entries::new()
            }
        };
        let (path, origin) = (self.path_of(name), node.origin);
        Table { path, origin, ..Table::root(entries, self.folder, self.findings) }
    }

    fn take(&mut self, key: &'static str) -> Option<Node> {
        let node = self.entries.remove(key);
        self.known.insert(key, node.as_ref().map(|node| node.origin.clone()));
        node
    }

    fn checked<T>(&self, key: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|problem| self.problem(key, problem)).ok()
    }

    fn wrong_type<T>(&self, key: &str, wanted: &str, found: &Value) -> Option<T> {
        if !matches!(found, Value::Faulty) {
            self.problem(key, format!("must be {wanted}, not {}", found.name()));
        }
        None
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let near = did_you_mean(text, names.iter().copied());
            Err(format!("`{text}` is none of {}{near}", names.join(", ")))
        }
    }
}

impl Value {
    fn name(&self) -> &'static str {
        match self {
            Value::Text(_) | Value::Untyped(_) => "text",
            Value::Integer(_) => "a number",
            Value::Decimal(_) => "a number with a point",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(name) => name,
            Value::Faulty => "a value with a problem of its own",
        }
    }
}
