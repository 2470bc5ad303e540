//! What the client writes: envelope commands and dot-stuffed content. Nothing that could end a command early gets in.

use std::fmt::Write as _;

use super::connection::Extensions;
use crate::model::{Outcome, Reason};
use crate::provider::Email;

/// Why the message can never go over a connection with these extensions; none if it can.
pub(super) fn refusal(email: &Email, extensions: &Extensions) -> Option<Outcome> {
    let failed =
        |detail: &str| Some(Outcome::Failed { reason: Reason::InvalidAddress, detail: detail.to_owned() });
    if email.envelope_to.is_empty() || !is_path(&email.envelope_to) {
        return failed("the recipient's address has a character that no SMTP envelope may hold");
    }
    if !is_path(&email.envelope_from) {
        return failed("the sender's address has a character that no SMTP envelope may hold");
    }
    let rejected = |reason, detail: String| Some(Outcome::Rejected { reason, detail });
    if !email.envelope_to.is_ascii() && !extensions.smtputf8 {
        let detail = "the address is not ASCII and the server does not offer SMTPUTF8 (RFC 6531)";
        return rejected(Reason::RecipientRefused, detail.to_owned());
    }
    if !email.envelope_from.is_ascii() && !extensions.smtputf8 {
        let detail = "the sender is not ASCII and the server does not offer SMTPUTF8 (RFC 6531)";
        return rejected(Reason::MessageRefused, detail.to_owned());
    }
    if !extensions.eight_bit && !email.content.is_ascii() {
        let detail = "the content is not ASCII and the server does not offer 8BITMIME (RFC 6152)";
        return rejected(Reason::MessageRefused, detail.to_owned());
    }
    let size = email.content.len();
    match extensions.max_size {
        Some(most) if most > 0 && size as u64 > most => rejected(
            Reason::MessageRefused,
            format!("the message has {size} bytes, the server takes at most {most}"),
        ),
        _ => None,
    }
}

/// Whether the text can stand between the brackets of MAIL and RCPT; empty is the null sender.
fn is_path(address: &str) -> bool {
    address.len() <= 254
        && !address.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>'))
}

/// The commands of one envelope, each with its CRLF, reused from message to message.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    text: String,
    /// Where RCPT and DATA begin.
    starts: [usize; 2],
}

impl Envelope {
    /// Writes MAIL, RCPT and DATA of a message that [`refusal`] let pass.
    pub(super) fn set(&mut self, email: &Email, extensions: &Extensions) {
        let text = &mut self.text;
        text.clear();
        text.push_str("MAIL FROM:<");
        text.push_str(&email.envelope_from);
        text.push('>');
        if extensions.max_size.is_some() {
            // Writing to a String cannot fail.
            let _written = write!(text, " SIZE={}", email.content.len());
        }
        let international = !email.envelope_to.is_ascii() || !email.envelope_from.is_ascii();
        if extensions.eight_bit && (international || !email.content.is_ascii()) {
            text.push_str(" BODY=8BITMIME");
        }
        if international {
            text.push_str(" SMTPUTF8");
        }
        text.push_str("\r\n");
        let rcpt = text.len();
        text.push_str("RCPT TO:<");
        text.push_str(&email.envelope_to);
        text.push_str(">\r\n");
        self.starts = [rcpt, text.len()];
        text.push_str("DATA\r\n");
    }

