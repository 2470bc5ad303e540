//! What a call tells: how a message ended, who left, who answered.

use jiff::Timestamp;
use roxmltree::{Document, Node, ParsingOptions};

use crate::model::opt_out::opts_out;
use crate::model::receipt::{About, Bounce, News};
use crate::model::{Channel, Reason, Receipt, address};
use crate::provider::detail::masked;
use crate::provider::reference::reference;

/// A call has some ten elements, and a list of results some hundred.
const MOST_NODES: u32 = 10_000;

/// A call's fields, as far as any of them is used. Absent ones are empty.
#[derive(Debug, Default)]
pub(super) struct Notice {
    /// In safe mode, what all the other fields stand in.
    pub(super) encrypted: Option<String>,
    from: String,
    /// Seconds since 1970.
    created: Option<i64>,
    kind: String,
    event: String,
    /// `MsgId` of what recipients write, `MsgID` of what became of a message.
    id: String,
    status: String,
    content: String,
    /// What became of subscription messages.
    sent: Vec<Sent>,
}

/// One `List` of a `subscribe_msg_sent_event`.
#[derive(Debug)]
struct Sent {
    id: String,
    code: String,
    status: String,
}

impl Notice {
    /// `None` where the text is not XML, or has a DTD.
    pub(super) fn read(xml: &str) -> Option<Notice> {
        let options =
            ParsingOptions { allow_dtd: false, nodes_limit: MOST_NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(xml, options).ok()?;
        let root = document.root_element();
        let mut notice = Notice::default();
        for child in root.children().filter(Node::is_element) {
            let text = || text(child);
            match child.tag_name().name() {
                "Encrypt" => notice.encrypted = Some(text()),
                "FromUserName" => notice.from = text(),
                "CreateTime" => notice.created = text().parse().ok(),
                "MsgType" => notice.kind = text(),
                "Event" => notice.event = text(),
                "MsgId" | "MsgID" => notice.id = text(),
                "Status" => notice.status = text(),
                "Content" => notice.content = text(),
                "SubscribeMsgSentEvent" => {
                    notice.sent = child.children().filter(Node::is_element).map(Sent::read).collect();
                }
                _ => {}
            }
        }
        Some(notice)
    }
}

impl Sent {
    fn read(list: Node<'_, '_>) -> Sent {
        let field =
            |name| list.children().find(|child| child.has_tag_name(name)).map(text).unwrap_or_default();
        Sent { id: field("MsgID"), code: field("ErrorCode"), status: field("ErrorStatus") }
    }
}

/// An element's text, its blanks at both ends gone.
fn text(node: Node<'_, '_>) -> String {
    let text: String = node.children().filter_map(|child| child.text()).collect();
    text.trim().to_owned()
}

/// The receipts of the account `provider`'s notice, told at `now`; none where it tells nothing about messages.
pub(super) fn receipts(provider: &str, notice: &Notice, now: Timestamp) -> Vec<Receipt> {
    let at = Receipt::happened(notice.created.and_then(|second| Timestamp::from_second(second).ok()), now);
    let of_message = |id: &str, word: &str, news| {
        let about = About::Reference { provider: provider.to_owned(), reference: reference(id)? };
        let detail = Some(masked(word)).filter(|_| word != "success");
        Some(Receipt { id: Receipt::id(provider, id, word), about, at, news, detail })
    };
    let of_person = |key: &str, news: News, detail| {
        let address = address::canonical(Channel::Wechat, &notice.from).ok()?;
        let id = Receipt::id(provider, key, news.as_str());
        Some(Receipt { id, about: About::Address { channel: Channel::Wechat, address }, at, news, detail })
    };
    let occasion = || format!("{} {:?} {}", notice.from, notice.created, notice.event);
    match (notice.kind.as_str(), notice.event.as_str()) {
        ("event", "TEMPLATESENDJOBFINISH") => {
            of_message(&notice.id, &notice.status, ended(&notice.status)).into_iter().collect()
        }
        ("event", "subscribe_msg_sent_event") => {
            let told = notice.sent.iter();
            told.filter_map(|sent| match sent.code.as_str() {
                "0" => of_message(&sent.id, "success", News::Delivered),
                code => of_message(&sent.id, &format!("{code} {}", sent.status), refused()),
            })
            .collect()
        }
        ("event", "unsubscribe") => {
            let detail = Some("unfollowed the account".to_owned());
            of_person(&occasion(), News::Unsubscribed, detail).into_iter().collect()
        }
        ("event", _) | ("", _) => Vec::new(),
        _ => {
            let key = if notice.id.is_empty() { occasion() } else { notice.id.clone() };
            let news = if opts_out(&notice.content) { News::Unsubscribed } else { News::Replied };
            of_person(&key, news, None).into_iter().collect()
        }
    }
}

/// `success`, `failed:user block`, `failed: system failed`, the blank as it comes.
fn ended(status: &str) -> News {
    match status.strip_prefix("failed").map(|why| why.trim_start_matches([':', ' '])) {
        None if status == "success" => News::Delivered,
        Some(why) if why.starts_with("system") => {
            News::Bounced { bounce: Bounce::Soft, reason: Reason::TemporaryFailure }
        }
        _ => refused(),
    }
}

/// The recipient blocks the account: nothing is said about the openid.
fn refused() -> News {
    News::Bounced { bounce: Bounce::Block, reason: Reason::RecipientRefused }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T10:00:00Z";
    /// 2026-11-21T00:00:00Z.
    const CREATED: i64 = 1_795_219_200;

    fn told(fields: &str) -> Vec<Receipt> {
        let xml = format!(
            "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[oABC]]></FromUserName>\n\
             <CreateTime>{CREATED}</CreateTime>{fields}</xml>"
        );
        receipts("oa", &Notice::read(&xml).unwrap(), NOW.parse().unwrap())
    }

    fn event(event: &str, fields: &str) -> Vec<Receipt> {
        told(&format!("<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[{event}]]></Event>{fields}"))
    }

    fn finished(id: &str, status: &str) -> Receipt {
        let fields = format!("<MsgID>{id}</MsgID><Status><![CDATA[{status}]]></Status>");
        let [receipt] = event("TEMPLATESENDJOBFINISH", &fields).try_into().unwrap();
        receipt
    }

    fn reply(id: &str, content: &str) -> Receipt {
        let text = "<MsgType><![CDATA[text]]></MsgType>";
        let [receipt] = told(&format!("{text}<Content><![CDATA[{content}]]></Content><MsgId>{id}</MsgId>"))
            .try_into()
            .unwrap();
        receipt
    }

    fn person() -> About {
        About::Address { channel: Channel::Wechat, address: "oABC".to_owned() }
    }

    #[test]
    fn a_message_ends_delivered_or_bounced() {
        let bounced = |bounce, reason| News::Bounced { bounce, reason };
        let system = bounced(Bounce::Soft, Reason::TemporaryFailure);
        for (status, news, detail) in [
            ("success", News::Delivered, None),
            ("failed:user block", refused(), Some("failed:user block")),
            ("failed: user block", refused(), Some("failed: user block")),
            ("failed: system failed", system.clone(), Some("failed: system failed")),
            ("failed:system failed", system, Some("failed:system failed")),
            ("failed: something new", refused(), Some("failed: something new")),
        ] {
            let receipt = finished("3428411849815982087", status);
            let about =
                About::Reference { provider: "oa".to_owned(), reference: "3428411849815982087".to_owned() };
            assert_eq!((receipt.about, receipt.news, receipt.detail.as_deref()), (about, news, detail));
            assert_eq!(receipt.at.as_second(), CREATED);
        }
    }

    #[test]
    fn subscription_messages_end_in_lists() {
        let list = |id, code, status| {
            format!(
                "<List><TemplateId><![CDATA[T]]></TemplateId><MsgID>{id}</MsgID><ErrorCode>{code}</ErrorCode>\
                 <ErrorStatus><![CDATA[{status}]]></ErrorStatus></List>"
            )
        };
        let lists = [list("11", "0", "success"), list("12", "1", "fail"), list("", "0", "success")].concat();
        let receipts = event(
            "subscribe_msg_sent_event",
            &format!("<SubscribeMsgSentEvent>{lists}</SubscribeMsgSentEvent>"),
        );
        let news: Vec<_> =
            receipts.iter().map(|receipt| (&receipt.news, receipt.detail.as_deref())).collect();
        assert_eq!(news, [(&News::Delivered, None), (&refused(), Some("1 fail"))]);
    }

    #[test]
    fn who_leaves_or_asks_for_silence_is_unsubscribed() {
        let [left] = event("unsubscribe", "<EventKey></EventKey>").try_into().unwrap();
        assert_eq!((&left.about, &left.news), (&person(), &News::Unsubscribed));
        for (content, news) in
            [(" 退订。", News::Unsubscribed), ("td", News::Unsubscribed), ("谢谢", News::Replied)]
        {
            let receipt = reply("7", content);
            assert_eq!((receipt.about, receipt.news, receipt.detail), (person(), news, None), "{content}");
        }
        let picture = told("<MsgType>image</MsgType><PicUrl>http://p</PicUrl><MsgId>8</MsgId>");
        assert_eq!(picture[0].news, News::Replied);
    }

    #[test]
    fn repeats_have_the_same_id_and_others_another() {
        assert_eq!(finished("1", "success").id, finished("1", "success").id);
        assert_eq!(reply("7", "hi").id, reply("7", "hi").id);
        let left = || event("unsubscribe", "")[0].id;
        assert_eq!(left(), left());
        let ids = [
            finished("1", "success").id,
            finished("1", "failed:user block").id,
            finished("2", "success").id,
            reply("7", "hi").id,
            reply("8", "hi").id,
            reply("8", "TD").id,
            left(),
        ];
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn what_tells_nothing_about_messages_leaves_nothing() {
        for silent in
            ["subscribe", "SCAN", "CLICK", "VIEW", "subscribe_msg_popup_event", "subscribe_msg_change_event"]
        {
            assert_eq!(event(silent, "<EventKey>qrscene_1</EventKey>"), []);
        }
        assert_eq!(event("TEMPLATESENDJOBFINISH", "<Status>success</Status>"), []);
        assert_eq!(told(""), []);
    }

    #[test]
    fn instants_are_never_ahead_nor_from_before_there_was_wechat() {
        let at = |created| {
            let notice =
                Notice { created, kind: "text".to_owned(), from: "o".to_owned(), ..Notice::default() };
            receipts("oa", &notice, NOW.parse().unwrap())[0].at.to_string()
        };
        for created in [None, Some(0), Some(i64::MAX), Some(4_000_000_000)] {
            assert_eq!(at(created), NOW, "{created:?}");
        }
        assert_eq!(at(Some(CREATED)), "2026-11-21T00:00:00Z");
    }

    #[test]
    fn entities_nesting_and_damage_are_no_notice() {
        for bad in [
            "",
            "{}",
            "<xml>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><xml>&a;</xml>",
            &format!("<xml>{}</xml>", "<a/>".repeat(10_000)),
        ] {
            assert!(Notice::read(bad).is_none(), "{}", bad.len());
        }
    }
}
