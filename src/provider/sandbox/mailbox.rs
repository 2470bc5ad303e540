//! What arrived lately, for reading: the last messages of every channel, shared by all sandbox accounts.
//!
//! Bounded by number and by bytes; the oldest go first. Numbers rise in the order of arrival and are never given twice
//! while the program runs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::fate::Later;
use crate::model::{Channel, Content, DeliveryKey};

/// Bytes of text that each channel keeps, at most.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// One message that arrived.
#[derive(Debug, Clone)]
pub struct Letter {
    pub at: Timestamp,
    /// The account that took it.
    pub account: Arc<str>,
    pub channel: Channel,
    pub to: String,
    /// The campaign's id.
    pub campaign: Arc<str>,
    pub delivery: DeliveryKey,
    pub attempt: u16,
    pub content: Content,
    pub unsubscribe: Option<String>,
    /// Whether the sender heard that it was taken; otherwise the answer was lost.
    pub answered: bool,
    /// What is heard of it, or was; `None` where the account sends no receipts.
    pub later: Option<Later>,
}

/// A letter and its number.
#[derive(Debug, Clone)]
pub struct Kept {
    pub id: u64,
    pub letter: Arc<Letter>,
}

/// The last messages of every channel.
#[derive(Debug)]
pub struct Mailbox {
    keep: usize,
    rings: Mutex<Rings>,
}

#[derive(Debug, Default)]
struct Rings {
    /// The number of the last message that arrived.
    last: u64,
    channels: [Ring; Channel::ALL.len()],
}

/// One channel's, oldest first.
#[derive(Debug, Default)]
struct Ring {
    letters: VecDeque<Kept>,
    bytes: usize,
    /// How many ever arrived.
    arrived: u64,
}

impl Mailbox {
    /// Keeps `keep` messages of each channel.
    pub fn new(keep: usize) -> Self {
        Mailbox { keep, rings: Mutex::default() }
    }

    /// How many messages of each channel it keeps.
    pub fn keep(&self) -> usize {
        self.keep
    }

    /// Takes letters in; each gets the next number.
    pub fn put(&self, letters: Vec<Letter>) {
        let sized: Vec<_> = letters.into_iter().map(|letter| (size(&letter), Arc::new(letter))).collect();
        let mut gone = Vec::new();
        let mut rings = self.rings();
        let Rings { last, channels } = &mut *rings;
        for (bytes, letter) in sized {
            *last += 1;
            let Some(ring) = channels.get_mut(place(letter.channel)) else { continue };
            ring.arrived += 1;
            ring.bytes += bytes;
            ring.letters.push_back(Kept { id: *last, letter });
            while ring.letters.len() > self.keep || ring.bytes > MAX_BYTES {
                let Some(oldest) = ring.letters.pop_front() else { break };
                ring.bytes -= size(&oldest.letter);
                gone.push(oldest);
            }
        }
        // The old letters are freed after the lock.
        drop(rings);
    }

    pub fn letter(&self, id: u64) -> Option<Arc<Letter>> {
        let rings = self.rings();
        rings.channels.iter().find_map(|ring| {
            let at = ring.letters.binary_search_by_key(&id, |kept| kept.id).ok()?;
            ring.letters.get(at).map(|kept| kept.letter.clone())
        })
    }

    /// The first `limit` letters after number `after`, in the order of arrival; of one channel, or of all.
    pub fn after(&self, channel: Option<Channel>, after: u64, limit: usize) -> Vec<Kept> {
        let rings = self.rings();
        let mut found = Vec::new();
        for ring in rings.of(channel) {
            let start = ring.letters.partition_point(|kept| kept.id <= after);
            found.extend(ring.letters.range(start..).take(limit).cloned());
        }
        drop(rings);
        found.sort_unstable_by_key(|kept| kept.id);
        found.truncate(limit);
        found
    }

    /// The last `limit` letters before number `before` to addresses that contain `to` (in any case), newest first.
    pub fn newest(&self, channel: Option<Channel>, to: &str, before: u64, limit: usize) -> Vec<Kept> {
        let to = to.trim().to_lowercase();
        let rings = self.rings();
        let mut found = Vec::new();
        for ring in rings.of(channel) {
            let end = ring.letters.partition_point(|kept| kept.id < before);
            let sent_there = |kept: &&Kept| to.is_empty() || kept.letter.to.to_lowercase().contains(&to);
            found.extend(ring.letters.range(..end).rev().filter(sent_there).take(limit).cloned());
        }
        drop(rings);
        found.sort_unstable_by_key(|kept| std::cmp::Reverse(kept.id));
        found.truncate(limit);
        found
    }

    /// How many messages ever arrived on a channel.
    pub fn arrived(&self, channel: Channel) -> u64 {
        self.rings().of(Some(channel)).map(|ring| ring.arrived).sum()
    }

