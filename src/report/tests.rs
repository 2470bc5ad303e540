//! The report's own rules, over counters of any shape.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{Lane, Purpose};

fn campaign(channel: Channel) -> CampaignRecord {
    CampaignRecord {
        id: "spring".into(),
        name: Some("Spring sale".into()),
        status: CampaignStatus::Running,
        pause_cause: None,
        channel,
        purpose: Purpose::Marketing,
        lane: Lane::Bulk,
        template: "spring".into(),
        provider: None,
        rate: Vec::new(),
        send_at: None,
        expires_at: None,
        accepted_at: Timestamp::UNIX_EPOCH,
        started_at: None,
        finished_at: None,
        targeted: 0,
        sent: 0,
        settled: 0,
    }
}

/// 100 recipients: 80 sent, 8 to go of which 3 are on their way, 12 excluded.
fn counts() -> Counts {
    Counts {
        states: vec![
            (State::Planned, None, 8),
            (State::Accepted, None, 79),
            (State::Bounced, Some(Reason::MailboxFull), 1),
            (State::Excluded, Some(Reason::Duplicate), 2),
            (State::Excluded, Some(Reason::NoConsent), 10),
        ],
        sending: 3,
        sent: 80,
        opens: Engaged { unique: 40, total: 70, machine: 5 },
        clicks: Engaged { unique: 10, total: 12, machine: 30 },
        unsubscribes: 2,
        complaints: 0,
        segments: 0,
        links: vec![LinkCount { url: "https://shop.example/a".into(), clicks: 12, unique: 10 }],
        series: vec![HourCount { hour: Timestamp::UNIX_EPOCH, sent: 80, opens: 70, clicks: 12 }],
    }
}

fn report(channel: Channel, counts: Counts) -> Report {
    Report::new(&campaign(channel), counts, Timestamp::UNIX_EPOCH)
}

fn with_receipts(mut counts: Counts) -> Counts {
    counts.states[1].2 = 29;
    counts.states.push((State::Delivered, None, 50));
    counts
}

#[test]
fn every_state_is_there_and_sending_is_not_planned() {
    let json = serde_json::to_value(report(Channel::Email, counts())).unwrap();
    let states = json["states"].as_object().unwrap();
    assert_eq!(states.len(), State::ALL.len());
    assert_eq!(
        (&states["planned"], &states["sending"], &states["failed"]),
        (&json!(5), &json!(3), &json!(0))
    );
    assert_eq!((&json["targeted"], &json["sent"]), (&json!(100), &json!(80)));
    assert_eq!(
        json["reasons"],
        json!([
            {"state": "bounced", "reason": "mailbox_full", "count": 1},
            {"state": "excluded", "reason": "no_consent", "count": 10},
            {"state": "excluded", "reason": "duplicate", "count": 2},
        ])
    );
}

#[test]
fn a_relay_without_receipts_has_rates_of_sent() {
    let json = serde_json::to_value(report(Channel::Email, counts())).unwrap();
    assert_eq!((&json["delivered"], &json["base"]), (&Value::Null, &json!("sent")));
    assert_eq!(json["rates"]["delivery"], json!({"numerator": null, "denominator": 80, "value": null}));
    assert_eq!(json["rates"]["open"], json!({"numerator": 40, "denominator": 80, "value": 0.5}));
    assert_eq!(json["rates"]["bounce"], json!({"numerator": 1, "denominator": 80, "value": 0.0125}));
    assert_eq!(json["opens"], json!({"unique": 40, "total": 70, "machine": 5}));
}

#[test]
fn with_receipts_rates_are_of_delivered() {
    let report = report(Channel::Email, with_receipts(counts()));
    assert_eq!((report.delivered, report.base), (Some(50), Base::Delivered));
    assert_eq!(report.rates.delivery.value, Some(0.625));
    assert_eq!(report.rates.open, Ratio::of(Some(40), 50));
    assert_eq!(report.rates.click_to_open, Ratio::of(Some(10), 40));
    assert_eq!(report.rates.receipt, Ratio::of(Some(51), 80));
}

#[test]
fn what_a_channel_cannot_observe_is_null() {
    for channel in [Channel::Sms, Channel::Wechat, Channel::Push] {
        let json = serde_json::to_value(report(channel, counts())).unwrap();
        assert_eq!((&json["opens"], &json["complaints"]), (&Value::Null, &Value::Null), "{channel}");
        assert_eq!(json["clicks"]["unique"], 10, "{channel}");
        assert_eq!(json["rates"]["open"]["value"], Value::Null);
        assert_eq!(
            json["rates"]["click_to_open"],
            json!({"numerator": null, "denominator": null, "value": null})
        );
    }
    assert_eq!(report(Channel::Sms, counts()).delivered, Some(0));
    assert_eq!(report(Channel::Push, counts()).delivered, None);
    assert_eq!(report(Channel::Push, with_receipts(counts())).delivered, Some(50));
    assert_eq!(report(Channel::Email, counts()).complaints, Some(0));
    let mut silent = counts();
    silent.states.retain(|(state, ..)| *state != State::Bounced);
    assert_eq!(report(Channel::Email, silent.clone()).rates.bounce.numerator, None);
    assert_eq!(report(Channel::Sms, silent).rates.bounce.numerator, Some(0));
}

