//! What a template may not be, checked before the engine's parser sees it: too large, too deep, or able to call
//! itself.
//!
//! Without this a template of 45 bytes ends the process (a partial that includes itself overflows the stack), and
//! one of 120 KB compiles for seconds (the engine's parser is quadratic in tags).

use super::problem::{Complaint, line_of};
use super::scope::UNSUBSCRIBE_URL;
use super::tag::{Piece, Tag, split};

/// The largest template file, in bytes.
pub(super) const MAX_TEMPLATE_BYTES: usize = 256 * 1024;
/// The most tags in one file or text.
pub(super) const MAX_TAGS: usize = 1_000;
/// The deepest nesting of blocks, each further `{{else if}}` included.
pub(super) const MAX_NESTING: usize = 32;
/// The most opening brackets in one tag.
pub(super) const MAX_BRACKETS: usize = 32;

/// The only blocks there are. `each` and `with` change what names mean inside.
pub(super) const BLOCKS: [&str; 4] = ["if", "unless", "each", "with"];

/// How a text's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Escape {
    Html,
    None,
}

/// Splits a template that is safe to compile.
///
/// # Errors
/// Everything that is not safe, all at once.
pub(super) fn inspect(source: &str, escape: Escape) -> Result<Vec<Piece<'_>>, Vec<Complaint>> {
    if source.len() > MAX_TEMPLATE_BYTES {
        let message =
            format!("the template has {} bytes; at most {MAX_TEMPLATE_BYTES} are allowed", source.len());
        return Err(vec![Complaint { line: None, message }]);
    }
    if let Some(at) = source.find(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        return Err(vec![Complaint::at(source, at, "a control character: remove it")]);
    }
    let pieces = split(source).map_err(|complaint| vec![complaint])?;
    let tags = pieces.iter().filter(|piece| piece.tag.is_some()).count();
    if tags > MAX_TAGS {
        let message = format!("{tags} tags; at most {MAX_TAGS} are allowed");
        return Err(vec![Complaint { line: None, message }]);
    }
    let mut complaints = Vec::new();
    for piece in &pieces {
        if let Some(message) = piece.tag.and_then(|tag| objection(tag, piece.source, escape)) {
            complaints.push(Complaint::at(source, piece.at, message));
        }
    }
    complaints.extend(check_nesting(source, &pieces));
    if complaints.is_empty() { Ok(pieces) } else { Err(complaints) }
}

/// What is wrong with one tag by itself.
fn objection(tag: Tag<'_>, source: &str, escape: Escape) -> Option<String> {
    if brackets(source) > MAX_BRACKETS {
        return Some(format!("more than {MAX_BRACKETS} brackets in one tag"));
    }
    match tag {
        Tag::Forbidden => Some("partials, decorators and raw blocks are not supported".into()),
        Tag::Unescaped(name) if escape == Escape::Html && name != UNSUBSCRIBE_URL => Some(format!(
            "`{{{{{{{name}}}}}}}` would let data write HTML: use two braces (only {UNSUBSCRIBE_URL} may stand in three)"
        )),
        Tag::Open(name) | Tag::ElseBlock(name) if !BLOCKS.contains(&name) => {
            Some(format!("`{name}` is no block; there are {}", BLOCKS.join(", ")))
        }
        _ => None,
    }
}

/// How deep brackets can nest at most, told from how many open: the engine's parser recurses at each.
fn brackets(tag: &str) -> usize {
    tag.trim_start_matches('{').bytes().filter(|byte| matches!(byte, b'(' | b'[' | b'{')).count()
}

/// One open block: its name, where it opened, and how deep its branches nest.
struct Open<'s> {
    name: &'s str,
    at: usize,
    depth: usize,
}

fn check_nesting(source: &str, pieces: &[Piece<'_>]) -> Option<Complaint> {
    let mut open: Vec<Open<'_>> = Vec::new();
    for piece in pieces {
        let depth = open.last().map_or(0, |block| block.depth);
        match piece.tag {
            Some(Tag::Open(name)) => open.push(Open { name, at: piece.at, depth: depth + 1 }),
            Some(Tag::Else) if open.is_empty() => {
                return Some(Complaint::at(source, piece.at, "`else` outside of a block"));
            }
            Some(Tag::ElseBlock(_)) => match open.last_mut() {
                Some(block) => block.depth += 1,
                None => return Some(Complaint::at(source, piece.at, "`else` outside of a block")),
            },
            Some(Tag::Close(name)) => match open.pop() {
                Some(block) if block.name == name => {}
                Some(block) => {
                    let line = line_of(source, block.at);
                    let message =
                        format!("`{{{{/{name}}}}}` closes `{{{{#{}}}}}` of line {line}", block.name);
                    return Some(Complaint::at(source, piece.at, message));
                }
                None => {
                    return Some(Complaint::at(
                        source,
                        piece.at,
                        format!("`{{{{/{name}}}}}` closes nothing"),
                    ));
                }
            },
            _ => {}
        }
        if open.last().is_some_and(|block| block.depth > MAX_NESTING) {
            return Some(Complaint::at(source, piece.at, format!("blocks nest deeper than {MAX_NESTING}")));
        }
    }
    open.pop()
        .map(|block| Complaint::at(source, block.at, format!("`{{{{#{}}}}}` is never closed", block.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(source: &str) -> String {
        let complaints = inspect(source, Escape::Html).unwrap_err();
        complaints.into_iter().map(|complaint| complaint.message).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_could_recurse_is_refused() {
        assert!(refusal("{{#*inline \"x\"}}{{> x}}{{/inline}}{{> x}}").contains("partials, decorators"));
        assert!(refusal("{{> self}}").contains("partials"));
        assert!(refusal("{{{{raw}}}}{{{{/raw}}}}").contains("raw blocks"));
        assert!(refusal(&"{{#if a}}".repeat(5_000)).contains("tags"));
        assert!(refusal(&"{{#if a}}".repeat(40)).contains("deeper than 32"));
        assert!(
            refusal(&format!("{{{{#if a}}}}{}{{{{/if}}}}", "{{else if b}}".repeat(40)))
                .contains("deeper than 32")
        );
        assert!(refusal(&format!("{{{{x {}}}}}", "[".repeat(60))).contains("brackets"));
        assert!(
            refusal(&format!("{{{{x {}1{}}}}}", "(not ".repeat(60), ")".repeat(60))).contains("brackets")
        );
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert!(refusal(&"x".repeat(MAX_TEMPLATE_BYTES + 1)).contains("bytes"));
        assert!(refusal(&"{{x}}".repeat(10_000)).contains("10000 tags"));
    }

    #[test]
    fn data_writes_no_html() {
        assert!(refusal("<p>{{{bio}}}</p>").contains("two braces"));
        assert!(refusal("{{&bio}}").contains("two braces"));
        assert!(inspect("<a href=\"{{{unsubscribe_url}}}\">", Escape::Html).is_ok());
        assert!(inspect("{{{name}}}", Escape::None).is_ok());
    }

    #[test]
    fn blocks_must_match() {
        assert!(refusal("{{#if a}}{{/each}}").contains("closes `{{#if}}` of line 1"));
        assert!(refusal("{{/if}}").contains("closes nothing"));
        assert!(refusal("{{#if a}}").contains("never closed"));
        assert!(refusal("{{else}}").contains("outside"));
        assert!(refusal("{{#list x}}{{/list}}").contains("`list` is no block"));
        assert_eq!(inspect("a\n\u{1}b", Escape::None).unwrap_err()[0].line, Some(2));
    }
}
