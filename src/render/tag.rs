//! Where the tags of a template stand: splits a template into text and tags without compiling it.
//!
//! The guard needs this before the engine's parser may see the source; links and the text made from HTML need it to
//! leave tags alone. It reads a subset of what the engine reads and refuses the rest.

use super::problem::Complaint;

/// A run of text or one tag, and the byte at which it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'s> {
    pub(super) at: usize,
    pub(super) source: &'s str,
    /// `None` for text.
    pub(super) tag: Option<Tag<'s>>,
}

/// What a tag does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag<'s> {
    /// `{{x}}` or `{{helper x}}`.
    Value,
    /// `{{{x}}}` or `{{&x}}`, with what stands between the braces.
    Unescaped(&'s str),
    /// `{{#name ...}}`, with the name.
    Open(&'s str),
    /// `{{/name}}`, with the name.
    Close(&'s str),
    /// `{{else}}`.
    Else,
    /// `{{else if ...}}`, with the name.
    ElseBlock(&'s str),
    Comment,
    /// Partials, decorators: anything that could call itself or change the rules.
    Forbidden,
}

/// Splits a template into its pieces, in order and without gaps.
///
/// # Errors
/// The first place that cannot be read.
pub(super) fn split(source: &str) -> Result<Vec<Piece<'_>>, Complaint> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let text_end = rest.find("{{").unwrap_or(rest.len());
        let (text, from_tag) = rest.split_at(text_end);
        if !text.is_empty() {
            pieces.push(Piece { at, source: text, tag: None });
            at += text.len();
        }
        if from_tag.is_empty() {
            break;
        }
        if text.ends_with('\\') {
            return Err(Complaint::at(source, at, "a backslash before `{{` is not supported: remove it"));
        }
        let length =
            tag_length(from_tag).ok_or_else(|| Complaint::at(source, at, "this `{{` is never closed"))?;
        let (tag, _) = from_tag.split_at(length);
        pieces.push(Piece { at, source: tag, tag: Some(classify(tag)) });
        at += length;
    }
    Ok(pieces)
}

/// Bytes of the tag that `source` begins with, `None` if it never ends.
fn tag_length(source: &str) -> Option<usize> {
    if let Some(comment) = source.strip_prefix("{{!") {
        let end = if comment.starts_with("--") { "--}}" } else { "}}" };
        return Some(3 + comment.find(end)? + end.len());
    }
    let braces = source.bytes().take_while(|byte| *byte == b'{').count().min(4);
    let end = "}}}}".get(..braces)?;
    let mut quote = None;
    let mut escaped = false;
    for (index, c) in source.char_indices().skip(braces) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '}' && source.get(index..)?.starts_with(end) => return Some(index + end.len()),
            None => {}
        }
    }
    None
}

fn classify(tag: &str) -> Tag<'_> {
    if tag.starts_with("{{!") {
        return Tag::Comment;
    }
    if tag.starts_with("{{{{") {
        return Tag::Forbidden;
    }
    let inner = tag.trim_matches(['{', '}']).trim_matches('~').trim();
    if tag.starts_with("{{{") {
        return Tag::Unescaped(inner);
    }
    let after = |sign: &str| inner.strip_prefix(sign).map(str::trim_start);
    if let Some(rest) = after("&") {
        return Tag::Unescaped(rest);
    }
    if let Some(rest) = after("#") {
        return if rest.starts_with(['>', '*']) { Tag::Forbidden } else { Tag::Open(first_word(rest)) };
    }
    if let Some(rest) = after("/") {
        return Tag::Close(first_word(rest));
    }
    if inner.starts_with(['>', '*']) {
        return Tag::Forbidden;
    }
    let otherwise = after("^").or_else(|| after("else").filter(|_| first_word(inner) == "else"));
    match otherwise {
        Some("") => Tag::Else,
        Some(rest) => Tag::ElseBlock(first_word(rest)),
        // `{{~{x}~}}`: the engine reads this as a triple, too.
        None if inner.starts_with('{') => Tag::Unescaped(inner.trim_matches(['{', '}']).trim()),
        None => Tag::Value,
    }
}

fn first_word(text: &str) -> &str {
    text.split([' ', '\t', '\r', '\n', '(']).next().unwrap_or_default()
}

/// The source with each tag's bytes replaced by a byte that no template holds, so that what is between can be
/// scanned as HTML or text while all offsets stay.
pub(super) fn mask(pieces: &[Piece<'_>]) -> String {
    let mut masked = String::new();
    for piece in pieces {
        match piece.tag {
            None => masked.push_str(piece.source),
            Some(_) => masked.extend(std::iter::repeat_n(MASK, piece.source.len())),
        }
    }
    masked
}

/// Stands for one byte of a tag in a masked source.
pub(super) const MASK: char = '\u{1a}';

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tags(source: &str) -> Vec<Tag<'_>> {
        split(source).unwrap().into_iter().filter_map(|piece| piece.tag).collect()
    }

    #[test]
    fn tags_are_told_apart() {
        assert_eq!(tags("a {{x}} b {{helper x \"}}\" y='}}'}}"), [Tag::Value, Tag::Value]);
        assert_eq!(
            tags("{{{x}}}{{& y }}{{~{z}~}}"),
            [Tag::Unescaped("x"), Tag::Unescaped("y"), Tag::Unescaped("z")]
        );
        assert_eq!(
            tags("{{#if (eq a b)}}{{else if x}}{{^}}{{ else }}{{/if}}"),
            [Tag::Open("if"), Tag::ElseBlock("if"), Tag::Else, Tag::Else, Tag::Close("if")]
        );
        assert_eq!(tags("{{! a }}{{!-- {{b}} --}}{{elsewhere}}"), [Tag::Comment, Tag::Comment, Tag::Value]);
        assert_eq!(
            tags("{{> p}}{{#> p}}{{/p}}{{#*inline \"x\"}}{{* d}}{{{{raw}}}}"),
            [Tag::Forbidden, Tag::Forbidden, Tag::Close("p"), Tag::Forbidden, Tag::Forbidden, Tag::Forbidden]
        );
    }

    #[test]
    fn what_never_ends_is_refused_with_its_line() {
        for source in ["a\n{{x", "a\n{{{x}}", "a\n{{!-- }}", "a\n{{x \"}}"] {
            assert_eq!(split(source).unwrap_err().line, Some(2), "{source}");
        }
        assert!(split("\\{{x}}").unwrap_err().message.contains("backslash"));
    }

    proptest! {
        #[test]
        fn pieces_cover_the_source(source in r#"[a {}#/~!">'\\é]{0,40}"#) {
            if let Ok(pieces) = split(&source) {
                let together: String = pieces.iter().map(|piece| piece.source).collect();
                prop_assert_eq!(&together, &source);
                prop_assert_eq!(mask(&pieces).len(), source.len());
                for piece in pieces {
                    prop_assert_eq!(source.get(piece.at..piece.at + piece.source.len()), Some(piece.source));
                }
            }
        }
    }
}
