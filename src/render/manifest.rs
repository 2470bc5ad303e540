//! `template.toml`: which texts a template has, for which channels and languages.
//!
//! Read into a flat table a section, so that a language's section can override another key by key.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Complaint, line_of};
use crate::model::Channel;
use crate::model::contact::is_language_tag;

/// The file's name in a template's folder.
pub(super) const MANIFEST: &str = "template.toml";

/// A value of a section, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) line: usize,
}

/// A section's values by their path below the channel, as `["aliyun", "params", "name"]`. A list stands at its own path
/// with an empty text, and each of its items below it by its place.
pub(super) type Section = BTreeMap<Vec<String>, Entry>;

/// A channel's section, and what languages override.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sections {
    pub(super) default: Option<(usize, Section)>,
    /// By language tag as written.
    pub(super) languages: BTreeMap<String, (usize, Section)>,
}

pub(super) type Manifest = BTreeMap<Channel, Sections>;

/// The one key that holds a list of texts: a language overrides it as a whole.
pub(super) const TENCENT_PARAMS: &[&str] = &["tencent", "params"];

/// What may stand in a channel's section; `*` is any name.
fn keys(channel: Channel) -> &'static [&'static [&'static str]] {
    match channel {
        Channel::Email => &[&["subject"], &["from"], &["reply_to"], &["html"], &["text"]],
        Channel::Sms => &[
            &["text"],
            &["aliyun", "sign_name"],
            &["aliyun", "template_code"],
            &["aliyun", "params", "*"],
            &["tencent", "sign_name"],
            &["tencent", "template_id"],
            TENCENT_PARAMS,
        ],
        Channel::Wechat => &[&["template_id"], &["url"], &["data", "*", "value"], &["data", "*", "color"]],
        Channel::Push => &[&["title"], &["body"], &["url"]],
    }
}

/// Reads a manifest.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn parse(source: &str) -> Result<Manifest, Vec<Complaint>> {
    let (root, errors) = DeTable::parse_recoverable(source);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax_complaint(source, error)).collect());
    }
    let mut reader = Reader { source, manifest: Manifest::new(), complaints: Vec::new() };
    for (key, value) in root.get_ref() {
        reader.top(key, value);
    }
    for (channel, sections) in &reader.manifest {
        if let (None, Some((language, (line, _)))) = (&sections.default, sections.languages.first_key_value())
        {
            let message =
                format!("[{language}.{channel}] needs [{channel}]: what people of other languages get");
            reader.complaints.push(Complaint { line: Some(*line), message });
        }
    }
    if reader.manifest.is_empty() && reader.complaints.is_empty() {
        reader.complaints.push(Complaint {
            line: None,
            message: "no channel: add [email], [sms], [wechat] or [push]".into(),
        });
    }
    if reader.complaints.is_empty() { Ok(reader.manifest) } else { Err(reader.complaints) }
}

/// The sections of a channel, least special first: the default, `zh`, `zh-CN` for `zh-CN`, laid over one another.
pub(super) fn merged(sections: &Sections, language: Option<&str>) -> Section {
    let mut section = sections.default.clone().unwrap_or_default().1;
    let Some(language) = language else { return section };
    let mut ancestors: Vec<_> =
        sections.languages.iter().filter(|(tag, _)| is_ancestor(tag, language)).collect();
    ancestors.sort_by_key(|(tag, _)| tag.len());
    for (_, (_, overrides)) in ancestors {
        if overrides.keys().any(|path| path == TENCENT_PARAMS) {
            section.retain(|path, _| !path.iter().take(2).eq(TENCENT_PARAMS));
        }
        section.extend(overrides.clone());
    }
    section
}

/// Whether texts for `tag` are good for people who read `language`: `zh` for `zh-CN`, whatever the case and whether
/// subtags are joined by `-` or `_`.
pub(super) fn is_ancestor(tag: &str, language: &str) -> bool {
    let mut subtags = language.split(['-', '_']);
    tag.split(['-', '_'])
        .all(|subtag| subtags.next().is_some_and(|candidate| candidate.eq_ignore_ascii_case(subtag)))
}

fn syntax_complaint(source: &str, error: &toml::de::Error) -> Complaint {
    let line = error.span().map(|span| line_of(source, span.start));
    Complaint { line, message: error.message().to_owned() }
}

