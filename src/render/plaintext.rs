//! The text part of a mail that has only HTML: a text template made from the HTML template.
//!
//! Template tags stay, markup becomes line breaks, links become `text (address)` and stay tracked. It is made when
//! the template is loaded, so a recipient costs no parsing.

use super::html::{Element, Event, decode};
use super::link::{Place, decode_text, may_be_web};
use super::mark::Mark;
use super::tag::{Tag, split};

/// Elements that begin and end a line.
const LINES: [&str; 14] = [
    "div",
    "tr",
    "table",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "section",
    "header",
    "footer",
    "center",
    "blockquote",
    "pre",
];
/// Elements with an empty line around.
const PARAGRAPHS: [&str; 7] = ["p", "h1", "h2", "h3", "h4", "h5", "h6"];

/// Pads the preview line that mail clients show: invisible, and noise in a text.
const PADDING: [char; 4] = ['\u{200c}', '\u{200b}', '\u{feff}', '\u{ad}'];

/// Makes the text template.
pub(super) fn derive(source: &str, events: &[Event], links: &[Place]) -> String {
    let mut text = Text { out: String::new(), source, links, anchors: Vec::new() };
    // The name of a hidden element, and how many of that name are open.
    let mut hidden: Option<(&str, usize)> = None;
    for event in events {
        if let Some((name, depth)) = &mut hidden {
            match event {
                Event::Open(element) if element.name == *name => *depth += 1,
                Event::Close(closed) if closed == *name => *depth -= 1,
                _ => {}
            }
            if *depth == 0 {
                hidden = None;
            }
            continue;
        }
        match event {
            Event::Open(element) if is_hidden(source, element) => hidden = Some((&element.name, 1)),
            Event::Text(range) => text.words(source.get(range.clone()).unwrap_or_default()),
            Event::Open(element) => text.open(element),
            Event::Close(name) => text.close(name),
        }
    }
    let mut out = text.out.trim().to_owned();
    out.push('\n');
    out
}

/// The usual way to give mail clients a preview line that the mail itself does not show.
fn is_hidden(source: &str, element: &Element) -> bool {
    let style =
        element.attribute("style").and_then(|style| source.get(style.value.clone())).unwrap_or_default();
    style.split_whitespace().collect::<String>().contains("display:none")
}

struct Text<'s> {
    out: String,
    source: &'s str,
    links: &'s [Place],
    /// The address of each open link, to be written behind its text.
    anchors: Vec<Option<String>>,
}

