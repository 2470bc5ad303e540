//! The text part of a mail that has only HTML: a text template made from the HTML template.
//!
//! Template tags stay, markup becomes line breaks, links become `text (address)` and stay tracked. It is made when
//! the template is loaded, so a recipient costs no parsing.

use super::html::{Element, Event, decode};
use super::link::{Place, decode_text, may_be_web};
use super::mark::Mark;
use super::tag::split;

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

/// Makes the text template.
pub(super) fn derive(source: &str, events: &[Event], links: &[Place]) -> String {
    let mut text = Text { out: String::new(), source, links, anchors: Vec::new() };
    for event in events {
        match event {
            Event::Text(range) => text.words(source.get(range.clone()).unwrap_or_default()),
            Event::Open(element) => text.open(element),
            Event::Close(name) => text.close(name),
        }
    }
    let mut out = text.out.trim().to_owned();
    out.push('\n');
    out
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
        for piece in split(source).unwrap_or_default() {
            if piece.tag.is_some() {
                self.out.push_str(piece.source);
                continue;
            }
            for c in decode(piece.source).chars() {
                match c {
                    ' ' | '\t' | '\r' | '\n' if self.out.ends_with([' ', '\n']) || self.out.is_empty() => {}
                    ' ' | '\t' | '\r' | '\n' => self.out.push(' '),
                    // Used to pad the preview line; invisible, and noise in a text.
                    '\u{200c}' | '\u{200b}' | '\u{feff}' | '\u{ad}' => {}
                    c => self.out.push(c),
                }
            }
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
    fn links_keep_their_address_and_number() {
        assert_eq!(
            text(
                "<a href=\"https://a.example/?a=1&amp;b=2\"> <b>Go</b> </a>, <a href=\"mailto:x@y\">write</a> <a href=\"{{unsubscribe_url}}\">out</a>"
            ),
            "Go (\u{1}l0;https://a.example/?a=1&b=2\u{1}e;), write out ({{unsubscribe_url}})\n"
        );
    }
}
