//! What users bring: campaigns and messages on any channel, thrown by dice.

use campaignd::dispatch::Limit;
use campaignd::model::job::Job;
use campaignd::model::{Channel, Lane, Rates};
use campaignd::render::TemplateSource;
use campaignd::store::jobs::{PinnedTemplate, Submission};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::setting::ChannelSetting;

/// Contacts `P1`, `P2`, ... that every run begins with.
pub(super) const PEOPLE: usize = 14;

/// A campaign, with what the law is told of it.
pub(super) struct Campaign {
    pub(super) job: Value,
    /// How many deliveries its list makes; `None` where it has none.
    pub(super) entries: Option<usize>,
    pub(super) limit: Limit,
}

pub(super) fn campaign(dice: &mut Rng, id: &str, setting: &ChannelSetting, now: Timestamp) -> Campaign {
    let n = dice.usize(1..12);
    let (audience, entries) = match dice.u8(0..3) {
        0 => (json!({"all": true}), None),
        1 => {
            let ids = (0..n).map(|_| format!("P{}", dice.usize(1..PEOPLE + 3)));
            (json!({"contacts": ids.collect::<Vec<_>>()}), Some(n))
        }
        _ => {
            let people = (0..n).map(|_| json!({"address": address(setting.channel, dice.usize(1..30))}));
            (json!({"recipients": people.collect::<Vec<_>>(), "consent": true}), Some(n))
        }
    };
    let mut job = json!({"type": "campaign", "id": id, "channel": setting.channel.as_str(),
        "purpose": "marketing", "template": "t", "audience": audience, "data": {"long": dice.u8(0..3) == 0}});
    let later = |seconds| (now + SignedDuration::from_secs(seconds)).to_string();
    if dice.u8(0..4) == 0 {
        job["send_at"] = json!(later(dice.i64(1..9)));
    }
    if dice.u8(0..4) == 0 {
        job["expires_at"] = json!(later(dice.i64(9..60)));
    }
    name_an_account(dice, setting, &mut job);
    let rate = ["", "", "3/s", "20/s", "200/s"][dice.usize(0..5)];
    let burst = [None, Some(1), Some(6)][dice.usize(0..3)].filter(|_| !rate.is_empty());
    if !rate.is_empty() {
        job["rate"] = json!(rate);
    }
    if let Some(burst) = burst {
        job["burst"] = json!(burst);
    }
    let rates = Rates(rate.split_terminator(',').map(|rate| rate.parse().unwrap()).collect());
    let limit = Limit { rates, burst: burst.and_then(std::num::NonZeroU32::new) };
    Campaign { job, entries, limit }
}

/// A message of the channel's standing campaign.
pub(super) fn message(dice: &mut Rng, number: usize, setting: &ChannelSetting) -> Value {
    let channel = setting.channel.as_str();
    let lane = [Lane::Transactional, Lane::Bulk][dice.usize(0..2)];
    let mut job = json!({"type": "message", "id": format!("m{number}"), "campaign": format!("standing-{channel}"),
        "channel": channel, "purpose": "service", "template": "t", "data": {"long": false},
        "to": {"external_id": format!("P{}", dice.usize(1..=PEOPLE))}, "lane": lane.as_str()});
    name_an_account(dice, setting, &mut job);
    job
}

fn name_an_account(dice: &mut Rng, setting: &ChannelSetting, job: &mut Value) {
    if dice.u8(0..4) == 0 {
        job["provider"] = json!(setting.accounts[dice.usize(0..setting.accounts.len())].name);
    }
}

pub(super) fn address(channel: Channel, n: usize) -> String {
    match channel {
        Channel::Sms => format!("+861380013{:04}", 8_000 + n),
        _ => format!("p{n}@example.com"),
    }
}

/// With what each run's template makes of it: a message, of two segments where the job says so.
pub(super) fn submission(job: &Value) -> Submission {
    let read = Job::read(&serde_json::to_vec(job).unwrap()).unwrap();
    Submission {
        job: read.job,
        content_hash: read.content_hash,
        template: Some(template()),
        purpose_forbidden: false,
        apps: None,
    }
}

fn template() -> PinnedTemplate {
    let words = "Hello {{external_id}}";
    let manifest = format!(
        "[email]\nsubject = \"Hello\"\ntext = \"hello.txt.hbs\"\n[sms]\ntext = \"{words}{{{{#if long}}}}{}{{{{/if}}}}\"\n",
        "!".repeat(200)
    );
    let files = [("template.toml", manifest), ("hello.txt.hbs", words.to_owned())];
    let files = files.map(|(path, text)| (path.to_owned(), text)).into();
    let source = TemplateSource { name: "t".to_owned(), files };
    PinnedTemplate {
        hash: source.hash(),
        name: source.name.clone(),
        source: serde_json::to_value(&source).unwrap(),
        links: Vec::new(),
    }
}
