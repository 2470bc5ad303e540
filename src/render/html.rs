//! Just enough HTML to find links and to read a mail as text: tags, attributes and entities.
//!
//! It works on masked sources (see `tag`), so template tags never look like HTML, and byte ranges are the author's.

use std::borrow::Cow;
use std::ops::Range;

use super::tag::MASK;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Text(Range<usize>),
    Open(Element),
    /// The element's name in lower case.
    Close(String),
}

/// An opening tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// In lower case.
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    /// In lower case.
    pub(super) name: String,
    /// Without quotes and outer white space.
    pub(super) value: Range<usize>,
    pub(super) quoted: bool,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// Elements whose content is neither markup nor read by people.
const RAW: [&str; 3] = ["script", "style", "title"];

/// Everything in a masked source but comments, declarations and the content of [`RAW`] elements.
pub(super) fn events(masked: &str) -> Vec<Event> {
    let mut scan = Scan { source: masked, at: 0 };
    let mut events = Vec::new();
    while !scan.rest().is_empty() {
        let text = scan.at;
        scan.skip_until(starts_markup);
        if scan.at > text {
            events.push(Event::Text(text..scan.at));
        }
        if scan.rest().starts_with("<!--") {
            scan.skip_past("-->");
        } else if scan.rest().starts_with("</") {
            scan.at += 2;
            events.push(Event::Close(scan.name()));
            scan.skip_past(">");
        } else if scan.rest().starts_with("<!") {
            scan.skip_past(">");
        } else if !scan.rest().is_empty() {
            scan.at += 1;
            let element = scan.element();
            if RAW.contains(&element.name.as_str()) {
                let end = format!("</{}", element.name);
                scan.skip_until(|rest| {
                    rest.get(..end.len()).is_some_and(|start| start.eq_ignore_ascii_case(&end))
                });
            }
            events.push(Event::Open(element));
        }
    }
    events
}

fn starts_markup(rest: &str) -> bool {
    let mut chars = rest.chars();
    chars.next() == Some('<') && chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '/' || c == '!')
}

struct Scan<'m> {
    source: &'m str,
    at: usize,
}

impl Scan<'_> {
    fn rest(&self) -> &str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn skip_past(&mut self, end: &str) {
        self.at = self.rest().find(end).map_or(self.source.len(), |found| self.at + found + end.len());
    }

    fn skip_until(&mut self, stop: impl Fn(&str) -> bool) {
        let rest = self.rest();
        let found = rest.char_indices().find(|(index, _)| rest.get(*index..).is_some_and(&stop));
        self.at += found.map_or(rest.len(), |(index, _)| index);
    }

    fn skip_while(&mut self, go_on: impl Fn(char) -> bool) -> Range<usize> {
        let from = self.at;
        self.at += self.rest().find(|c| !go_on(c)).unwrap_or(self.rest().len());
        from..self.at
    }

    /// A name in lower case, without template tags before it.
    fn name(&mut self) -> String {
        let range = self.skip_while(|c| !c.is_whitespace() && !matches!(c, '=' | '>' | '/'));
        let name = self.source.get(range).unwrap_or_default();
        name.rsplit(MASK).next().unwrap_or_default().to_ascii_lowercase()
    }

    /// An opening tag behind its `<`.
    fn element(&mut self) -> Element {
        let name = self.name();
        let mut attributes = Vec::new();
        loop {
            self.skip_while(|c| c.is_whitespace() || c == '/');
            if self.rest().is_empty() || self.rest().starts_with('>') {
                self.at += self.rest().len().min(1);
                return Element { name, attributes };
            }
            let before = self.at;
            let name = self.name();
            self.skip_while(char::is_whitespace);
            if self.rest().starts_with('=') {
                self.at += 1;
                self.skip_while(char::is_whitespace);
                attributes.push(self.value(name));
            }
            // A stray quote or the like is no name: step over it.
            if self.at == before {
                self.at += self.rest().chars().next().map_or(0, char::len_utf8);
            }
        }
    }

    fn value(&mut self, name: String) -> Attribute {
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let value = self.skip_while(|c| !c.is_whitespace() && c != '>');
            return Attribute { name, value, quoted: false };
        };
        self.at += 1;
        let value = self.skip_while(|c| c != quote);
        self.at += self.rest().len().min(1);
        Attribute { name, value: self.trimmed(value), quoted: true }
    }

    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let text = self.source.get(range.clone()).unwrap_or_default();
        let start = range.start + (text.len() - text.trim_start().len());
        start..start + text.trim().len()
    }
}

/// Replaces the entities that mails use by their characters; unknown ones stay.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut parts = text.split('&');
    decoded.push_str(parts.next().unwrap_or_default());
    for part in parts {
        match part.split_once(';').and_then(|(name, rest)| Some((entity(name)?, rest))) {
            Some((c, rest)) => {
                decoded.push(c);
                decoded.push_str(rest);
            }
            None => {
                decoded.push('&');
                decoded.push_str(part);
            }
        }
    }
    Cow::Owned(decoded)
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| !c.is_control());
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "laquo" => '«',
        "raquo" => '»',
        "middot" => '·',
        "bull" => '•',
        "times" => '×',
        "larr" => '←',
        "rarr" => '→',
        "euro" => '€',
        "yen" => '¥',
        "pound" => '£',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hrefs(source: &str) -> Vec<&str> {
        let mut found = Vec::new();
        for event in events(source) {
            if let Event::Open(element) = event
                && let Some(href) = element.attribute("href")
            {
                found.extend(source.get(href.value.clone()));
            }
        }
        found
    }

    #[test]
    fn attributes_are_found_however_they_are_written() {
        assert_eq!(
            hrefs(
                "<A class=x HREF='a b' >t</a><a\nhref = \" c \"/><a href=d><!-- <a href=\"no\"> --><p title=\">\" href=\"e\">"
            ),
            ["a b", "c", "d", "e"]
        );
        assert_eq!(hrefs("<style>a > b { } <a href=\"no\"></style>1 < 2 <a href=\"yes\">"), ["yes"]);
    }

    #[test]
    fn entities_are_decoded_once() {
        assert_eq!(
            decode("a&amp;lt;b &#x4e0a;&#39; &unknown; &amp &copy=1"),
            "a&lt;b 上' &unknown; &amp &copy=1"
        );
    }

    proptest! {
        #[test]
        fn any_text_can_be_scanned(source in r#"[<>a/='"! &;é\x1a-]{0,60}"#) {
            for event in events(&source) {
                if let Event::Text(range) = event {
                    prop_assert!(source.get(range).is_some());
                }
            }
            prop_assert!(decode(&source).len() <= source.len());
        }
    }
}
