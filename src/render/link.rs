//! Which addresses of a template are tracked links, and which of them are the same link.
//!
//! A link is what the author wrote: `https://shop.example/{{product}}` is one link however it varies. In HTML these
//! are the `href` of `a` and `area`; in text, addresses that begin with `http://` or `https://`.

use std::ops::Range;

use super::html::{Event, decode};
use super::mark::Mark;
use super::problem::Complaint;
use super::scope::UNSUBSCRIBE_URL;
use super::tag::{MASK, Piece, Tag, split};

/// The tracked links of a template, over all its texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Links {
    sources: Vec<String>,
    varying: Vec<bool>,
}

impl Links {
    /// As the author wrote them, entities decoded; a link's number is its place here.
    pub(super) fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Whether the address holds tags, so that it may differ from recipient to recipient.
    pub(super) fn is_varying(&self, number: usize) -> bool {
        self.varying.get(number).copied().unwrap_or(true)
    }

    fn number(&mut self, source: String) -> usize {
        self.sources.iter().position(|known| *known == source).unwrap_or_else(|| {
            self.varying.push(source.contains("{{"));
            self.sources.push(source);
            self.sources.len() - 1
        })
    }
}

/// One place where a link's address stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Range<usize>,
    pub(super) number: usize,
}

/// The links of an HTML source.
///
/// # Errors
/// Addresses that cannot be told where they end.
pub(super) fn in_html(
    source: &str,
    events: &[Event],
    links: &mut Links,
) -> Result<Vec<Place>, Vec<Complaint>> {
    let mut places = Vec::new();
    let mut complaints = Vec::new();
    for event in events {
        let Event::Open(element) = event else { continue };
        if !matches!(element.name.as_str(), "a" | "area") {
            continue;
        }
        let Some(href) = element.attribute("href") else { continue };
        let address = source.get(href.value.clone()).unwrap_or_default();
        let mut complain = |message: &str| complaints.push(Complaint::at(source, href.value.start, message));
        if !href.quoted {
            complain("put the link's address into quotes");
        } else if !is_whole(address) {
            complain("a block begins or ends inside of the link's address: put the whole of it there");
        } else if may_be_web(address) && !is_unsubscribe(address) {
            places.push(Place { number: links.number(decode_text(address)), address: href.value.clone() });
        }
    }
    if complaints.is_empty() { Ok(places) } else { Err(complaints) }
}