struct Reader<'s> {
    source: &'s str,
    manifest: Manifest,
    complaints: Vec<Complaint>,
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

impl Reader<'_> {
    fn complain(&mut self, at: usize, message: String) {
        self.complaints.push(Complaint::at(self.source, at, message));
    }

    fn top(&mut self, key: &Key<'_>, value: &Spanned<DeValue<'_>>) {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        if let Ok(channel) = name.parse() {
            let section = self.section(channel, key, value);
            self.manifest.entry(channel).or_default().default = Some(section);
            return;
        }
        let channels = value.get_ref().as_table().filter(|_| is_language_tag(name));
        let Some(channels) = channels else {
            let known = Channel::ALL.iter().map(|channel| channel.as_str());
            return self.complain(at, unknown(name, known, "a channel or a language"));
        };
        for (key, value) in channels {
            match key.get_ref().parse() {
                Ok(channel) => {
                    let section = self.section(channel, key, value);
                    self.manifest.entry(channel).or_default().languages.insert(name.to_owned(), section);
                }
                Err(_) => {
                    let known = Channel::ALL.iter().map(|channel| channel.as_str());
                    self.complain(key.span().start, unknown(key.get_ref(), known, "a channel"));
                }
            }
        }
    }

    fn section(&mut self, channel: Channel, key: &Key<'_>, value: &Spanned<DeValue<'_>>) -> (usize, Section) {
        let mut section = Section::new();
        match value.get_ref().as_table() {
            Some(table) => self.table(channel, &mut Vec::new(), table, &mut section),
            None => self.complain(key.span().start, format!("[{channel}] is a section, not a value")),
        }
        (line_of(self.source, key.span().start), section)
    }

    fn table(
        &mut self,
        channel: Channel,
        path: &mut Vec<String>,
        table: &DeTable<'_>,
        section: &mut Section,
    ) {
        for (key, value) in table {
            let at = key.span().start;
            path.push(key.get_ref().clone().into_owned());
            let fits = |pattern: &&[&str]| {
                pattern.len() >= path.len()
                    && pattern.iter().zip(path.iter()).all(|(p, k)| *p == "*" || p == k)
            };
            let patterns: Vec<_> = keys(channel).iter().filter(|pattern| fits(pattern)).collect();
            let is_leaf = patterns.iter().any(|pattern| pattern.len() == path.len());
            match value.get_ref() {
                _ if patterns.is_empty() => {
                    let depth = path.len() - 1;
                    let parent = path.get(..depth).unwrap_or_default();
                    let known = keys(channel)
                        .iter()
                        .filter(|pattern| pattern.iter().zip(parent).all(|(p, k)| *p == "*" || p == k))
                        .filter_map(|pattern| pattern.get(depth).copied());
                    let message = unknown(key.get_ref(), known, "a key of this section");
                    self.complain(at, message);
                }
                DeValue::Array(items) if path == TENCENT_PARAMS => self.list(path, at, items, section),
                _ if path == TENCENT_PARAMS => {
                    self.complain(at, format!("`{}` is a list, as [\"...\"]", path.join(".")))
                }
                DeValue::String(text) if is_leaf => {
                    let line = line_of(self.source, at);
                    section.insert(path.clone(), Entry { text: text.clone().into_owned(), line });
                }
                DeValue::Table(inner) if !is_leaf => self.table(channel, path, inner, section),
                _ if is_leaf => {
                    self.complain(at, format!("`{}` is a text: put it into quotes", path.join(".")))
                }
                _ => self.complain(at, format!("`{}` is a table, as {{name = \"...\"}}", path.join("."))),
            }
            path.pop();
        }
    }

    fn list(&mut self, path: &[String], at: usize, items: &DeArray<'_>, section: &mut Section) {
        let line = line_of(self.source, at);
        section.insert(path.to_vec(), Entry { text: String::new(), line });
        for (place, item) in items.iter().enumerate() {
            let at = item.span().start;
            match item.get_ref().as_str() {
                Some(text) => {
                    let path = [path, &[format!("{place:04}")]].concat();
                    let line = line_of(self.source, at);
                    section.insert(path, Entry { text: text.to_owned(), line });
                }
                None => self.complain(at, format!("every item of `{}` is a text: quote it", path.join("."))),
            }
        }
    }
}