impl Text<'_> {
    /// Collapses white space and decodes entities outside of tags.
    fn words(&mut self, source: &str) {
        let pieces = split(source).unwrap_or_default();
        let is_block = |index: Option<usize>| {
            let tag = index.and_then(|index| pieces.get(index)).and_then(|piece| piece.tag);
            matches!(tag, Some(Tag::Open(_) | Tag::Close(_) | Tag::Else | Tag::ElseBlock(_)))
        };
        for (index, piece) in pieces.iter().enumerate() {
            if piece.tag.is_some() {
                self.out.push_str(piece.source);
                continue;
            }
            let after_block = is_block(index.checked_sub(1));
            let before_block = is_block(Some(index + 1));
            let (start, words) =
                piece.source.split_at(piece.source.len() - piece.source.trim_ascii_start().len());
            let (words, end) = words.split_at(words.trim_ascii_end().len());
            self.space(start, after_block || (before_block && words.is_empty()));
            for (nth, word) in words.split_ascii_whitespace().enumerate() {
                if nth > 0 {
                    self.out.push(' ');
                }
                self.out.extend(decode(word).chars().filter(|c| !PADDING.contains(c)));
            }
            self.space(end, before_block);
        }
    }

    /// White space between words: one space. A block's tag that stands alone on its line keeps doing so, and then
    /// the engine drops that line.
    fn space(&mut self, run: &str, at_block: bool) {
        if at_block && run.contains('\n') {
            self.lines(1, "");
        } else if !run.is_empty() && !self.out.is_empty() && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
    }

    fn open(&mut self, element: &Element) {
        match element.name.as_str() {
            "br" => self.out.push('\n'),
            "hr" => self.lines(1, "----\n"),
            "li" => self.lines(1, "- "),
            "td" | "th" => self.words(" "),
            "img" => {
                let alt = element.attribute("alt").and_then(|alt| self.source.get(alt.value.clone()));
                self.words(alt.unwrap_or_default());
            }
            "a" => self.anchors.push(self.address(element)),
            name => self.boundary(name),
        }
    }

    fn close(&mut self, name: &str) {
        if name != "a" {
            return self.boundary(name);
        }
        if let Some(address) = self.anchors.pop().flatten() {
            let trimmed = self.out.trim_end().len();
            self.out.truncate(trimmed);
            self.out.push_str(&format!(" ({address})"));
        }
    }

    fn boundary(&mut self, name: &str) {
        if PARAGRAPHS.contains(&name) {
            self.lines(2, "");
        } else if LINES.contains(&name) {
            self.lines(1, "");
        }
    }

    /// At least so many line breaks, then `start`.
    fn lines(&mut self, breaks: usize, start: &str) {
        let kept = self.out.trim_end_matches(' ').len();
        self.out.truncate(kept);
        if !self.out.is_empty() {
            let there = self.out.len() - self.out.trim_end_matches('\n').len();
            self.out.extend(std::iter::repeat_n('\n', breaks.saturating_sub(there)));
        }
        self.out.push_str(start);
    }

    /// A web link's address, marked where it is tracked.
    fn address(&self, element: &Element) -> Option<String> {
        let href = element.attribute("href")?;
        let address = self.source.get(href.value.clone()).filter(|address| may_be_web(address))?;
        let address = decode_text(address);
        let place = self.links.iter().find(|place| place.address == href.value);
        Some(match place {
            Some(place) => format!("{}{address}{}", Mark::Link(place.number), Mark::LinkEnd),
            None => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::html::events;
    use super::super::link::{Links, in_html};
    use super::super::tag::mask;
    use super::*;

    fn text(source: &str) -> String {
        let events = events(&mask(&split(source).unwrap()));
        let links = in_html(source, &events, &mut Links::default()).unwrap();
        derive(source, &events, &links)
    }

    #[test]
    fn markup_becomes_lines_and_tags_stay() {
        let html = "<html><head><title>T</title><style>p {}</style></head><body>\n<h1>Hi {{name}} &amp; co</h1>\n\
            <p>One<br>two   {{#if a}}<b>three</b>{{/if}}</p><ul>{{#each list}}<li>{{this}}</li>{{/each}}</ul>\
            <table><tr><td>a</td><td>b</td></tr></table><hr><!-- no --><img src=\"x\" alt=\"Logo\"></body></html>";
        assert_eq!(
            text(html),
            "Hi {{name}} & co\n\nOne\ntwo {{#if a}}three{{/if}}\n\n{{#each list}}\n- {{this}}{{/each}}\na b\n----\nLogo\n"
        );
    }

    #[test]
    fn what_is_hidden_is_left_out_and_blocks_keep_their_lines() {
        assert_eq!(
            text(
                "<div style=\"display: none\">pre<div>view</div></div><p>a</p>\n{{#if x}}\n  <p>b</p>\n{{/if}}\nc  {{#if y}} d{{/if}}"
            ),
            "a\n\n{{#if x}}\n\nb\n\n{{/if}}\nc {{#if y}} d{{/if}}\n"
        );
    }

    #[test]
    fn links_keep_their_address_and_number() {
        assert_eq!(
            text(
                "<a href=\"https://a.example/?a=1&amp;b=2\"> <b>Go</b> </a>, <a href=\"mailto:x@y\">write</a> <a href=\"{{unsubscribe_url}}\">out</a>"
            ),
            "Go (\u{1}l0;https://a.example/?a=1&b=2\u{1}e;), write out ({{unsubscribe_url}})\n"
        );
    }
}