#[test]
fn a_campaign_without_anything_has_no_rates() {
    let report = report(Channel::Email, Counts::default());
    assert_eq!(report.targeted, 0);
    assert!(report.rates.named().iter().all(|(_, rate)| rate.value.is_none()));
    assert!(report.table().contains("targeted"));
}

#[test]
fn csv_has_every_number_on_a_line_of_its_own() {
    let csv = report(Channel::Email, counts()).csv();
    for line in [
        "section,name,detail,value,numerator,denominator",
        "campaign,name,,Spring sale,,",
        "count,targeted,,100,,",
        "count,delivered,,,,",
        "count,opens,machine,5,,",
        "state,sending,,3,,",
        "reason,excluded,no_consent,10,,",
        "rate,open,,0.5,40,80",
        "link,https://shop.example/a,clicks,12,,",
        "series,1970-01-01T00:00:00Z,sent,80,,",
    ] {
        assert!(csv.lines().any(|found| found == line), "{line}\n{csv}");
    }
    let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
    assert!(reader.records().all(|record| record.unwrap().len() == 6));
}

#[test]
fn the_table_shows_the_funnel_and_its_exits() {
    let mut wide = counts();
    wide.links[0].url.push_str("/\u{1b}[2Jx");
    wide.series = (0..30)
        .map(|hour| HourCount {
            hour: Timestamp::from_second(hour * 3600).unwrap(),
            sent: 1,
            opens: 0,
            clicks: 0,
        })
        .collect();
    let table = report(Channel::Email, wide).table();
    let squeezed: Vec<String> =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "spring (Spring sale): running by email, as of 1970-01-01T00:00:00Z",
        "sent 80 80.00 % ███████████████████░░░░░",
        "delivered n/a n/a ░░░░░░░░░░░░░░░░░░░░░░░░",
        "excluded 12 12.00 %",
        "no_consent 10 10.00 %",
        "open 50.00 % 40 80 sent",
        "click to open 25.00 % 10 40 opened",
        "6 earlier hours: see --format json or csv",
    ] {
        assert!(squeezed.iter().any(|found| found == line), "{line}\n{table}");
    }
    assert!(!table.contains('\u{1b}'));
}

prop_compose! {
    /// Counters as a store keeps them: each person clicks after an open, each event needs a delivery that was sent.
    fn any_counts()(
        planned in 0..1_000i64, accepted in 0..1_000i64, delivered in 0..1_000i64, bounced in 0..1_000i64,
        excluded in 0..1_000i64, portions in prop::array::uniform3(0.0..=1.0f64),
    ) -> Counts {
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]
        let part = |portion: f64, of: i64| (portion * of as f64) as i64;
        let sent = accepted + delivered + bounced;
        let opened = part(portions[0], sent);
        let clicked = part(portions[1], opened);
        Counts {
            states: vec![
                (State::Planned, None, planned), (State::Accepted, None, accepted), (State::Delivered, None, delivered),
                (State::Bounced, None, bounced), (State::Excluded, Some(Reason::NoConsent), excluded),
            ],
            sending: part(portions[2], planned),
            sent,
            opens: Engaged { unique: opened, total: opened, machine: 0 },
            clicks: Engaged { unique: clicked, total: clicked, machine: 0 },
            ..Counts::default()
        }
    }
}

proptest! {
    #[test]
    fn nobody_is_lost_and_no_share_of_a_whole_passes_one(
        counts in any_counts(), channel in prop::sample::select(Channel::ALL),
    ) {
        let all: i64 = counts.states.iter().map(|(_, _, n)| n).sum();
        let report = report(channel, counts);
        prop_assert_eq!(report.states.values().sum::<i64>(), report.targeted);
        prop_assert_eq!(report.targeted, all);
        prop_assert!(report.states.values().all(|n| *n >= 0));
        let Rates { delivery, click_to_open, bounce, receipt, .. } = report.rates;
        for rate in [delivery, click_to_open, bounce, receipt] {
            prop_assert!(rate.value.is_none_or(|value| (0.0..=1.0).contains(&value)), "{rate:?}");
        }
        for (_, rate) in report.rates.named() {
            prop_assert_eq!(rate.value.is_some(), rate.numerator.is_some() && rate.denominator.is_some_and(|n| n > 0));
        }
    }
}
