//! What is wrong with a template, and where.

use std::fmt;

/// One thing wrong with a template: for its author, so it says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The template's folder.
    pub template: String,
    /// The file in it.
    pub file: String,
    /// From 1, where one is known.
    pub line: Option<usize>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.template, self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// One thing wrong with a template's text, before it is known which file that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// From 1, where one is known.
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

impl Complaint {
    /// At a byte of `source`.
    pub(super) fn at(source: &str, offset: usize, message: impl Into<String>) -> Self {
        Complaint { line: Some(line_of(source, offset)), message: message.into() }
    }
}

/// The line, from 1, on which this byte stands.
pub(super) fn line_of(source: &str, offset: usize) -> usize {
    1 + source.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
