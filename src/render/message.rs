//! A channel's message as a template describes it: its texts, compiled, and how they become [`Content`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use handlebars::Context;

use super::link::Links;
use super::manifest::{Entry, MANIFEST, Section, TENCENT_PARAMS};
use super::part::{Engine, Kind, Lines, Part, RenderError, Shared};
use super::problem::{Complaint, Problem};
use super::template::TemplateSource;
use super::writer::Tracking;
use crate::model::Channel;
use crate::model::content::{
    Content, EmailContent, PushContent, SmsContent, SmsTemplate, TencentTemplate, WechatContent, WechatValue,
};

type Text = Arc<Part>;

/// The texts of one channel in one language.
#[derive(Debug)]
pub(super) enum Message {
    Email { subject: Text, from: Option<Text>, reply_to: Option<Text>, html: Option<Text>, text: Text },
    Sms { text: Option<Text>, aliyun: Option<Aliyun>, tencent: Option<Tencent> },
    Wechat { template_id: Text, url: Option<Text>, data: BTreeMap<String, (Text, Option<Text>)> },
    Push { title: Text, body: Text, url: Option<Text> },
}

#[derive(Debug)]
pub(super) struct Aliyun {
    sign_name: Text,
    template_code: Text,
    params: BTreeMap<String, Text>,
}

#[derive(Debug)]
pub(super) struct Tencent {
    sign_name: Text,
    template_id: Text,
    params: Vec<Text>,
}

/// Compiles the messages of one channel; languages share the texts that they do not override.
pub(super) struct Compiler<'s> {
    pub(super) source: &'s TemplateSource,
    pub(super) shared: Shared,
    pub(super) problems: Vec<Problem>,
    /// By file and line or file and nothing, and kind; `None` for what did not compile.
    parts: HashMap<(String, Option<usize>, Kind), Option<Text>>,
}

impl<'s> Compiler<'s> {
    pub(super) fn new(source: &'s TemplateSource, shared: Shared) -> Self {
        Compiler { source, shared, problems: Vec::new(), parts: HashMap::new() }
    }

    /// Compiles a channel's section that begins at `line`; `None` where something is wrong with it.
    pub(super) fn message(&mut self, channel: Channel, line: usize, section: &Section) -> Option<Message> {
        match channel {
            Channel::Email => self.email(line, section),
            Channel::Sms => self.sms(line, section),
            Channel::Wechat => {
                let template_id = self.required(section, &["template_id"], line);
                let url = self.inline(section, &["url"], Kind::Text);
                let data = self.wechat_data(section, line);
                Some(Message::Wechat { template_id: template_id?, url, data: data? })
            }
            Channel::Push => {
                let title = self.required(section, &["title"], line);
                let body = self.required(section, &["body"], line);
                let url = self.inline(section, &["url"], Kind::Text);
                Some(Message::Push { title: title?, body: body?, url })
            }
        }
    }

    fn email(&mut self, line: usize, section: &Section) -> Option<Message> {
        let subject = self.required(section, &["subject"], line);
        let from = self.inline(section, &["from"], Kind::Plain);
        let reply_to = self.inline(section, &["reply_to"], Kind::Plain);
        let html = get(section, &["html"]);
        let text = match (get(section, &["text"]), html) {
            (Some(file), _) => self.file(file, Kind::Text),
            (None, Some(html)) => self.derived(html),
            (None, None) => {
                self.problem(MANIFEST, Some(line), "needs `html` or `text`: the name of a file".into());
                None
            }
        };
        let html = html.and_then(|file| self.file(file, Kind::Html));
        Some(Message::Email { subject: subject?, from, reply_to, html, text: text? })
    }

