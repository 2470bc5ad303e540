//! Marks: orders to the writer that stand inside of a compiled template's text.
//!
//! When a template is loaded, links, the pixel's place and loop bodies are marked; when it is rendered, the writer
//! obeys and drops the marks. That costs a scan instead of helper calls, and leaves the author's lines as they are.
//! A mark begins with U+0001. Templates that hold one are refused, and values lose theirs when they are escaped, so
//! no data can give an order.

use std::fmt;

/// Begins each mark.
pub(super) const LEAD: char = '\u{1}';

/// One order to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The address of this link of the template begins here.
    Link(usize),
    /// It ends here.
    LinkEnd,
    /// The pixel stands here.
    Pixel,
    /// A loop begins another round, which costs this much.
    Work(usize),
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::Link(number) => write!(f, "{LEAD}l{number};"),
            Mark::LinkEnd => write!(f, "{LEAD}e;"),
            Mark::Pixel => write!(f, "{LEAD}p;"),
            Mark::Work(cost) => write!(f, "{LEAD}w{cost};"),
        }
    }
}

impl Mark {
    /// Reads what follows a lead: the mark, and the text behind it.
    pub(super) fn read(text: &str) -> Option<(Mark, &str)> {
        let (mark, rest) = text.split_once(';')?;
        let mark = match mark.split_at_checked(1)? {
            ("l", number) => Mark::Link(number.parse().ok()?),
            ("e", "") => Mark::LinkEnd,
            ("p", "") => Mark::Pixel,
            ("w", cost) => Mark::Work(cost.parse().ok()?),
            _ => return None,
        };
        Some((mark, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_round_trip() {
        for mark in [Mark::Link(12), Mark::LinkEnd, Mark::Pixel, Mark::Work(7)] {
            let text = format!("{mark}rest; of it");
            assert_eq!(Mark::read(text.strip_prefix(LEAD).unwrap()), Some((mark, "rest; of it")));
        }
        assert_eq!(Mark::read("x;"), None);
    }
}
