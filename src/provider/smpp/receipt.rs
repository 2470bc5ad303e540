//! What a `deliver_sm` says: receipts of messages and replies of recipients, as the ledger takes them.
//!
//! The text of a receipt follows appendix B of SMPP 3.4, which providers keep to more or less: what stands in optional
//! parameters counts more. Its dates have no time zone, so that the time of a receipt is that of its coming.

use jiff::Timestamp;

use super::pdu::{Deliver, Kind};
use super::text::{decoded, without_header};
use crate::config::Codes;
use crate::model::opt_out::opts_out;
use crate::model::receipt::{About, Bounce, News};
use crate::model::{Channel, Reason, Receipt, address};
use crate::provider::detail::masked;
use crate::provider::sms::code;

/// How the ids in receipts are written, in comparison with those in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    /// In hexadecimal in answers, in decimal in receipts.
    pub(super) hex: bool,
}

impl Ids {
    /// The id of an answer as the ledger keeps it; `None` where there is none.
    pub(super) fn of_answer(self, id: &str) -> Option<String> {
        let id = plain(id)?;
        let number = if self.hex { u128::from_str_radix(&id, 16).ok() } else { None };
        Some(number.map_or(id, |number| number.to_string()))
    }

    /// The id of a receipt as the ledger keeps that of the answer.
    pub(super) fn of_receipt(self, id: &str) -> Option<String> {
        let id = plain(id)?;
        let number = if self.hex { id.parse::<u128>().ok() } else { None };
        Some(number.map_or(id, |number| number.to_string()))
    }
}

/// The ids of a message's parts stand in one text with blanks between.
fn plain(id: &str) -> Option<String> {
    let id: String = id.trim().chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
    (!id.is_empty()).then_some(id)
}

/// What the provider said, the message's own first; nothing where nothing in it is news. `provider` is the account's
/// name.
pub(super) fn receipts(
    provider: &str,
    ids: Ids,
    codes: &Codes,
    deliver: &Deliver,
    now: Timestamp,
) -> Vec<Receipt> {
    match deliver.kind {
        Kind::Receipt => of_message(provider, ids, codes, deliver, now).unwrap_or_default(),
        Kind::Reply => of_reply(provider, deliver, now).into_iter().collect(),
        Kind::Other => Vec::new(),
    }
}

fn of_message(
    provider: &str,
    ids: Ids,
    codes: &Codes,
    deliver: &Deliver,
    now: Timestamp,
) -> Option<Vec<Receipt>> {
    let text = String::from_utf8_lossy(&deliver.content);
    let id = deliver.receipted_message_id.as_deref().or_else(|| field(&text, "id:"))?;
    let reference = ids.of_receipt(id)?;
    let stat = deliver.message_state.and_then(state_name).or_else(|| field(&text, "stat:"))?;
    let stat = stat.to_ascii_uppercase();
    let error = field(&text, "err:").map(|error| format!("err:{error}"));
    let told = |news: News| Receipt {
        id: match news {
            News::Unsubscribed => Receipt::id(provider, &reference, &format!("{stat} {}", news.as_str())),
            _ => Receipt::id(provider, &reference, &stat),
        },
        about: About::reference(provider, &reference),
        at: now,
        news,
        detail: Some(masked(&error.iter().fold(stat.clone(), |stat, error| format!("{stat} {error}")))),
    };
    let configured = || error.as_deref().and_then(|error| codes.get(error)).or_else(|| codes.get(&stat));
    Some(match (stat.as_str(), configured()) {
        ("DELIVRD" | "ACCEPTD" | "ENROUTE", _) | (_, None) => news(&stat).map(told).into_iter().collect(),
        (_, Some(class)) => code::news(class).into_iter().map(told).collect(),
    })
}

/// `message_state` (SMPP 3.4, section 5.2.28) as the text of receipts writes it.
fn state_name(state: u8) -> Option<&'static str> {
    const NAMES: [&str; 8] =
        ["ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD"];
    NAMES.get(usize::from(state.checked_sub(1)?)).copied()
}

