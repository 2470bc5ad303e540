//! How a command ends: its exit code, and the words for what went wrong.

use std::io::Write;
use std::process::ExitCode;

use crate::telemetry::logs::without_addresses;

/// The exit codes that scripts may rely on; 64 and 65 are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    /// It did not work, or there is no such thing.
    Failed = 1,
    /// The configuration or the arguments are wrong.
    Usage = 64,
    /// What was given to read is wrong, or parts of it were.
    Input = 65,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A command that ended early, and why.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    pub(super) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Failure { exit: Exit::Usage, error: error.into() }
    }

    pub(super) fn input(error: impl Into<anyhow::Error>) -> Self {
        Failure { exit: Exit::Input, error: error.into() }
    }

    /// Tells the user, and gives the code to exit with.
    pub(super) fn report(&self) -> Exit {
        for line in chain(&self.error).lines() {
            tell(&format!("error: {line}"));
        }
        self.exit
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure { exit: Exit::Failed, error: error.into() }
    }
}

/// The error and its causes in one text; a cause that its error already told is not told again.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text += ": ";
            text += &cause;
        }
    }
    text
}

/// One line for people on standard error. Arguments and answers may hold addresses: they are masked.
pub(super) fn tell(line: &str) {
    // Nobody is left to be told where standard error is closed.
    writeln!(std::io::stderr(), "{}", without_addresses(line)).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        let error = Err::<(), _>(anyhow!("refused"))
            .context("connecting: refused")
            .context("the store is away")
            .unwrap_err();
        assert_eq!(chain(&error), "the store is away: connecting: refused");
    }

    #[test]
    fn errors_of_any_kind_are_failures_and_some_are_worse() {
        let failed: Failure = std::io::Error::other("no").into();
        assert_eq!(failed.exit, Exit::Failed);
        assert_eq!(Failure::usage(anyhow!("no")).exit as u8, 64);
        assert_eq!(Failure::input(anyhow!("no")).exit as u8, 65);
    }
}
