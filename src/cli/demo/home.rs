//! Where the demo lives: a folder with its configuration, templates and database, so that every other command works on
//! it with `--config`. A folder that nobody named goes with the demo.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::app::Listening;
use crate::config::{Config, Environment, Problems};

macro_rules! template {
    ($path:literal) => {
        ($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/", $path)))
    };
}

/// The templates of the repository, so that the demo runs from anywhere.
const TEMPLATES: &[(&str, &str)] = &[
    template!("birthday/template.toml"),
    template!("birthday/email.html.hbs"),
    template!("birthday/email.zh.html.hbs"),
    template!("member-points/template.toml"),
    template!("order-thanks/template.toml"),
    template!("order-thanks/email.html.hbs"),
    template!("order-thanks/email.zh.html.hbs"),
    template!("spring-sale/template.toml"),
    template!("spring-sale/email.html.hbs"),
    template!("spring-sale/email.txt.hbs"),
    template!("spring-sale/email.zh.html.hbs"),
    template!("spring-sale/email.zh.txt.hbs"),
];

/// A demo's folder.
pub(super) struct Home {
    path: PathBuf,
    /// Removes the folder when it is dropped; `None` where the user named one.
    temporary: Option<TempDir>,
}

impl Home {
    /// Opens `data`, or a folder of its own where none is named, and lays the templates out; those that are there stay
    /// as they are.
    ///
    /// # Errors
    /// When a folder or file cannot be made.
    pub(super) fn open(data: Option<&Path>) -> Result<Home> {
        let home = match data {
            Some(path) => Home { path: path.to_owned(), temporary: None },
            None => {
                let folder = tempfile::Builder::new().prefix("campaignd-demo-").tempdir();
                let folder = folder.context("a temporary folder")?;
                Home { path: folder.path().to_owned(), temporary: Some(folder) }
            }
        };
        for (name, text) in TEMPLATES {
            let file = home.path.join("templates").join(name);
            let folder = file.parent().unwrap_or(&home.path);
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            if !file.exists() {
                fs::write(&file, text).with_context(|| file.display().to_string())?;
            }
        }
        Ok(home)
    }

    /// Where its configuration stands, for other commands.
    pub(super) fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    pub(super) fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// The configuration in which `people` are served. The environment changes nothing: a variable meant for a real
    /// daemon must not lead the demo to real people.
    ///
    /// # Errors
    /// Never, unless the demo's own text is wrong.
    pub(super) fn config(&self, people: usize, seed: u64) -> Result<Config, Problems> {
        let anywhere = Listening { public: LOOPBACK, admin: LOOPBACK };
        Config::parse(&self.config_path(), &text(anywhere, people, seed), &Environment::new())
    }

    /// Writes the configuration down with the addresses that the daemon got.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn note(&self, listening: Listening, people: usize, seed: u64) -> Result<()> {
        let path = self.config_path();
        fs::write(&path, text(listening, people, seed)).with_context(|| path.display().to_string())
    }
}

const LOOPBACK: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Rates by which the largest campaign takes some forty seconds, and small demos are quick.
fn text(Listening { public, admin }: Listening, people: usize, seed: u64) -> String {
    let rate = (people / 40).max(50);
    let (half, third) = (rate.div_ceil(2), rate.div_ceil(3));
    format!(
        r#"# Written by `campaignd demo`, anew at each start.
[store]
url = "sqlite:campaignd.db"
[http]
public = "{public}"
admin = "{admin}"
[tracking]
machine_within = "1s"                    # the people of the demo are quick readers
spool = "spool"
[log]
level = "warn"
[channels.email]
providers = ["sandbox"]
rate = "{rate}/s"
retry = ["1s", "2s", "4s"]
[channels.sms]
providers = ["sandbox"]
rate = "{half}/s"                        # segments
retry = ["1s", "2s", "4s"]
[channels.wechat]
providers = ["sandbox"]
rate = "{third}/s"
retry = ["1s", "2s", "4s"]
[channels.push]
providers = ["sandbox"]
rate = "{third}/s"
retry = ["1s", "2s", "4s"]
[providers.sandbox]
kind = "sandbox"
seed = {seed}
receipt_delay = "500ms"
bounced = 0.02
hard = 0.01
"#
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::render::Registry;

    #[test]
    fn a_folder_has_all_that_other_commands_need_and_goes_with_the_demo() {
        let home = Home::open(None).unwrap();
        let config = home.config(300, 1).unwrap();
        assert_eq!(Registry::load(&config.templates.dir).unwrap().names().count(), 4);
        let listening = Listening { public: "127.0.0.1:4711".parse().unwrap(), admin: LOOPBACK };
        home.note(listening, 300, 1).unwrap();
        let noted = Config::load(&home.config_path(), &Environment::new()).unwrap();
        assert_eq!((noted.http.public, noted.store.kind), (listening.public, config.store.kind));
        let path = home.path.clone();
        drop(home);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_was_named_stays_with_its_templates() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("kept");
        drop(Home::open(Some(&path)).unwrap());
        let changed = path.join("templates/birthday/template.toml");
        fs::write(&changed, "[push]\ntitle = \"t\"\nbody = \"b\"\n").unwrap();
        let again = Home::open(Some(&path)).unwrap();
        assert!(again.is_kept());
        assert!(fs::read_to_string(&changed).unwrap().starts_with("[push]"));
    }

    #[test]
    fn every_template_of_the_repository_is_there() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut found = BTreeSet::new();
        for template in fs::read_dir(&folder).unwrap() {
            for file in fs::read_dir(template.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                found.insert(path.strip_prefix(&folder).unwrap().display().to_string());
            }
        }
        let carried: BTreeSet<String> = TEMPLATES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(carried, found);
    }
}