fn unknown<'k>(name: &str, known: impl Iterator<Item = &'k str>, what: &str) -> String {
    let nearest = known
        .map(|key| (strsim::jaro_winkler(name, key), key))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.7);
    let hint = nearest.map(|(_, key)| format!("; did you mean `{key}`?")).unwrap_or_default();
    format!("`{name}` is not {what}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(section: &Section, path: &str) -> String {
        section[&path.split('.').map(str::to_owned).collect::<Vec<_>>()].text.clone()
    }

    #[test]
    fn languages_override_key_by_key() {
        let manifest = parse(
            "[email]\nsubject = \"Hi\"\nhtml = \"a\"\n[zh.email]\nsubject = \"你好\"\n[zh-TW.email]\nhtml = \"tw\"\n\
             [sms]\naliyun = {sign_name = \"S\", template_code = \"C\", params = {n = \"{{n}}\", m = \"1\"}}\n\
             [de.sms.aliyun.params]\nn = \"x\"\n",
        )
        .unwrap();
        let email = &manifest[&Channel::Email];
        assert_eq!(text(&merged(email, Some("zh-CN")), "subject"), "你好");
        assert_eq!(text(&merged(email, Some("zh_tw")), "html"), "tw");
        assert_eq!(text(&merged(email, Some("zh-TW")), "subject"), "你好");
        assert_eq!(text(&merged(email, Some("zho")), "subject"), "Hi");
        assert_eq!(text(&merged(email, None), "subject"), "Hi");
        let sms = merged(&manifest[&Channel::Sms], Some("de-AT"));
        assert_eq!((text(&sms, "aliyun.params.n"), text(&sms, "aliyun.params.m")), ("x".into(), "1".into()));
    }

    #[test]
    fn a_language_overrides_a_list_as_a_whole() {
        let manifest = parse(
            "[sms.tencent]\nsign_name = \"S\"\ntemplate_id = \"1\"\nparams = [\"a\", \"b\",\n\"c\"]\n\
             [zh.sms.tencent]\nparams = [\"x\"]\n[de.sms.tencent]\nparams = []\n[fr.sms.tencent]\ntemplate_id = \"2\"\n",
        )
        .unwrap();
        let params = |language| {
            let section = merged(&manifest[&Channel::Sms], Some(language));
            let items = section.iter().filter(|(path, _)| path.len() == 3);
            items.map(|(_, entry)| (entry.text.clone(), entry.line)).collect::<Vec<_>>()
        };
        let all = [("a".to_owned(), 4), ("b".to_owned(), 4), ("c".to_owned(), 5)];
        assert_eq!((params("en"), params("fr")), (all.to_vec(), all.to_vec()));
        assert_eq!((params("zh"), params("de")), (vec![("x".to_owned(), 7)], Vec::new()));
        let complaints =
            parse("[sms.tencent]\nparams = {a = \"b\"}\n[zh.sms.tencent]\nparams = [1]\n").unwrap_err();
        assert!(complaints[0].message.contains("is a list"), "{complaints:?}");
        assert!(
            complaints[1].message.contains("is a text") && complaints[1].line == Some(4),
            "{complaints:?}"
        );
    }

    #[test]
    fn everything_wrong_comes_with_its_line() {
        let complaints =
            parse("[emial]\n[email]\nsubjct = \"x\"\nhtml = 3\n[sms.aliyun]\nsign = \"x\"\nparams = \"x\"\n[wechat.data]\na = {valu = \"x\"}\n[zh.mail]\n[fr.push]\n")
                .unwrap_err();
        let found: Vec<(usize, &str)> = complaints
            .iter()
            .map(|complaint| (complaint.line.unwrap(), complaint.message.as_str()))
            .collect();
        assert_eq!(found.len(), 8, "{found:?}");
        for (line, part) in [
            (1, "did you mean `email`"),
            (3, "did you mean `subject`"),
            (4, "put it into quotes"),
            (6, "did you mean `sign_name`"),
            (7, "is a table"),
            (9, "did you mean `value`"),
            (10, "not a channel"),
            (11, "needs [push]"),
        ] {
            assert!(
                found.iter().any(|(l, message)| *l == line && message.contains(part)),
                "{line} {part}: {found:?}"
            );
        }
        assert_eq!(parse("[email\n").unwrap_err()[0].line, Some(1));
        assert!(parse("").unwrap_err()[0].message.contains("no channel"));
    }
}
