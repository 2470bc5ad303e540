//! The configuration as a tree of values that know where they came from: the file, with `${NAME}` filled in, and
//! `CAMPAIGND__...` variables laid over it. Knows no key and no type that a key wants.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Environment;
use super::problem::{Findings, Origin};

const PREFIX: &str = "CAMPAIGND__";

/// The entries of a table by their keys.
pub(super) type Entries = BTreeMap<String, Node>;

#[derive(Debug)]
pub(super) struct Node {
    pub origin: Origin,
    pub value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// Text in quotes.
    Text(String),
    /// Text from the environment: it takes the type that its key wants.
    Untyped(String),
    Integer(i64),
    /// A number with a point.
    Decimal(f64),
    Flag(bool),
    List(Vec<Node>),
    Table(Entries),
    /// A TOML type that no key wants, by its name.
    Other(&'static str),
    /// Nothing that can be used; the problem is already found.
    Faulty,
}

/// Reads `text` and lays `environment` over it; `None` where it is not TOML.
pub(super) fn read(text: &str, environment: &Environment, findings: &Findings) -> Option<Entries> {
    let reading = Reading { text, environment, findings };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut slips: Vec<(Origin, &str)> = errors
            .iter()
            .map(|error| {
                (error.span().map_or(Origin::File, |span| reading.line(span.start)), error.message())
            })
            .collect();
        // One slip makes the parser stumble several times over the same line: the first time says it best.
        slips.dedup_by(|later, first| later.0 == first.0);
        for (origin, message) in slips {
            findings.add(origin, "", format!("not TOML: {message}"));
        }
        return None;
    }
    let mut entries = reading.table(document.into_inner(), "");
    for (name, value) in environment {
        if let Some(path) = name.strip_prefix(PREFIX) {
            let path: Vec<&str> = path.split("__").collect();
            overlay(&mut entries, &path, name, value);
        }
    }
    Some(entries)
}

struct Reading<'r> {
    text: &'r str,
    environment: &'r Environment,
    findings: &'r Findings,
}

impl Reading<'_> {
    fn line(&self, offset: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(offset);
        Origin::Line(1 + before.filter(|byte| **byte == b'\n').count())
    }

    fn table(&self, table: DeTable<'_>, path: &str) -> Entries {
        let mut entries = Entries::new();
        for (key, value) in table {
            // A table's own span may begin at its first entry: the key is where people look.
            let origin = self.line(key.span().start);
            let key = key.into_inner().into_owned();
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let value = self.value(value.into_inner(), &origin, &path);
            entries.insert(key, Node { origin, value });
        }
        entries
    }

    fn value(&self, value: DeValue<'_>, origin: &Origin, path: &str) -> Value {
        match value {
            DeValue::String(text) if text.contains("${") => self.filled_in(&text, origin, path),
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other("a number beyond all bounds"),
            },
            DeValue::Boolean(flag) => Value::Flag(flag),
            DeValue::Array(items) => {
                Value::List(items.into_iter().map(|item| self.item(item, path)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, path)),
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Decimal(number),
                Err(_) => Value::Other("a number beyond all bounds"),
            },
            DeValue::Datetime(_) => Value::Other("a date or time"),
        }
    }

    fn item(&self, item: Spanned<DeValue<'_>>, path: &str) -> Node {
        let origin = self.line(item.span().start);
        let value = self.value(item.into_inner(), &origin, path);
        Node { origin, value }
    }

    /// `text` with each `${NAME}` replaced by that variable. What a variable holds is taken as it is.
    fn filled_in(&self, text: &str, origin: &Origin, path: &str) -> Value {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                self.findings.add(origin.clone(), path, "`${` without its `}`");
                return Value::Faulty;
            };
            let Some(value) = self.environment.get(name) else {
                let unset = format!("the environment variable `{name}` is not set");
                self.findings.add(origin.clone(), path, unset);
                return Value::Faulty;
            };
            filled.push_str(value);
            rest = after;
        }
        filled.push_str(rest);
        Value::Untyped(filled)
    }
}

/// Puts `text` at `path`, whose parts match existing keys whatever their case, `-` like `_`.
fn overlay(entries: &mut Entries, path: &[&str], variable: &str, text: &str) {
    let Some((first, rest)) = path.split_first() else { return };
    let origin = Origin::Variable(variable.to_owned());
    let plain = |key: &str| key.to_lowercase().replace('-', "_");
    let key = entries.keys().find(|key| plain(key) == plain(first)).cloned();
    let key = key.unwrap_or_else(|| first.to_lowercase());
    if rest.is_empty() {
        entries.insert(key, Node { origin, value: Value::Untyped(text.to_owned()) });
        return;
    }
    let empty = Value::Table(Entries::new());
    let node = entries.entry(key).or_insert(Node { origin: origin.clone(), value: empty });
    match &mut node.value {
        Value::Table(inner) => overlay(inner, rest, variable, text),
        // The variable reaches below a plain value: as a table it meets the key's own rule, and is refused by it.
        _ => {
            let mut inner = Entries::new();
            overlay(&mut inner, rest, variable, text);
            *node = Node { origin, value: Value::Table(inner) };
        }
    }
}
