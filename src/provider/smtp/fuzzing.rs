//! What must hold of every answer that a mail server can give.

use bytes::BytesMut;

use super::classify::{Stage, refused};
use super::reply::{NoReply, Reply};
use super::reported;
use crate::fuzzing::{assert_kept_words, pieces};

/// Replies are the same however the bytes are cut into reads, are what they say once more, and every refusal has a
/// reason. The first byte says how to cut.
pub(crate) fn replies(input: &[u8]) {
    let Some((seed, bytes)) = input.split_first() else { return };
    let (replies, end) = read([bytes]);
    assert_eq!(read(pieces(bytes, *seed)), (replies.clone(), end));
    for reply in &replies {
        assert!((200..600).contains(&reply.code), "{reply:?}");
        let printed = printed(reply);
        // Bytes that are no UTF-8 grow when they are written as characters.
        if printed.lines().all(|line| line.len() < 4_000) && printed.len() < 60_000 {
            assert_eq!(read([printed.as_bytes()]), (vec![reply.clone()], Ok(())), "{printed:?}");
        }
        for stage in [Stage::Session, Stage::Mail, Stage::Rcpt, Stage::Data] {
            if reply.is_refusal() {
                let outcome = refused(reply, stage);
                assert!(outcome.reason().is_some(), "{outcome:?}");
                assert_kept_words(outcome.detail());
            }
        }
    }
    let words = String::from_utf8_lossy(bytes);
    let (status, words) = words.split_once('\n').unwrap_or(("", &words));
    let outcome = reported(status, words);
    assert!(outcome.reason().is_some(), "{outcome:?}");
    assert_kept_words(outcome.detail());
}

fn read<'b>(reads: impl IntoIterator<Item = &'b [u8]>) -> (Vec<Reply>, Result<(), NoReply>) {
    let (mut replies, mut input) = (Vec::new(), BytesMut::new());
    for bytes in reads {
        input.extend_from_slice(bytes);
        loop {
            match Reply::take(&mut input) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Err(error)),
            }
        }
    }
    (replies, Ok(()))
}

/// As a server writes it; each further line has a code that says nothing, so that none is found in its text.
fn printed(reply: &Reply) -> String {
    let mut lines = reply.text.split('\n').peekable();
    let mut enhanced =
        reply.enhanced.map_or_else(String::new, |(subject, detail)| format!("2.{subject}.{detail} "));
    let mut printed = String::new();
    while let Some(line) = lines.next() {
        let more = if lines.peek().is_some() { '-' } else { ' ' };
        printed.push_str(&format!("{}{more}{enhanced}{line}\r\n", reply.code));
        enhanced = "2.0.0 ".to_owned();
    }
    printed
}