/// The links of a plain text.
///
/// # Errors
/// Addresses that cannot be told where they end.
pub(super) fn in_text(
    source: &str,
    masked: &str,
    pieces: &[Piece<'_>],
    links: &mut Links,
) -> Result<Vec<Place>, Vec<Complaint>> {
    let mut places = Vec::new();
    let mut complaints = Vec::new();
    let mut at = 0;
    while let Some(start) = next_address(masked, at) {
        let end = address_end(masked, pieces, start);
        at = end.max(start + 1);
        let address = source.get(start..end).unwrap_or_default();
        if is_web(address) {
            places.push(Place { number: links.number(address.to_owned()), address: start..end });
        }
        if pieces.iter().any(|piece| piece.at == end && matches!(piece.tag, Some(Tag::Open(_)))) {
            complaints.push(Complaint::at(
                source,
                end,
                "a block directly behind an address: put a space between, or the whole address into the block",
            ));
        }
    }
    if complaints.is_empty() { Ok(places) } else { Err(complaints) }
}

/// The source with its links, and the pixel's place, marked.
pub(super) fn mark(source: &str, places: &[Place], pixel: Option<usize>) -> String {
    let mut marks: Vec<(usize, Mark)> = places
        .iter()
        .flat_map(|place| {
            [(place.address.start, Mark::Link(place.number)), (place.address.end, Mark::LinkEnd)]
        })
        .chain(pixel.map(|at| (at, Mark::Pixel)))
        .collect();
    marks.sort_by_key(|(at, _)| *at);
    let mut marked = String::with_capacity(source.len() + 16 * marks.len());
    let mut from = 0;
    for (at, mark) in marks {
        marked.push_str(source.get(from..at).unwrap_or_default());
        marked.push_str(&mark.to_string());
        from = at;
    }
    marked.push_str(source.get(from..).unwrap_or_default());
    marked
}

/// Where the pixel goes: before the last `</body>`, or at the end.
pub(super) fn pixel_place(masked: &str) -> usize {
    masked.to_ascii_lowercase().rfind("</body").unwrap_or(masked.len())
}

/// Whether this is an absolute web address.
pub(super) fn is_web(address: &str) -> bool {
    let begins = |scheme: &str| {
        address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && address.len() > scheme.len()
    };
    begins("https://") || begins("http://")
}

/// Whether this may turn out to be one: it begins like one or with a tag.
pub(super) fn may_be_web(address: &str) -> bool {
    is_web(address) || address.starts_with("{{")
}

fn is_unsubscribe(address: &str) -> bool {
    address.starts_with("{{")
        && address.ends_with("}}")
        && address.trim_matches(['{', '}', '~', '&', ' ']) == UNSUBSCRIBE_URL
}

/// Whether each block that the address opens ends in it.
fn is_whole(address: &str) -> bool {
    let mut depth = 0_i32;
    for piece in split(address).unwrap_or_default() {
        match piece.tag {
            Some(Tag::Open(_)) => depth += 1,
            Some(Tag::Close(_)) => depth -= 1,
            Some(Tag::Else | Tag::ElseBlock(_)) if depth == 0 => return false,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

/// Decodes entities outside of tags.
pub(super) fn decode_text(text: &str) -> String {
    let pieces = split(text).unwrap_or_default();
    pieces
        .iter()
        .map(|piece| if piece.tag.is_some() { piece.source.into() } else { decode(piece.source) })
        .collect()
}

fn next_address(masked: &str, from: usize) -> Option<usize> {
    let rest = masked.get(from..)?;
    let found = ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min()?;
    Some(from + found)
}

/// An address ends at white space, at what no URL holds (RFC 3986, appendix A), and at a block's tag; the
/// punctuation of the sentence around it is no part of it.
fn address_end(masked: &str, pieces: &[Piece<'_>], start: usize) -> usize {
    let mut end = start;
    while let Some(c) = masked.get(end..).and_then(|rest| rest.chars().next()) {
        if c == MASK {
            let piece = pieces.iter().find(|piece| piece.at == end);
            match piece {
                Some(piece) if matches!(piece.tag, Some(Tag::Value | Tag::Unescaped(_))) => {
                    end += piece.source.len();
                }
                _ => break,
            }
        } else if c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '|' | '}') {
            end += 1;
        } else {
            break;
        }
    }
    let address = masked.get(start..end).unwrap_or_default();
    let mut trimmed = address.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'']);
    if !trimmed.contains('(') {
        trimmed = trimmed.trim_end_matches([')', '.', ',', ';', ':', '!', '?', '\'']);
    }
    start + trimmed.len()
}

#[cfg(test)]
mod tests {
    use super::super::html::events;
    use super::super::tag::mask;
    use super::*;

    fn html(source: &str) -> (Vec<String>, Vec<usize>) {
        let masked = mask(&split(source).unwrap());
        let mut links = Links::default();
        let places = in_html(source, &events(&masked), &mut links).unwrap();
        (links.sources, places.into_iter().map(|place| place.number).collect())
    }

    fn text(source: &str) -> Vec<String> {
        let pieces = split(source).unwrap();
        let mut links = Links::default();
        in_text(source, &mask(&pieces), &pieces, &mut links).unwrap();
        links.sources
    }

    #[test]
    fn a_link_is_what_the_author_wrote() {
        let (sources, numbers) = html(
            r##"<a href="https://a.example/?x=1&amp;y={{u "&amp;"}}">1</a> <a href='{{url}}'>2</a>
            <area href="https://a.example/?x=1&amp;y={{u "&amp;"}}"> <a href="mailto:x@y">3</a> <a href="#top">4</a>
            <a href="{{unsubscribe_url}}">5</a> <a href="{{{ unsubscribe_url }}}">6</a> <img src="https://a.example/x">
            <link href="https://no.example"> <a name=x>7</a> <a href="/relative">8</a>"##,
        );
        assert_eq!(sources, [r#"https://a.example/?x=1&y={{u "&amp;"}}"#, "{{url}}"]);
        assert_eq!(numbers, [0, 1, 0]);
    }

    #[test]
    fn addresses_in_text_end_where_readers_see_them_end() {
        assert_eq!(
            text("See https://a.example/x?y=1, or (https://b.example/z)."),
            ["https://a.example/x?y=1", "https://b.example/z"]
        );
        assert_eq!(
            text("退订：https://a.example/u/{{id}}，谢谢 http://b.example。"),
            ["https://a.example/u/{{id}}", "http://b.example"]
        );
        assert_eq!(
            text("{{#if a}}https://a.example{{else}}https://b.example{{/if}}"),
            ["https://a.example", "https://b.example"]
        );
        assert_eq!(text("https://a.example/w_(b) https:// ftp://x"), ["https://a.example/w_(b)"]);
    }

    #[test]
    fn addresses_that_cannot_be_told_are_refused() {
        let refused = |source: &str| {
            let masked = mask(&split(source).unwrap());
            in_html(source, &events(&masked), &mut Links::default()).unwrap_err()[0].message.clone()
        };
        assert!(refused("<a href={{url}}>").contains("quotes"));
        assert!(refused("{{#if a}}<a href=\"x{{else}}<a href=\"y{{/if}}\">").contains("block"));
        let pieces = split("https://a.example/{{#if b}}c{{/if}}").unwrap();
        let source: String = pieces.iter().map(|piece| piece.source).collect();
        assert!(in_text(&source, &mask(&pieces), &pieces, &mut Links::default()).is_err());
    }

    #[test]
    fn marks_go_around_addresses_and_before_the_end_of_the_body() {
        let source = "<body><a href=\"https://a.example\">a</a></BODY></html>";
        let places = in_html(source, &events(source), &mut Links::default()).unwrap();
        assert_eq!(
            mark(source, &places, Some(pixel_place(source))),
            "<body><a href=\"\u{1}l0;https://a.example\u{1}e;\">a</a>\u{1}p;</BODY></html>"
        );
    }
}