    fn sms(&mut self, line: usize, section: &Section) -> Option<Message> {
        let text = self.inline(section, &["text"], Kind::Text);
        let has = |name| section.keys().any(|path| path.first().is_some_and(|key| key == name));
        let aliyun = if has("aliyun") {
            let sign_name = self.required(section, &["aliyun", "sign_name"], line);
            let template_code = self.required(section, &["aliyun", "template_code"], line);
            let params = self.named(section, &["aliyun", "params"], None);
            Some(Aliyun { sign_name: sign_name?, template_code: template_code?, params })
        } else {
            None
        };
        let tencent = if has("tencent") {
            let sign_name = self.required(section, &["tencent", "sign_name"], line);
            let template_id = self.required(section, &["tencent", "template_id"], line);
            let params = self.named(section, TENCENT_PARAMS, None).into_values().collect();
            Some(Tencent { sign_name: sign_name?, template_id: template_id?, params })
        } else {
            None
        };
        if text.is_none() && aliyun.is_none() && tencent.is_none() {
            self.problem(MANIFEST, Some(line), "[sms] needs `text`, `aliyun` or `tencent`".into());
        }
        Some(Message::Sms { text, aliyun, tencent })
    }

    fn wechat_data(
        &mut self,
        section: &Section,
        line: usize,
    ) -> Option<BTreeMap<String, (Text, Option<Text>)>> {
        let values = self.named(section, &["data"], Some("value"));
        let mut colors = self.named(section, &["data"], Some("color"));
        let data: BTreeMap<_, _> = values
            .into_iter()
            .map(|(name, value)| {
                let color = colors.remove(&name);
                (name, (value, color))
            })
            .collect();
        if let Some(name) = colors.keys().next() {
            self.problem(MANIFEST, Some(line), format!("`data.{name}` has a color but no `value`"));
            return None;
        }
        Some(data)
    }

    /// All texts at `prefix.NAME` or `prefix.NAME.suffix`, by name.
    fn named(&mut self, section: &Section, prefix: &[&str], suffix: Option<&str>) -> BTreeMap<String, Text> {
        let mut texts = BTreeMap::new();
        for (path, entry) in section {
            let tail: Vec<&str> = path.iter().map(String::as_str).collect();
            let name = match (tail.strip_prefix(prefix), suffix) {
                (Some([name]), None) => *name,
                (Some([name, last]), Some(suffix)) if *last == suffix => *name,
                _ => continue,
            };
            if let Some(text) = self.value(entry, Kind::Plain) {
                texts.insert(name.to_owned(), text);
            }
        }
        texts
    }

    fn required(&mut self, section: &Section, path: &[&str], line: usize) -> Option<Text> {
        match get(section, path) {
            Some(entry) => self.value(entry, Kind::Plain),
            None => {
                self.problem(MANIFEST, Some(line), format!("needs `{}`", path.join(".")));
                None
            }
        }
    }

    fn inline(&mut self, section: &Section, path: &[&str], kind: Kind) -> Option<Text> {
        get(section, path).and_then(|entry| self.value(entry, kind))
    }

    /// A text that stands in the manifest itself.
    fn value(&mut self, entry: &Entry, kind: Kind) -> Option<Text> {
        let key = (entry.text.clone(), Some(entry.line), kind);
        self.part(key, MANIFEST, |shared| {
            Part::compile(MANIFEST, Lines::One(entry.line), &entry.text, kind, shared)
        })
    }

    /// A text that stands in a file of its own.
    fn file(&mut self, entry: &Entry, kind: Kind) -> Option<Text> {
        let content = self.content(entry)?;
        self.part((entry.text.clone(), None, kind), &entry.text, |shared| {
            Part::compile(&entry.text, Lines::Own, content, kind, shared)
        })
    }

    /// The text made from an HTML file.
    fn derived(&mut self, html: &Entry) -> Option<Text> {
        self.file(html, Kind::Html)?;
        let content = self.content(html)?;
        self.part((html.text.clone(), None, Kind::Text), &html.text, |shared| {
            Part::derive_text(&html.text, content, shared)
        })
    }

