//! One text of a template: a subject, a body, a parameter. Compiled once, rendered for each recipient.

use handlebars::template::TemplateElement;
use handlebars::{Context, Handlebars, RenderContext, RenderErrorReason, Renderable as _};

use super::guard::{Escape, inspect};
use super::helper;
use super::html::{Event, events};
use super::link::{self, Links};
use super::mark::LEAD;
use super::plaintext;
use super::problem::Complaint;
use super::scope::Fields;
use super::syntax;
use super::tag::mask;
use super::writer::{Excess, MAX_LOOP_WORK, MAX_RENDERED_BYTES, Tracking, Writer};
use crate::model::Channel;

/// Why a recipient's message could not be rendered. Never repeats what the data holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("the template has nothing for the channel {0}: add [{0}] to its template.toml")]
    NoChannel(Channel),
    #[error(
        "{place}: `{name}` is missing for this recipient: add it to the data or write {{{{default {name} \"...\"}}}}"
    )]
    MissingVariable { place: Place, name: String },
    #[error("{place}: {problem}")]
    Helper { place: Place, problem: String },
    #[error("{place}: more than {MAX_RENDERED_BYTES} bytes")]
    TooLarge { place: Place },
    #[error("{place}: its loops do more than {MAX_LOOP_WORK} steps")]
    TooMuchWork { place: Place },
    #[error("{place}: the data puts a line break into an address")]
    LineBreak { place: Place },
}

impl RenderError {
    /// The metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            RenderError::NoChannel(_) => "no_channel",
            RenderError::MissingVariable { .. } => "missing_variable",
            RenderError::Helper { .. } => "helper",
            RenderError::TooLarge { .. } => "too_large",
            RenderError::TooMuchWork { .. } => "too_much_work",
            RenderError::LineBreak { .. } => "line_break",
        }
    }
}

/// Where in a template something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A file's name, or a key of `template.toml`.
    pub part: String,
    pub line: Option<usize>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.part)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// The engine with our helpers, once for each way of escaping.
#[derive(Debug)]
pub(super) struct Engine {
    html: Handlebars<'static>,
    plain: Handlebars<'static>,
}

impl Engine {
    pub(super) fn new() -> Self {
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        helper::register(&mut engine);
        let mut html = engine.clone();
        html.register_escape_fn(escape_html);
        engine.register_escape_fn(|value: &str| value.chars().filter(|c| is_text(*c)).collect());
        Engine { html, plain: engine }
    }
}

/// Control characters have no business in a message, and a mark is one (see `mark`).
fn is_text(c: char) -> bool {
    !c.is_control() || matches!(c, '\t' | '\n' | '\r')
}

/// Escapes for element content and for quoted and unquoted attributes.
fn escape_html(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars().filter(|c| is_text(*c)) {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '`' => escaped.push_str("&#96;"),
            '=' => escaped.push_str("&#61;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// What a text's lines mean to its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// It is a file: they are its lines.
    Own,
    /// It is one value of a file, on this line.
    One(usize),
    /// It was made from another text.
    Unknown,
}

impl Lines {
    fn of(self, line: Option<usize>) -> Option<usize> {
        match self {
            Lines::Own => line,
            Lines::One(line) => Some(line),
            Lines::Unknown => None,
        }
    }
}

/// A compiled text.
#[derive(Debug)]
pub(super) struct Part {
    name: String,
    lines: Lines,
    escape: Escape,
    template: handlebars::Template,
    /// Bytes of the source: about what the text becomes.
    size: usize,
}

/// What a text is, for finding its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Html,
    /// Addresses in it are links.
    Text,
    /// A header, a title, a parameter: nothing in it is tracked.
    Plain,
}

/// What compiling adds to the whole template.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) links: Links,
    pub(super) fields: Fields,
}