/// None of these says that a number is dead: what the errors beside them mean is each provider's own.
fn news(stat: &str) -> Option<News> {
    let bounced = |bounce, reason| Some(News::Bounced { bounce, reason });
    match stat {
        "DELIVRD" => Some(News::Delivered),
        "ACCEPTD" => Some(News::Accepted),
        "EXPIRED" => bounced(Bounce::Soft, Reason::TemporaryFailure),
        "UNDELIV" => bounced(Bounce::Soft, Reason::RecipientRefused),
        "DELETED" | "REJECTD" => bounced(Bounce::Block, Reason::PolicyRefused),
        // Under way, or lost from sight.
        _ => None,
    }
}

/// The word behind `key` in a receipt's text, wherever in it and in whatever case the key stands. The message's own
/// text comes last and is not looked at.
fn field<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let lower = text.to_ascii_lowercase();
    let end = lower.find("text:").unwrap_or(lower.len());
    let mut from = 0;
    loop {
        let at = from + lower.get(from..end)?.find(key)?;
        // Not the end of another key, such as `id:` in `xid:`.
        if at == 0 || lower.get(..at).is_some_and(|before| before.ends_with(char::is_whitespace)) {
            let word = text.get(at + key.len()..end)?.split_ascii_whitespace().next()?;
            return Some(word);
        }
        from = at + key.len();
    }
}

