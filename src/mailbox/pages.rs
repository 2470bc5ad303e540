//! The pages' templates and what they show.

use askama::Template;

use super::json::outcome;
use crate::model::{Channel, Content};
use crate::provider::sandbox::{Kept, Letter, Mailbox};

/// Characters of a message in its line of the list.
const GIST: usize = 140;

/// Everything that the mailbox holds, newest first.
#[derive(Template)]
#[template(path = "mailbox/list.html")]
pub(super) struct ListPage<'a> {
    tabs: Vec<Tab>,
    /// The word in the query; empty for all.
    channel: &'static str,
    to: &'a str,
    lines: Vec<Line<'a>>,
    /// Where older messages are, if there are any.
    older: Option<u64>,
    /// The newest are shown, so that new ones show up.
    live: bool,
    keep: usize,
}

struct Tab {
    /// The word in the query.
    channel: &'static str,
    label: &'static str,
    arrived: u64,
    chosen: bool,
}

struct Line<'a> {
    id: u64,
    at: String,
    channel: &'static str,
    to: &'a str,
    campaign: &'a str,
    gist: String,
    marks: Vec<Mark>,
}

/// A word about a message that stands out where it is not the usual one.
struct Mark {
    word: &'static str,
    good: bool,
}

impl<'a> ListPage<'a> {
    pub(super) fn new(
        mailbox: &Mailbox,
        letters: &'a [Kept],
        channel: Option<Channel>,
        to: &'a str,
        paged: bool,
        more: bool,
    ) -> Self {
        let arrived = |channel| mailbox.arrived(channel);
        let mut tabs = vec![Tab {
            channel: "",
            label: "All",
            arrived: Channel::ALL.iter().copied().map(arrived).sum(),
            chosen: channel.is_none(),
        }];
        tabs.extend(Channel::ALL.iter().map(|tab| Tab {
            channel: tab.as_str(),
            label: label(*tab),
            arrived: arrived(*tab),
            chosen: channel == Some(*tab),
        }));
        ListPage {
            tabs,
            channel: channel.map_or("", Channel::as_str),
            to,
            lines: letters.iter().map(line).collect(),
            older: letters.last().filter(|_| more).map(|last| last.id),
            live: !paged,
            keep: mailbox.keep(),
        }
    }
}

fn line(kept: &Kept) -> Line<'_> {
    let letter = &kept.letter;
    Line {
        id: kept.id,
        at: letter.at.strftime("%H:%M:%S").to_string(),
        channel: letter.channel.as_str(),
        to: &letter.to,
        campaign: &letter.campaign,
        gist: gist(&letter.content).chars().take(GIST).collect(),
        marks: marks(letter),
    }
}

/// One message.
#[derive(Template)]
#[template(path = "mailbox/letter.html")]
pub(super) struct LetterPage<'a> {
    id: u64,
    label: &'static str,
    title: String,
    letter: &'a Letter,
    at: String,
    marks: Vec<Mark>,
}

impl<'a> LetterPage<'a> {
    pub(super) fn new(id: u64, letter: &'a Letter) -> Self {
        let title = match &letter.content {
            Content::Email(email) => email.subject.clone(),
            Content::Push(push) => push.title.clone(),
            Content::Sms(_) | Content::Wechat(_) => format!("{} to {}", label(letter.channel), letter.to),
        };
        LetterPage {
            id,
            label: label(letter.channel),
            title,
            letter,
            at: letter.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            marks: marks(letter),
        }
    }
}

fn label(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "E-mail",
        Channel::Sms => "SMS",
        Channel::Wechat => "WeChat",
        Channel::Push => "Push",
    }
}

fn gist(content: &Content) -> String {
    match content {
        Content::Email(email) => email.subject.clone(),
        Content::Sms(sms) => {
            let aliyun = sms.aliyun.as_ref().map(|template| &template.template_code);
            let tencent = sms.tencent.as_ref().map(|template| &template.template_id);
            sms.text.as_ref().or(aliyun).or(tencent).cloned().unwrap_or_default()
        }
        Content::Wechat(card) => {
            let values: Vec<&str> = card.data.values().map(|field| field.value.as_str()).collect();
            values.join(" · ")
        }
        Content::Push(push) => format!("{}: {}", push.title, push.body),
    }
}

fn marks(letter: &Letter) -> Vec<Mark> {
    let answer = Mark { word: outcome(letter), good: letter.answered };
    let heard = letter.later.iter().flat_map(|later| later.words());
    let heard: Vec<_> = heard.map(|word| Mark { word, good: word == "delivered" }).collect();
    if heard.is_empty() || !letter.answered { std::iter::once(answer).chain(heard).collect() } else { heard }
}

/// A stretch of text that is a web address, or not.
#[derive(Debug, PartialEq, Eq)]
struct Stretch<'a> {
    text: &'a str,
    link: bool,
}

/// Finds the web addresses in a text, so that they can be followed; no other scheme becomes a link. An address ends at
/// the first character that may not stand in one, and punctuation at its end belongs to the sentence (RFC 3986, appendix C).
fn stretches(text: &str) -> Vec<Stretch<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min() {
        let (before, address) = rest.split_at(at);
        let end = address.find(|c: char| !c.is_ascii_graphic() || "\"<>`{}|\\^".contains(c));
        let (address, _) = address.split_at(end.unwrap_or(address.len()));
        let address = address.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '\'']);
        found.push(Stretch { text: before, link: false });
        found.push(Stretch { text: address, link: true });
        rest = rest.split_at(at + address.len()).1;
    }
    found.push(Stretch { text: rest, link: false });
    found.retain(|stretch| !stretch.text.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn links(text: &str) -> Vec<&str> {
        stretches(text).into_iter().filter(|stretch| stretch.link).map(|stretch| stretch.text).collect()
    }

    #[test]
    fn addresses_end_where_a_reader_would_end_them() {
        assert_eq!(links("see https://a.example/c/x-Y_9. Bye"), ["https://a.example/c/x-Y_9"]);
        assert_eq!(links("点击https://a.example/c/x，回T退订"), ["https://a.example/c/x"]);
        assert_eq!(
            links("(http://a.example/?a=b&c=d) http://b.example"),
            ["http://a.example/?a=b&c=d", "http://b.example"]
        );
        assert_eq!(links("javascript:alert(1) app://x ftp://y"), Vec::<&str>::new());
        assert_eq!(links("https://a.example/\"><script>"), ["https://a.example/"]);
    }

    proptest! {
        #[test]
        fn stretches_are_the_text(text in "(\\PC{0,9}|https?://|[.\"< ]){0,9}") {
            let parts = stretches(&text);
            prop_assert_eq!(&parts.iter().map(|part| part.text).collect::<String>(), &text);
            let web = |text: &str| text.starts_with("https://") || text.starts_with("http://");
            prop_assert!(parts.iter().all(|part| !part.link || web(part.text)));
        }
    }
}
