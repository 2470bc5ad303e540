//! A template: compiled from its source once, rendered for recipient after recipient.
//!
//! The source is all that a template is: kept with a campaign, it makes the same template in another process.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::link::Links;
use super::manifest::{self, MANIFEST, Sections};
use super::message::{Compiler, Message, Rendering};
use super::part::{Engine, RenderError, Shared};
use super::problem::{Complaint, Problem};
use super::scope::{Fields, Recipient, Scope};
use super::sms_rules::{self, SmsForms};
use super::writer::Tracking;
use crate::model::content::Content;
use crate::model::sms_rules::{Breach, TextRules};
use crate::model::{Channel, Purpose};

/// The files of a template, `template.toml` among them, by their path in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateSource {
    pub name: String,
    pub files: BTreeMap<String, String>,
}

impl TemplateSource {
    /// SHA-256 over name and files: two sources with the same hash make the same template.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut field = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        field(&self.name);
        for (path, content) in &self.files {
            field(path);
            field(content);
        }
        hash.finalize().into()
    }
}

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    source: TemplateSource,
    engine: Engine,
    channels: BTreeMap<Channel, Versions>,
    links: Links,
    /// What rules for text messages look at.
    sms: Vec<sms_rules::Source>,
}

/// One channel's messages: the default, and those of languages, the most special first.
#[derive(Debug)]
struct Versions {
    default: Message,
    languages: Vec<(String, Message)>,
    fields: Fields,
}

impl Versions {
    fn for_locale(&self, locale: Option<&str>) -> &Message {
        locale
            .and_then(|locale| self.languages.iter().find(|(tag, _)| manifest::is_ancestor(tag, locale)))
            .map_or(&self.default, |(_, message)| message)
    }
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(source: TemplateSource) -> Result<Template, Vec<Problem>> {
        let manifest = source.files.get(MANIFEST).map(String::as_str).unwrap_or_default();
        let manifest =
            manifest::parse(manifest).map_err(|complaints| in_manifest(&source.name, complaints))?;
        let mut links = Links::default();
        let mut channels = BTreeMap::new();
        let mut problems = Vec::new();
        for (channel, sections) in &manifest {
            let shared = Shared { links, fields: Fields::Named(BTreeSet::new()) };
            let mut compiler = Compiler::new(&source, shared);
            let versions = compile_versions(&mut compiler, *channel, sections);
            problems.append(&mut compiler.problems);
            let fields = compiler.shared.fields;
            links = compiler.shared.links;
            if let Some((default, languages)) = versions {
                channels.insert(*channel, Versions { default, languages, fields });
            }
        }
        if links.sources().len() > usize::from(u16::MAX) {
            problems.push(Problem {
                template: source.name.clone(),
                file: MANIFEST.into(),
                line: None,
                message: "more than 65535 links".into(),
            });
        }
        if problems.is_empty() {
            let sms = sms_rules::sources(&manifest);
            Ok(Template { source, engine: Engine::new(), channels, links, sms })
        } else {
            Err(problems)
        }
    }

    pub fn name(&self) -> &str {
        &self.source.name
    }

    pub fn source(&self) -> &TemplateSource {
        &self.source
    }

    /// The channels that the template has messages for.
    pub fn channels(&self) -> impl Iterator<Item = Channel> + '_ {
        self.channels.keys().copied()
    }

    /// Every tracked link as the author wrote it; its number in this template is its place.
    pub fn links(&self) -> &[String] {
        self.links.sources()
    }

    /// What the channel's messages read, in any language; `None` where there are none.
    pub fn fields(&self, channel: Channel) -> Option<&Fields> {
        self.channels.get(&channel).map(|versions| &versions.fields)
    }

    /// What every text message of this template breaks of `rules`, with its line. Only what is `used` counts.
    pub fn breaches(&self, rules: &TextRules, purpose: Purpose, used: SmsForms) -> Vec<(Breach, Problem)> {
        sms_rules::breaches(self.name(), &self.sms, rules, purpose, used)
    }

    /// Begins to render messages of one job. The job's data is copied here, once for all recipients.
    ///
    /// # Errors
    /// [`RenderError::NoChannel`].
    pub fn renderer(
        &self,
        channel: Channel,
        job_data: &Map<String, Value>,
    ) -> Result<Renderer<'_>, RenderError> {
        let versions = self.channels.get(&channel).ok_or(RenderError::NoChannel(channel))?;
        Ok(Renderer { template: self, versions, scope: Scope::new(&versions.fields, job_data) })
    }
}

type Compiled = (Message, Vec<(String, Message)>);

fn compile_versions(compiler: &mut Compiler<'_>, channel: Channel, sections: &Sections) -> Option<Compiled> {
    let (line, _) = sections.default.as_ref()?;
    let default = compiler.message(channel, *line, &manifest::merged(sections, None));
    let mut languages: Vec<(String, Message)> = Vec::new();
    for (language, (line, _)) in &sections.languages {
        let section = manifest::merged(sections, Some(language));
        if let Some(message) = compiler.message(channel, *line, &section) {
            languages.push((language.clone(), message));
        }
    }
    languages.sort_by_key(|(language, _)| std::cmp::Reverse(language.len()));
    Some((default?, languages))
}

/// Complaints about `template.toml` as problems of this template.
pub(super) fn in_manifest(template: &str, complaints: Vec<Complaint>) -> Vec<Problem> {
    complaints
        .into_iter()
        .map(|Complaint { line, message }| Problem {
            template: template.to_owned(),
            file: MANIFEST.into(),
            line,
            message,
        })
        .collect()
}

/// Renders the messages of one job on one channel, one recipient after another.
#[derive(Debug)]
pub struct Renderer<'t> {
    template: &'t Template,
    versions: &'t Versions,
    scope: Scope<'t>,
}

impl Renderer<'_> {
    /// Renders one recipient's message, in the language of their locale.
    ///
    /// # Errors
    /// What the data lacks, or a limit: a property of this recipient's data, so trying again is no use.
    pub fn render(
        &mut self,
        recipient: &Recipient<'_>,
        tracking: &Tracking<'_>,
    ) -> Result<Content, RenderError> {
        let context = self.scope.enter(recipient, || tracking.unsubscribe_url());
        let engine = &self.template.engine;
        let rendering = Rendering { engine, context, links: &self.template.links, tracking };
        self.versions.for_locale(recipient.locale).render(&rendering)
    }
}