/// A reply has no id: the same words of the same recipient on the same day are taken for a repeat.
fn of_reply(provider: &str, deliver: &Deliver, now: Timestamp) -> Option<Receipt> {
    let content = if deliver.has_header {
        let (part, content) = without_header(&deliver.content)?;
        // A long reply is one reply.
        (part == 1).then_some(content)?
    } else {
        deliver.content.clone()
    };
    let number = format!("+{}", deliver.source.trim_start_matches('+'));
    let address = address::canonical(Channel::Sms, &number).ok()?;
    let words = decoded(deliver.data_coding, &content);
    let key = format!("{address}\n{}\n{}", deliver.destination, hex::encode(&content));
    Some(Receipt {
        id: Receipt::id(provider, &key, "reply"),
        about: About::Address { channel: Channel::Sms, address },
        at: now,
        news: if opts_out(&words) { News::Unsubscribed } else { News::Replied },
        detail: Some(masked(&words)),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::config::CodeClass;

    const PLAIN: Ids = Ids { hex: false };
    const HEX: Ids = Ids { hex: true };

    fn deliver(kind: Kind, content: &'static [u8]) -> Deliver {
        Deliver {
            kind,
            source: "8613800000001".to_owned(),
            destination: "SHOP".to_owned(),
            has_header: false,
            data_coding: 0,
            content: Bytes::from_static(content),
            receipted_message_id: None,
            message_state: None,
        }
    }

    fn read(ids: Ids, deliver: &Deliver) -> Option<Receipt> {
        receipts("smsc", ids, &Codes::default(), deliver, Timestamp::UNIX_EPOCH).pop()
    }

    /// As npm smpp's SMSC wrote it.
    const CAPTURED: &[u8] = b"id:00000002 sub:001 dlvrd:000 submit date:2611210000 done date:2611210001 stat:UNDELIV err:001 text:hi stat:X";

    #[test]
    fn captured_receipts_are_read() {
        let told = read(PLAIN, &deliver(Kind::Receipt, CAPTURED)).unwrap();
        let reference = "00000002".to_owned();
        assert_eq!(told.about, About::Reference { provider: "smsc".to_owned(), reference });
        let undelivered = News::Bounced { bounce: Bounce::Soft, reason: Reason::RecipientRefused };
        assert_eq!((told.news, told.detail.as_deref()), (undelivered, Some("UNDELIV err:001")));
        // What stands in parameters counts more.
        let parameters = Deliver {
            receipted_message_id: Some("7".to_owned()),
            message_state: Some(2),
            ..deliver(Kind::Receipt, CAPTURED)
        };
        let told = read(PLAIN, &parameters).unwrap();
        assert_eq!(told.news, News::Delivered);
        assert_eq!(told.id, Receipt::id("smsc", "7", "DELIVRD"), "the same for each repeat");
        for nothing in [&b""[..], b"id:1", b"stat:DELIVRD", b"id:1 stat:ENROUTE", b"text:id:1 stat:DELIVRD"] {
            assert_eq!(read(PLAIN, &deliver(Kind::Receipt, nothing)), None);
        }
        let other = read(PLAIN, &deliver(Kind::Receipt, b"xid:9 ID:1  STAT:delivrd"));
        assert_eq!(other.unwrap().id, Receipt::id("smsc", "1", "DELIVRD"));
        assert_eq!(read(PLAIN, &deliver(Kind::Other, CAPTURED)), None);
    }

    #[test]
    fn errors_mean_what_the_configuration_says() {
        let codes: Codes =
            [("err:001", CodeClass::OptedOut), ("EXPIRED", CodeClass::HardBounce)].into_iter().collect();
        let told = |content: &'static [u8]| {
            let deliver = deliver(Kind::Receipt, content);
            receipts("smsc", PLAIN, &codes, &deliver, Timestamp::UNIX_EPOCH)
        };
        let both = told(CAPTURED);
        assert_eq!(
            (both[0].news.reason(), &both[1].news),
            (Some(Reason::RecipientRefused), &News::Unsubscribed)
        );
        assert_ne!(both[0].id, both[1].id);
        assert_eq!(told(b"id:1 stat:EXPIRED err:002")[0].news.suppresses(), Some("bounced"));
        assert_eq!(told(b"id:1 stat:DELIVRD err:001")[0].news, News::Delivered);
    }

    #[test]
    fn every_state_has_its_news() {
        for (state, label) in [
            (1, None),
            (2, Some("delivered")),
            (3, Some("bounced")),
            (4, Some("bounced")),
            (5, Some("bounced")),
            (6, Some("accepted")),
            (7, None),
            (8, Some("bounced")),
        ] {
            let told = state_name(state).and_then(news);
            assert_eq!(told.as_ref().map(News::as_str), label, "{state}");
            assert!(told.is_none_or(|told| told.suppresses().is_none()), "{state}");
        }
        assert_eq!((state_name(0), state_name(9)), (None, None));
    }

    #[test]
    fn ids_in_hexadecimal_meet_those_in_decimal() {
        assert_eq!(HEX.of_answer("0000000A"), HEX.of_receipt("0000000010"));
        assert_eq!(HEX.of_answer("0000000A").as_deref(), Some("10"));
        assert_eq!(HEX.of_answer("not-hex"), HEX.of_receipt("not-hex"));
        assert_eq!(PLAIN.of_answer("0000000A").as_deref(), Some("0000000A"));
        assert_eq!(PLAIN.of_answer("a b").as_deref(), Some("a_b"), "ids are told apart by blanks");
        assert_eq!(PLAIN.of_answer(" "), None);
    }

    #[test]
    fn replies_are_told_from_opting_out() {
        let told = read(PLAIN, &deliver(Kind::Reply, b"Thanks")).unwrap();
        let address = "+8613800000001".to_owned();
        assert_eq!(told.about, About::Address { channel: Channel::Sms, address });
        assert_eq!(told.news, News::Replied);
        let td = Deliver { data_coding: 8, ..deliver(Kind::Reply, b"\x90\0\x8b\xa2") };
        assert_eq!(read(PLAIN, &td).unwrap().news, News::Unsubscribed);
        let first = Deliver { has_header: true, ..deliver(Kind::Reply, b"\x05\0\x03\x09\x02\x01stop") };
        assert_eq!(read(PLAIN, &first).unwrap().news, News::Unsubscribed);
        let second = Deliver { has_header: true, ..deliver(Kind::Reply, b"\x05\0\x03\x09\x02\x02stop") };
        assert_eq!(read(PLAIN, &second), None);
        let nobody = Deliver { source: "SHOP".to_owned(), ..deliver(Kind::Reply, b"stop") };
        assert_eq!(read(PLAIN, &nobody), None);
    }
}