    fn content(&mut self, entry: &Entry) -> Option<&'s str> {
        let content = self.source.files.get(&entry.text).map(String::as_str);
        if content.is_none() {
            self.problem(MANIFEST, Some(entry.line), format!("there is no file `{}`", entry.text));
        }
        content
    }

    fn part(
        &mut self,
        key: (String, Option<usize>, Kind),
        file: &str,
        compile: impl FnOnce(&mut Shared) -> Result<Part, Vec<Complaint>>,
    ) -> Option<Text> {
        if let Some(known) = self.parts.get(&key) {
            return known.clone();
        }
        let part = match compile(&mut self.shared) {
            Ok(part) => Some(Arc::new(part)),
            Err(complaints) => {
                for complaint in complaints {
                    self.problem(file, complaint.line, complaint.message);
                }
                None
            }
        };
        self.parts.insert(key, part.clone());
        part
    }

    fn problem(&mut self, file: &str, line: Option<usize>, message: String) {
        let problem = Problem { template: self.source.name.clone(), file: file.to_owned(), line, message };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

fn get<'e>(section: &'e Section, path: &[&str]) -> Option<&'e Entry> {
    section.iter().find(|(key, _)| key.iter().eq(path)).map(|(_, entry)| entry)
}

/// All that the texts of one recipient's message are rendered with.
pub(super) struct Rendering<'a> {
    pub(super) engine: &'a Engine,
    pub(super) context: &'a Context,
    pub(super) links: &'a Links,
    pub(super) tracking: &'a Tracking<'a>,
}

impl Rendering<'_> {
    fn text(&self, part: &Part) -> Result<String, RenderError> {
        part.render(self.engine, self.context, self.links, self.tracking)
    }

    fn line(&self, part: &Part) -> Result<String, RenderError> {
        self.text(part).map(one_line)
    }

    fn address(&self, part: &Part) -> Result<String, RenderError> {
        let text = self.text(part)?;
        if text.contains(['\r', '\n']) {
            return Err(RenderError::LineBreak { place: part.place(None) });
        }
        Ok(text.trim().to_owned())
    }
}

/// A header or title holds no line break (RFC 5322, section 2.2): they become spaces.
fn one_line(text: String) -> String {
    if text.contains(['\r', '\n']) {
        return text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    text.trim().to_owned()
}

impl Message {
    /// Renders every text.
    ///
    /// # Errors
    /// The first text that cannot be rendered.
    pub(super) fn render(&self, with: &Rendering<'_>) -> Result<Content, RenderError> {
        let line = |part: &Text| with.line(part);
        let optional = |part: &Option<Text>| part.as_deref().map(|part| with.line(part)).transpose();
        Ok(match self {
            Message::Email { subject, from, reply_to, html, text } => Content::Email(EmailContent {
                subject: with.line(subject)?,
                from: from.as_deref().map(|part| with.address(part)).transpose()?,
                reply_to: reply_to.as_deref().map(|part| with.address(part)).transpose()?,
                html: html.as_deref().map(|part| with.text(part)).transpose()?,
                text: with.text(text)?,
            }),
            Message::Sms { text, aliyun, tencent } => Content::Sms(SmsContent {
                text: text.as_deref().map(|part| with.text(part)).transpose()?,
                aliyun: aliyun.as_ref().map(|aliyun| aliyun.render(with)).transpose()?,
                tencent: tencent.as_ref().map(|tencent| tencent.render(with)).transpose()?,
            }),
            Message::Wechat { template_id, url, data } => Content::Wechat(WechatContent {
                template_id: line(template_id)?,
                url: optional(url)?,
                data: data
                    .iter()
                    .map(|(name, (value, color))| {
                        let value = WechatValue { value: with.text(value)?, color: optional(color)? };
                        Ok((name.clone(), value))
                    })
                    .collect::<Result<_, _>>()?,
            }),
            Message::Push { title, body, url } => Content::Push(PushContent {
                title: line(title)?,
                body: with.text(body)?,
                url: optional(url)?,
            }),
        })
    }
}

impl Aliyun {
    fn render(&self, with: &Rendering<'_>) -> Result<SmsTemplate, RenderError> {
        Ok(SmsTemplate {
            sign_name: with.line(&self.sign_name)?,
            template_code: with.line(&self.template_code)?,
            params: self
                .params
                .iter()
                .map(|(name, value)| Ok((name.clone(), with.text(value)?)))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Tencent {
    fn render(&self, with: &Rendering<'_>) -> Result<TencentTemplate, RenderError> {
        Ok(TencentTemplate {
            sign_name: with.line(&self.sign_name)?,
            template_id: with.line(&self.template_id)?,
            params: self.params.iter().map(|value| with.text(value)).collect::<Result<_, _>>()?,
        })
    }
}
