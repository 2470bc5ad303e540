//! SMTP replies: read from a byte buffer, with their enhanced code (RFC 5321 section 4.2, RFC 2034, RFC 3463).
//!
//! Bytes of a server are not trusted: lines and replies have a largest size, text is taken as lossy UTF-8.

use bytes::{Buf, BytesMut};

/// RFC 5321 section 4.5.3.1.5 allows 512 bytes; servers in use send more.
const LONGEST_LINE: usize = 4 << 10;
const LONGEST_REPLY: usize = 64 << 10;

/// One complete reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// Subject and detail of the enhanced code; its class is the basic code's, which wins where they disagree.
    pub(super) enhanced: Option<(u16, u16)>,
    /// Without codes; lines are joined by a line feed.
    pub(super) text: String,
}

/// The server does not speak SMTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent something that is no SMTP reply")]
pub(super) struct NoReply;

impl Reply {
    /// Takes one reply off the front of `input`; none as long as it is incomplete.
    pub(super) fn take(input: &mut BytesMut) -> Result<Option<Reply>, NoReply> {
        let Some(length) = complete(input)? else { return Ok(None) };
        let mut reply = Reply { code: 0, enhanced: None, text: String::new() };
        for line in input[..length].split_inclusive(|byte| *byte == b'\n') {
            let line = line.trim_ascii_end();
            let code = line.first_chunk().and_then(code).ok_or(NoReply)?;
            let line = String::from_utf8_lossy(line.get(4..).unwrap_or_default());
            let (enhanced, text) = enhanced(&line);
            if reply.code == 0 {
                reply = Reply { code, enhanced, text: text.to_owned() };
            } else {
                reply.text.push('\n');
                reply.text.push_str(text);
            }
        }
        input.advance(length);
        Ok(Some(reply))
    }

    /// The reply in the words of a report: `550 5.1.1 unknown`, also as `smtp; 550 5.1.1 unknown` (RFC 3464).
    pub(super) fn quoted(words: &str) -> Option<Reply> {
        let words = words.trim_start();
        let words = words.strip_prefix("smtp;").unwrap_or(words).trim_start();
        let code = words.as_bytes().first_chunk().and_then(code)?;
        let (enhanced, text) = match words.get(3..)?.strip_prefix([' ', '-']) {
            Some(text) => enhanced(text.trim_start()),
            None if words.len() == 3 => (None, ""),
            None => return None,
        };
        Some(Reply { code, enhanced, text: text.to_owned() })
    }

    pub(super) fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.code / 100, 4 | 5)
    }
}

/// Length of the first reply with all its lines.
fn complete(input: &[u8]) -> Result<Option<usize>, NoReply> {
    let mut length = 0;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if line.len() > LONGEST_LINE || length > LONGEST_REPLY {
            return Err(NoReply);
        }
        if !line.ends_with(b"\n") {
            return Ok(None);
        }
        length += line.len();
        match line.get(3) {
            Some(b'-') => {}
            Some(b' ' | b'\r' | b'\n') => return Ok(Some(length)),
            _ => return Err(NoReply),
        }
    }
    Ok(None)
}

fn code(digits: &[u8; 3]) -> Option<u16> {
    let [class @ b'2'..=b'5', b, c] = digits else { return None };
    if !b.is_ascii_digit() || !c.is_ascii_digit() {
        return None;
    }
    let value = |digit: &u8| u16::from(digit - b'0');
    Some(value(class) * 100 + value(b) * 10 + value(c))
}

/// Splits `5.1.1 text`. RFC 3463: a class of 2, 4 or 5, subject and detail of up to three digits.
fn enhanced(line: &str) -> (Option<(u16, u16)>, &str) {
    let parse = || {
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        let mut numbers = word.split('.');
        let class = numbers.next()?;
        let number = |part: Option<&str>| {
            part.filter(|part| part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
        };
        let (subject, detail) = (number(numbers.next())?, number(numbers.next())?);
        (matches!(class, "2" | "4" | "5") && numbers.next().is_none()).then_some(((subject, detail), text))
    };
    parse().map_or((None, line), |(code, text)| (Some(code), text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(text: &str) -> (Result<Option<Reply>, NoReply>, usize) {
        let mut input = BytesMut::from(text);
        let reply = Reply::take(&mut input);
        (reply, input.len())
    }

    #[test]
    fn replies_are_read_one_by_one() {
        let mut input = BytesMut::from("250-2.1.0 a\r\n250 2.1.0 b\r\n354\r\n550 5.1.1 no\n");
        let reply = Reply::take(&mut input).unwrap().unwrap();
        assert_eq!(reply, Reply { code: 250, enhanced: Some((1, 0)), text: "a\nb".into() });
        assert_eq!(Reply::take(&mut input).unwrap().unwrap().code, 354);
        assert_eq!(
            Reply::take(&mut input).unwrap().unwrap(),
            Reply { code: 550, enhanced: Some((1, 1)), text: "no".into() }
        );
        assert_eq!(Reply::take(&mut input), Ok(None));
    }

    #[test]
    fn an_incomplete_reply_stays_in_the_buffer() {
        for partial in ["", "2", "250", "250 ok", "250 ok\r", "250-a\r\n", "250-a\r\n250 b"] {
            assert_eq!(take(partial), (Ok(None), partial.len()), "{partial:?}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for nonsense in
            ["HTTP/1.1 400 Bad Request\r\n", "99 x\r\n", "250x\r\n", "650 x\r\n", "\r\n", "2x0 a\r\n"]
        {
            assert!(take(nonsense).0.is_err(), "{nonsense:?}");
        }
        assert!(take(&"2".repeat(5000)).0.is_err());
        assert!(take(&"250-a\r\n".repeat(20_000)).0.is_err());
    }

    #[test]
    fn numbers_that_are_no_enhanced_code_are_text() {
        for text in ["1.2.3 a", "5.1 a", "5.1.1.1 a", "5.1.1000 a", "5.x.1 a", "10.0.0.1 blocked"] {
            assert_eq!(enhanced(text), (None, text));
        }
        assert_eq!(enhanced("5.7.515 a"), (Some((7, 515)), "a"));
        assert_eq!(enhanced("2.0.0"), (Some((0, 0)), ""));
    }

    #[test]
    fn replies_are_found_in_reports() {
        let unknown = Reply { code: 550, enhanced: Some((1, 1)), text: "unknown".into() };
        for words in ["550 5.1.1 unknown", "smtp; 550 5.1.1 unknown", "smtp;550-5.1.1 unknown"] {
            assert_eq!(Reply::quoted(words), Some(unknown.clone()), "{words}");
        }
        assert_eq!(Reply::quoted("421").map(|reply| reply.code), Some(421));
        for words in ["", "5.1.1", "unknown", "5500 no", "x-unix; 550 no", "Bounced Address"] {
            assert_eq!(Reply::quoted(words), None, "{words}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(reply)) = Reply::take(&mut input) {
                prop_assert!((200..600).contains(&reply.code));
            }
        }

        #[test]
        fn the_cut_between_reads_does_not_matter(cut in 0usize..34) {
            let whole = "250-2.1.0 one\r\n250 2.1.0 two\r\n354 ";
            let mut input = BytesMut::from(&whole.as_bytes()[..cut]);
            let early = Reply::take(&mut input).unwrap();
            input.extend_from_slice(&whole.as_bytes()[cut..]);
            let reply = early.or_else(|| Reply::take(&mut input).unwrap());
            prop_assert_eq!(reply.unwrap().text, "one\ntwo");
        }
    }
}
