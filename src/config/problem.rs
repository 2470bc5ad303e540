//! What is wrong with a configuration, said so that one reading of it is enough to put it right.

use std::cell::RefCell;
use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The file as a whole: where a thing is missing.
    File,
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// One thing that is wrong. Its text never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    file: String,
    origin: Origin,
    /// The key as `channels.email.rate`; empty where the file itself is wrong.
    key: String,
    text: String,
}

/// Everything that is wrong, in the order of the file, then by variable. One line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// Collects problems while reading goes on.
#[derive(Debug)]
pub(super) struct Findings {
    file: String,
    found: RefCell<Vec<Problem>>,
}

impl Findings {
    pub(super) fn new(file: String) -> Self {
        Self { file, found: RefCell::default() }
    }

    pub(super) fn add(&self, origin: Origin, key: impl Into<String>, text: impl Into<String>) {
        let (file, key, text) = (self.file.clone(), key.into(), text.into());
        self.found.borrow_mut().push(Problem { file, origin, key, text });
    }

    /// What was found, or `value` where nothing was.
    pub(super) fn or<T>(self, value: Option<T>) -> Result<T, Problems> {
        let mut found = self.found.into_inner();
        found.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
        match value {
            Some(value) if found.is_empty() => Ok(value),
            _ => Err(Problems(found)),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File => write!(f, "{}: ", self.file)?,
            Origin::Line(line) => write!(f, "{}:{line}: ", self.file)?,
            Origin::Variable(name) => write!(f, "{name}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The nearest of `names`, as the end of a sentence; empty where none is near.
pub(super) fn did_you_mean<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    let tolerated = (word.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (strsim::osa_distance(word, name), name))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}
