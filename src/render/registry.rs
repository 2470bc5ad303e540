//! The templates of a folder: read, checked and compiled together, so that one bad template is found at once and
//! none is half loaded.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path};
use std::sync::Arc;

use super::guard::MAX_TEMPLATE_BYTES;
use super::manifest::{self, MANIFEST, Manifest};
use super::problem::Problem;
use super::template::{Template, TemplateSource, in_manifest};
use crate::model::Channel;

/// The templates that jobs can name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    templates: BTreeMap<String, Arc<Template>>,
}

impl Registry {
    /// Loads each folder `NAME` with a `template.toml` in `dir`; hidden folders and plain files are passed over.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn load(dir: &Path) -> Result<Registry, Vec<Problem>> {
        let unreadable = |error: std::io::Error| {
            let message = format!("cannot be read: {error}; see [templates] dir in the configuration");
            vec![Problem { template: dir.display().to_string(), file: String::new(), line: None, message }]
        };
        let mut templates = BTreeMap::new();
        let mut problems = Vec::new();
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !entry.path().is_dir() {
                continue;
            }
            match read(&name, &entry.path()).and_then(Template::compile) {
                Ok(template) => {
                    templates.insert(name, Arc::new(template));
                }
                Err(more) => problems.extend(more),
            }
        }
        problems.sort_by(|a, b| (&a.template, &a.file, a.line).cmp(&(&b.template, &b.file, b.line)));
        if problems.is_empty() { Ok(Registry { templates }) } else { Err(problems) }
    }

    pub fn get(&self, name: &str) -> Option<Arc<Template>> {
        self.templates.get(name).cloned()
    }

    /// In alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.keys().map(String::as_str)
    }
}

/// Reads `template.toml` and the files that it names.
fn read(name: &str, folder: &Path) -> Result<TemplateSource, Vec<Problem>> {
    let problem = |file: &str, line, message: String| Problem {
        template: name.to_owned(),
        file: file.to_owned(),
        line,
        message,
    };
    let named_well =
        name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !named_well {
        let message = "a template's name has at most 64 letters, digits, `-`, `_` and `.`: rename the folder";
        return Err(vec![problem(MANIFEST, None, message.into())]);
    }
    let manifest = read_file(folder, MANIFEST).map_err(|message| vec![problem(MANIFEST, None, message)])?;
    let parsed = manifest::parse(&manifest).map_err(|complaints| in_manifest(name, complaints))?;
    let mut files = BTreeMap::from([(MANIFEST.to_owned(), manifest)]);
    let mut problems = Vec::new();
    for (file, line) in named_files(&parsed) {
        match read_file(folder, file) {
            Ok(content) => {
                files.insert(file.to_owned(), content);
            }
            Err(message) => problems.push(problem(MANIFEST, Some(line), format!("`{file}` {message}"))),
        }
    }
    if problems.is_empty() { Ok(TemplateSource { name: name.to_owned(), files }) } else { Err(problems) }
}

/// Every file that a manifest names, and the first line that does.
fn named_files(manifest: &Manifest) -> BTreeMap<&str, usize> {
    let mut files = BTreeMap::new();
    let Some(email) = manifest.get(&Channel::Email) else { return files };
    for (_, section) in email.default.iter().chain(email.languages.values()) {
        for (_, entry) in section.iter().filter(|(path, _)| *path == &["html"] || *path == &["text"]) {
            files.entry(entry.text.as_str()).or_insert(entry.line);
        }
    }
    files
}

/// Reads a file of a template's folder; never one outside of it, whatever its name or a link says.
fn read_file(folder: &Path, file: &str) -> Result<String, String> {
    if !Path::new(file).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err("is outside of the template's folder: name a file inside".into());
    }
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "is not there".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let folder = folder.canonicalize().map_err(unreadable)?;
    let path = folder.join(file).canonicalize().map_err(unreadable)?;
    if !path.starts_with(&folder) {
        return Err("leads out of the template's folder: put a copy inside".into());
    }
    let metadata = fs::metadata(&path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is no file".into());
    }
    if metadata.len() > MAX_TEMPLATE_BYTES as u64 {
        return Err(format!("has {} bytes; at most {MAX_TEMPLATE_BYTES} are allowed", metadata.len()));
    }
    fs::read_to_string(&path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => "is not UTF-8: save it as UTF-8".into(),
        _ => unreadable(error),
    })
}