impl Part {
    /// Compiles a text. `name` is what errors call it; `lines` says where its lines are.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn compile(
        name: &str,
        lines: Lines,
        source: &str,
        kind: Kind,
        shared: &mut Shared,
    ) -> Result<Part, Vec<Complaint>> {
        Part::compile_author(name, lines, source, kind, shared).map_err(|mut complaints| {
            complaints.iter_mut().for_each(|complaint| complaint.line = lines.of(complaint.line));
            complaints
        })
    }

    fn compile_author(
        name: &str,
        lines: Lines,
        source: &str,
        kind: Kind,
        shared: &mut Shared,
    ) -> Result<Part, Vec<Complaint>> {
        let escape = if kind == Kind::Html { Escape::Html } else { Escape::None };
        let pieces = inspect(source, escape)?;
        let masked = mask(&pieces);
        let marked = match kind {
            Kind::Plain => source.to_owned(),
            Kind::Text => {
                link::mark(source, &link::in_text(source, &masked, &pieces, &mut shared.links)?, None)
            }
            Kind::Html => {
                let places = link::in_html(source, &events(&masked), &mut shared.links)?;
                link::mark(source, &places, Some(link::pixel_place(&masked)))
            }
        };
        Part::compile_marked(name, lines, &marked, escape, shared)
    }

    /// Makes and compiles the text of a mail from its HTML, which compiled already.
    ///
    /// # Errors
    /// Where blocks begin in what a text leaves out and end elsewhere.
    pub(super) fn derive_text(name: &str, html: &str, shared: &mut Shared) -> Result<Part, Vec<Complaint>> {
        let masked = mask(&inspect(html, Escape::Html)?);
        let events: Vec<Event> = events(&masked);
        let places = link::in_html(html, &events, &mut shared.links)?;
        let text = plaintext::derive(html, &events, &places);
        let advice = "no text can be made from this HTML: name a file as `text`";
        Part::compile_marked(&format!("{name} (as text)"), Lines::Unknown, &text, Escape::None, shared)
            .map_err(|_| vec![Complaint { line: None, message: advice.into() }])
    }

    fn compile_marked(
        name: &str,
        lines: Lines,
        marked: &str,
        escape: Escape,
        shared: &mut Shared,
    ) -> Result<Part, Vec<Complaint>> {
        let mut template = handlebars::Template::compile(marked).map_err(|error| {
            vec![Complaint { line: error.pos().map(|(line, _)| line), message: error.reason().to_string() }]
        })?;
        shared.fields.merge(syntax::settle(&mut template, escape)?);
        Ok(Part { name: name.to_owned(), lines, escape, template, size: marked.len() })
    }

    /// Renders the text for the recipient in `context`.
    ///
    /// # Errors
    /// What the data lacks, or which limit it broke.
    pub(super) fn render(
        &self,
        engine: &Engine,
        context: &Context,
        links: &Links,
        tracking: &Tracking<'_>,
    ) -> Result<String, RenderError> {
        if let Some(text) = self.constant() {
            return Ok(text.to_owned());
        }
        let html = self.escape == Escape::Html;
        let engine = if html { &engine.html } else { &engine.plain };
        // Tokens and values make a text longer than its template.
        let mut writer = Writer::new(html, self.size * 2, links, tracking);
        let outcome = self.template.render(engine, context, &mut RenderContext::new(None), &mut writer);
        match (writer.finish(), outcome) {
            (Ok(text), Ok(())) => Ok(text),
            (Err(Excess::Bytes), _) => Err(RenderError::TooLarge { place: self.place(None) }),
            (Err(Excess::Work), _) => Err(RenderError::TooMuchWork { place: self.place(None) }),
            (Ok(_), Err(error)) => Err(self.explain(error)),
        }
    }

    /// The text itself where nothing in it varies.
    fn constant(&self) -> Option<&str> {
        match self.template.elements.as_slice() {
            [] => Some(""),
            [TemplateElement::RawString(text)] if !text.contains(LEAD) => Some(text),
            _ => None,
        }
    }

    /// Where errors say that this text is.
    pub(super) fn place(&self, line: Option<usize>) -> Place {
        Place { part: self.name.clone(), line: self.lines.of(line) }
    }

    fn explain(&self, error: handlebars::RenderError) -> RenderError {
        let place = self.place(error.line_no);
        match error.reason() {
            RenderErrorReason::MissingVariable(Some(name)) => {
                RenderError::MissingVariable { place, name: name.clone() }
            }
            RenderErrorReason::Other(problem) => RenderError::Helper { place, problem: problem.clone() },
            RenderErrorReason::MissingVariable(None) => {
                RenderError::Helper { place, problem: "a value is missing for this recipient".into() }
            }
            other => RenderError::Helper { place, problem: other.to_string() },
        }
    }
}
