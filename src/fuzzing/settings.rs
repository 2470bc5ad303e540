//! `config.toml`.

use std::path::Path;

use crate::config::{Config, Environment};

/// A configuration is read, or each problem says where it stands: on a line of the file, or in a variable. What follows
/// a NUL is the value of a variable that the file may name as `${VALUE}`.
pub(super) fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (text, value) = text.split_once('\0').unwrap_or((&text, ""));
    // Files that it names are the operator's, and none of a fuzzer's business.
    if text.contains("_file") {
        return;
    }
    let environment: Environment = [("VALUE".to_owned(), value.to_owned())].into();
    match Config::parse(Path::new("config.toml"), text, &environment) {
        Ok(config) => drop(config.warnings()),
        Err(problems) => {
            assert!(!problems.0.is_empty());
            let lines = text.lines().count().max(1);
            for problem in problems.0 {
                let shown = problem.to_string();
                let place = shown.strip_prefix("config.toml").expect("the file's name");
                let line =
                    place.strip_prefix(':').and_then(|rest| rest.split_once(':')).map(|(line, _)| line);
                let number = line.and_then(|line| line.parse::<usize>().ok());
                assert!(number.is_none_or(|number| (1..=lines + 1).contains(&number)), "{shown}");
            }
        }
    }
}
