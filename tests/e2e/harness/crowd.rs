//! A crowd of people on one channel: imported from a file, sent to by jobs in RabbitMQ, and what became of each of them.

use std::collections::BTreeMap;

use campaignd::model::CampaignStatus;
use serde_json::{Value, json};

use super::books::{Books, Fates, Tally};
use super::daemon::{Daemon, Setup};
use super::http::get;
use super::publish::publish;
use crate::services::wait::eventually;

#[derive(Debug)]
pub struct Crowd {
    pub daemon: Daemon,
    pub books: Books,
    pub setup: Setup,
    channel: &'static str,
}

/// The external id of a person; they are numbered from 1.
pub fn id(i: usize) -> String {
    format!("C-{i:05}")
}

impl Crowd {
    /// Starts the daemon and imports `size` people with consent, each at their own address and with the attributes `name`
    /// and `points`. The template is named `points`.
    pub async fn gather(
        setup: Setup,
        channel: &'static str,
        template: &str,
        size: usize,
        address: fn(usize) -> String,
    ) -> Crowd {
        setup.write("templates/points/template.toml", template);
        let people = (1..=size).map(|i| format!("{},{},用户 {i},{i}\n", id(i), address(i)));
        let column = if channel == "sms" { "phone" } else { channel };
        let header = format!("external_id,{column},name,points\n");
        let csv: String = std::iter::once(header).chain(people).collect();
        setup.write("people.csv", &csv);
        let daemon = Daemon::start(&setup).await;
        let output = setup.cli(&["contacts", "import", "people.csv", "--consent"]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Crowd { books: Books::of(&setup.store_url), setup, daemon, channel }
    }

    /// Hands in a service campaign to all of them by RabbitMQ.
    pub async fn send(&self, campaign: &str) {
        let job = json!({"type": "campaign", "id": campaign, "channel": self.channel, "purpose": "service",
                         "template": "points", "audience": {"all": true}});
        let options = ["--exchange", "campaignd", "--routing-key", "jobs"];
        assert_eq!(publish(&self.setup.amqp_url, &options, &job.to_string()).await, Ok(1));
    }

    /// Waits for the campaign's end and checks that each got what was expected, by the ledger and by the report.
    pub async fn assert_finished(&self, campaign: &str, expected: &Fates) {
        assert_same(&self.books.finished(campaign).await, expected);
        self.assert_reported(campaign, expected).await;
    }

    /// The same once receipts have moved what was accepted.
    pub async fn assert_settled(&self, campaign: &str, expected: &Fates) {
        self.books.ended(campaign, CampaignStatus::Finished).await;
        let wanted = tally(expected);
        let mut before = Tally::new();
        while before != wanted {
            before = eventually("another receipt", async || {
                let now = self.books.tally(campaign).await;
                (now != before).then_some(now)
            })
            .await;
        }
        assert_same(&self.books.fates(campaign).await, expected);
        self.books.assert_balanced(campaign).await;
        self.assert_reported(campaign, expected).await;
    }

    /// The report over HTTP counts the same.
    async fn assert_reported(&self, campaign: &str, expected: &Fates) {
        let path = format!("/v1/campaigns/{campaign}/report");
        let answer = get(self.setup.admin, &path).await.expect("an answer");
        let report: Value = serde_json::from_str(answer.body()).expect("a report");
        assert_eq!(report["targeted"], expected.len());
        let (mut states, mut reasons) = (BTreeMap::<&str, usize>::new(), BTreeMap::<&str, usize>::new());
        for fate in expected.values() {
            *states.entry(fate.split('/').next().unwrap_or_default()).or_default() += 1;
            if fate.contains('/') {
                *reasons.entry(fate).or_default() += 1;
            }
        }
        let told = report["states"].as_object().expect("states").iter();
        let told = told.filter_map(|(state, n)| Some((state.as_str(), usize::try_from(n.as_u64()?).ok()?)));
        assert_eq!(told.filter(|(_, n)| *n > 0).collect::<BTreeMap<_, _>>(), states);
        let told = report["reasons"].as_array().expect("reasons").iter();
        let told =
            told.map(|row| (format!("{}/{}", text(&row["state"]), text(&row["reason"])), &row["count"]));
        let wanted = reasons.into_iter().map(|(reason, n)| (reason.to_owned(), json!(n)));
        assert_eq!(
            told.map(|(reason, n)| (reason, n.clone())).collect::<BTreeMap<_, _>>(),
            wanted.collect::<BTreeMap<_, _>>()
        );
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What is expected of people who share a fate, but for some.
pub fn fates(size: usize, usual: &str, others: &[(usize, &str)]) -> Fates {
    let mut fates: Fates = (1..=size).map(|i| (id(i), usual.to_owned())).collect();
    fates.extend(others.iter().map(|(i, fate)| (id(*i), (*fate).to_owned())));
    fates
}

/// Tells of a few who differ, not of thousands who do not.
pub fn assert_same(fates: &Fates, expected: &Fates) {
    let mut differ = fates.iter().filter(|(id, fate)| expected.get(*id) != Some(fate)).peekable();
    let example = differ.peek().map(|(id, fate)| format!("{id} is {fate}, not {:?}", expected.get(*id)));
    assert_eq!((differ.count(), example, fates.len()), (0, None, expected.len()));
}

fn tally(fates: &Fates) -> Tally {
    let mut tally = Tally::new();
    for fate in fates.values() {
        *tally.entry(fate.clone()).or_default() += 1;
    }
    tally
}