    pub(super) fn all(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// MAIL, RCPT, DATA.
    pub(super) fn each(&self) -> [&[u8]; 3] {
        let [rcpt, data] = self.starts;
        let text = self.text.as_bytes();
        [&text[..rcpt], &text[rcpt..data], &text[data..]]
    }
}

/// Appends the content, dot-stuffed (RFC 5321 section 4.5.2), with its final dot.
/// Returns where the final CRLF.CRLF begins: what was written up to there can be taken back by closing.
///
/// A dot after a bare CR or LF is stuffed too, for servers that take either for a line end (SMTP smuggling).
pub(super) fn push_content(content: &[u8], output: &mut Vec<u8>) -> usize {
    output.reserve(content.len() + content.len() / 64 + 8);
    let mut from = 0;
    for dot in memchr::memchr_iter(b'.', content) {
        if dot == 0 || matches!(content[dot - 1], b'\n' | b'\r') {
            output.extend_from_slice(&content[from..dot]);
            output.push(b'.');
            from = dot;
        }
    }
    output.extend_from_slice(&content[from..]);
    if !content.ends_with(b"\r\n") {
        output.extend_from_slice(b"\r\n");
    }
    let end = output.len() - 2;
    output.extend_from_slice(b".\r\n");
    end
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn email(from: &str, to: &str, content: &'static str) -> Email {
        Email {
            envelope_from: from.to_owned(),
            envelope_to: to.to_owned(),
            content: Bytes::from_static(content.as_bytes()),
        }
    }

    #[test]
    fn an_envelope_says_what_the_server_offers() {
        let mut envelope = Envelope::default();
        envelope.set(&email("a@b.example", "c@d.example", "x\r\n"), &Extensions::default());
        assert_eq!(envelope.all(), b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
        assert_eq!(envelope.each().concat(), envelope.all());
        assert_eq!(envelope.each()[1], b"RCPT TO:<c@d.example>\r\n");
        let all = Extensions { eight_bit: true, smtputf8: true, max_size: Some(0), ..Extensions::default() };
        envelope.set(&email("", "анна@d.example", "x\r\n"), &all);
        assert_eq!(envelope.each()[0], b"MAIL FROM:<> SIZE=3 BODY=8BITMIME SMTPUTF8\r\n");
    }

    #[test]
    fn addresses_cannot_carry_commands() {
        for bad in [
            "a@b\r\nRCPT TO:<x@y>",
            "a b@c.example",
            "a>b@c.example",
            "<a@c.example",
            "a\0@c.example",
            "a\u{2028}@c.example",
        ] {
            let outcome = refusal(&email("a@b.example", bad, ""), &Extensions::default()).unwrap();
            assert!(matches!(outcome, Outcome::Failed { reason: Reason::InvalidAddress, .. }), "{bad:?}");
            assert!(refusal(&email(bad, "a@b.example", ""), &Extensions::default()).is_some(), "{bad:?}");
        }
        assert!(refusal(&email("a@b.example", "", ""), &Extensions::default()).is_some());
        assert_eq!(refusal(&email("", "a@b.example", ""), &Extensions::default()), None);
    }

    #[test]
    fn what_the_server_cannot_take_is_not_sent() {
        let reason = |from: &str, to: &str, content| {
            let extensions = Extensions { max_size: Some(5), ..Extensions::default() };
            refusal(&email(from, to, content), &extensions).and_then(|outcome| outcome.reason())
        };
        assert_eq!(reason("a@b.example", "анна@b.example", ""), Some(Reason::RecipientRefused));
        assert_eq!(reason("анна@b.example", "a@b.example", ""), Some(Reason::MessageRefused));
        assert_eq!(reason("a@b.example", "a@b.example", "ä"), Some(Reason::MessageRefused));
        assert_eq!(reason("a@b.example", "a@b.example", "123456"), Some(Reason::MessageRefused));
        assert_eq!(reason("a@b.example", "a@b.example", "12345"), None);
    }

    /// The receiver's side of RFC 5321 section 4.5.2.
    fn unstuffed(wire: &[u8]) -> Vec<u8> {
        let lines = wire.split_inclusive(|byte| *byte == b'\n');
        lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line).to_vec()).collect()
    }

    proptest! {
        #[test]
        fn stuffing_is_undone_by_the_receiver(content in "([.a]|\r\n){0,40}") {
            let mut wire = Vec::new();
            let end = push_content(content.as_bytes(), &mut wire);
            prop_assert_eq!(&wire[end..], b"\r\n.\r\n");
            let body = &wire[..end + 2];
            prop_assert!(!body.starts_with(b".\r\n"));
            prop_assert_eq!(memchr::memmem::find(&wire, b"\r\n.\r\n"), Some(end));
            let mut expected = content.clone().into_bytes();
            if !content.ends_with("\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(unstuffed(body), expected);
        }

        #[test]
        fn no_line_end_of_any_kind_makes_a_lone_dot(content in "[.a\r\n]{0,40}") {
            let mut wire = Vec::new();
            let end = push_content(content.as_bytes(), &mut wire);
            let ends = [b"\r.\r".as_slice(), b"\n.\n", b"\r.\n", b"\n.\r"];
            prop_assert!(ends.iter().all(|lone| memchr::memmem::find(&wire[..end], lone).is_none()));
        }
    }
}
