//! `--data`: what a job would put into every recipient's scope, for commands that render without a job.

use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::{Map, Value};

use super::exit::Failure;

/// Reads the object itself, or the file that holds it; nothing given is an empty object.
///
/// # Errors
/// Where the file cannot be read (exit code 64), or is no JSON object (65).
pub(super) fn read(argument: Option<&str>) -> Result<Map<String, Value>, Failure> {
    let Some(argument) = argument else { return Ok(Map::new()) };
    let text = if argument.trim_start().starts_with('{') {
        argument.to_owned()
    } else {
        std::fs::read_to_string(Path::new(argument))
            .with_context(|| format!("cannot read {argument}, and it is no JSON object either"))
            .map_err(Failure::usage)?
    };
    match serde_json::from_str(&text).context("--data is not JSON").map_err(Failure::input)? {
        Value::Object(data) => Ok(data),
        _ => Err(Failure::input(anyhow!("--data is not a JSON object, as {{\"discount\": \"20 %\"}} is"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn data_is_an_object_given_or_in_a_file() {
        assert!(read(None).unwrap().is_empty());
        assert_eq!(read(Some(r#" {"a": 1}"#)).unwrap()["a"], 1);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(br#"{"b": 2}"#).unwrap();
        assert_eq!(read(file.path().to_str()).unwrap()["b"], 2);
        file.write_all(b"more").unwrap();
        for bad in [file.path().to_str().unwrap(), "{", "nowhere.json"] {
            assert!(read(Some(bad)).is_err(), "{bad}");
        }
    }
}