    /// Throws everything away; numbers and counts go on.
    pub fn clear(&self) {
        let mut rings = self.rings();
        let gone: Vec<_> = rings.channels.iter_mut().map(|ring| std::mem::take(&mut ring.letters)).collect();
        rings.channels.iter_mut().for_each(|ring| ring.bytes = 0);
        drop(rings);
        drop(gone);
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rings {
    /// The ring of one channel, or all.
    fn of(&self, channel: Option<Channel>) -> impl Iterator<Item = &Ring> {
        let wanted =
            move |(index, _): &(usize, &Ring)| channel.is_none_or(|channel| place(channel) == *index);
        self.channels.iter().enumerate().filter(wanted).map(|(_, ring)| ring)
    }
}

fn place(channel: Channel) -> usize {
    match channel {
        Channel::Email => 0,
        Channel::Sms => 1,
        Channel::Wechat => 2,
        Channel::Push => 3,
    }
}

/// The bytes of its texts.
fn size(letter: &Letter) -> usize {
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let content = match &letter.content {
        Content::Email(email) => email.subject.len() + email.text.len() + of(&email.html),
        Content::Sms(sms) => {
            let tencent = sms.tencent.iter().flat_map(|it| &it.params).map(String::len).sum::<usize>();
            of(&sms.text) + sms.aliyun.iter().flat_map(|it| &it.params).map(pair).sum::<usize>() + tencent
        }
        Content::Wechat(card) => {
            let values = card.data.iter().map(|(name, value)| pair((name, &value.value)));
            of(&card.url) + values.sum::<usize>()
        }
        Content::Push(push) => push.title.len() + push.body.len() + of(&push.url),
    };
    content + letter.to.len() + of(&letter.unsubscribe)
}

fn pair((name, value): (&String, &String)) -> usize {
    name.len() + value.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::content::{PushContent, SmsContent};
    use crate::model::{CampaignNo, ContactNo};

    fn letter(to: &str, content: Content) -> Letter {
        let channel = if matches!(content, Content::Sms(_)) { Channel::Sms } else { Channel::Push };
        Letter {
            at: Timestamp::UNIX_EPOCH,
            account: "sandbox".into(),
            channel,
            to: to.into(),
            campaign: "spring".into(),
            delivery: DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(1), occurrence: 0 },
            attempt: 1,
            content,
            unsubscribe: None,
            answered: true,
            later: None,
        }
    }

    fn sms(to: &str) -> Letter {
        letter(to, Content::Sms(SmsContent { text: Some("hello".into()), ..SmsContent::default() }))
    }

    fn push(body: &str) -> Letter {
        letter("Token", Content::Push(PushContent { body: body.into(), ..PushContent::default() }))
    }

    fn ids(found: &[Kept]) -> Vec<u64> {
        found.iter().map(|kept| kept.id).collect()
    }

    #[test]
    fn each_channel_keeps_its_last() {
        let mailbox = Mailbox::new(2);
        mailbox.put(vec![sms("+491"), push("a"), sms("+492")]);
        mailbox.put(vec![sms("+493")]);
        assert_eq!(ids(&mailbox.after(None, 0, 10)), [2, 3, 4]);
        assert_eq!(ids(&mailbox.after(Some(Channel::Sms), 0, 10)), [3, 4]);
        assert!(mailbox.letter(1).is_none());
        assert_eq!(mailbox.letter(3).unwrap().to, "+492");
        assert_eq!((mailbox.arrived(Channel::Sms), mailbox.arrived(Channel::Email)), (3, 0));
    }

    #[test]
    fn both_directions_page_on_without_gaps() {
        let mailbox = Mailbox::new(100);
        mailbox.put((0..20).map(|n| if n % 3 == 0 { push("a") } else { sms("+491") }).collect());
        let (mut up, mut down) = (Vec::new(), Vec::new());
        loop {
            let page = ids(&mailbox.after(None, up.last().copied().unwrap_or(0), 7));
            if page.is_empty() {
                break;
            }
            up.extend(page);
        }
        loop {
            let page = ids(&mailbox.newest(None, "", down.last().copied().unwrap_or(u64::MAX), 7));
            if page.is_empty() {
                break;
            }
            down.extend(page);
        }
        assert_eq!(up, (1..=20).collect::<Vec<_>>());
        down.reverse();
        assert_eq!(down, up);
    }

    #[test]
    fn addresses_are_found_by_a_part_of_them() {
        let mailbox = Mailbox::new(10);
        mailbox.put(vec![sms("+491"), sms("+862"), push("a")]);
        assert_eq!(ids(&mailbox.newest(None, " +86", u64::MAX, 10)), [2]);
        assert_eq!(ids(&mailbox.newest(None, "token", u64::MAX, 10)), [3]);
        assert!(mailbox.newest(Some(Channel::Sms), "token", u64::MAX, 10).is_empty());
    }

    #[test]
    fn large_messages_leave_room_for_fewer() {
        let mailbox = Mailbox::new(1_000);
        let body = "x".repeat(MAX_BYTES / 4);
        for _ in 0..5 {
            mailbox.put(vec![push(&body)]);
        }
        // Four bodies alone would fit, but not with their addresses.
        assert_eq!(ids(&mailbox.after(None, 0, 10)), [3, 4, 5]);
    }

    #[test]
    fn numbers_go_on_after_everything_was_thrown_away() {
        let mailbox = Mailbox::new(10);
        mailbox.put(vec![sms("+491"), sms("+492")]);
        mailbox.clear();
        assert!(mailbox.after(None, 0, 10).is_empty());
        mailbox.put(vec![sms("+493")]);
        assert_eq!(ids(&mailbox.after(None, 2, 10)), [3]);
    }
}
