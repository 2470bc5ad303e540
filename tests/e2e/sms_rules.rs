//! Marketing by text message within its hours, and with what the channel's rules want of a text.

use campaignd::model::{CampaignStatus, Channel};
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::twilio::{Options, Twilio};
use serde_json::{Value, json};

use crate::harness::books::Books;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::http::post;
use crate::harness::mail::RecordingSink;
use crate::services::wait::eventually;

const PEOPLE: usize = 300;

fn id(i: usize) -> String {
    format!("C-{i:05}")
}

fn number(i: usize) -> String {
    format!("+86138{i:08}")
}

struct Sms {
    daemon: Daemon,
    simulator: Twilio,
    setup: Setup,
    books: Books,
}

/// Hours that are open, or closed, for the next five hours, by a clock on which it is noon now.
fn hours() -> [String; 2] {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    // `Etc/GMT+5` is five hours behind UTC.
    let behind = now.hour() - 12;
    ["06:00-18:00", "18:00-06:00"]
        .map(|hours| format!("hours = \"{hours}\"\ntime_zone = \"Etc/GMT{behind:+}\"\n"))
}

impl Sms {
    async fn open(rate: &str, rules: &str) -> Sms {
        // Books are balanced while nothing more comes.
        let options = Options { receipts: Plan { lost: 1.0, ..Plan::default() }, ..Options::default() };
        let simulator = Twilio::start("127.0.0.1:0", options).await.unwrap();
        let more = format!(
            "[channels.sms]\nproviders = [\"tw\"]\n{rate}\n[channels.sms.rules]\n{rules}\n[providers.tw]\n\
             kind = \"twilio\"\naccount_sid = \"ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\nauth_token = \"test_auth_token\"\n\
             from = \"+15557122661\"\nbase_url = \"http://{}\"\n",
            simulator.addr()
        );
        let relay = RecordingSink::start().await;
        let setup = Setup::without_broker(relay.address(), &more).await;
        for (name, text) in [
            ("sale", "【Shop】{{name}}, sale! 拒收请回复R"),
            ("bare", "{{name}}, sale! {{default end \\\"bye\\\"}}"),
            ("plain", "【Shop】{{name}}, sale!"),
        ] {
            let template = format!("[sms]\ntext = \"{text}\"\n");
            setup.write(&format!("templates/{name}/template.toml"), &template);
        }
        let daemon = Daemon::start(&setup).await;
        let books = Books::of(&setup.store_url);
        let sms = Sms { simulator, setup, daemon, books };
        let people: Vec<Value> = (1..=PEOPLE)
            .map(|i| {
                let address = json!({"channel": "sms", "address": number(i), "consent": true});
                json!({"external_id": id(i), "attributes": {"name": id(i)}, "addresses": [address]})
            })
            .collect();
        assert_eq!(sms.submit(json!({"type": "contacts", "id": "people", "upsert": people})).await.0, 202);
        sms
    }

    async fn submit(&self, job: Value) -> (u16, String) {
        let answer = post(self.setup.admin, "/v1/jobs", &job.to_string()).await.expect("an answer");
        (answer.status().as_u16(), answer.body().to_string())
    }

    async fn campaign(&self, id: &str, template: &str, purpose: &str) -> (u16, String) {
        let job = json!({"type": "campaign", "id": id, "channel": Channel::Sms, "purpose": purpose,
            "template": template, "audience": {"all": true}});
        self.submit(job).await
    }

    async fn message(&self, id: &str, purpose: &str, to: usize) {
        let job = json!({"type": "message", "id": id, "campaign": format!("single-{purpose}"), "channel": Channel::Sms,
            "purpose": purpose, "template": "sale", "to": {"external_id": self::id(to)}});
        let (status, body) = self.submit(job).await;
        assert_eq!(status, 202, "{body}");
    }

    /// Waits until so many service messages are accepted.
    async fn service(&self, messages: i64) {
        eventually("service messages", async || {
            let accepted = self.books.tally("single-service").await.get("accepted").copied();
            (accepted.unwrap_or_default() >= messages).then_some(())
        })
        .await;
    }

    async fn got(&self, person: usize, messages: u32) {
        eventually("a message", async || {
            (self.simulator.tally().to(&number(person)) >= messages).then_some(())
        })
        .await;
    }

    async fn change_hours(&mut self, from: &str, to: &str) {
        let config = std::fs::read_to_string(self.setup.path().join("config.toml")).unwrap();
        self.setup.write("config.toml", &config.replace(from, to));
        let reloads = |log: &str| log.matches("were read again").count();
        let before = reloads(&self.daemon.process.log());
        self.daemon.process.sighup();
        eventually("the reload", async || (reloads(&self.daemon.process.log()) > before).then_some(())).await;
    }
}

#[tokio::test]
async fn marketing_waits_for_its_hours_and_service_does_not() {
    let [open, closed] = hours();
    let mut sms = Sms::open("rate = \"30/s\"", &closed).await;
    assert_eq!(sms.campaign("sale", "sale", "marketing").await.0, 202);
    sms.message("m-1", "marketing", 1).await;
    sms.message("s-1", "service", 2).await;
    sms.service(1).await;
    eventually("planning", async || {
        (sms.books.tally("sale").await.get("planned").copied() == i64::try_from(PEOPLE).ok()).then_some(())
    })
    .await;
    sms.message("s-2", "service", 2).await;
    sms.service(2).await;
    assert_eq!(sms.simulator.tally().counts().messages, 2, "service alone");
    assert_eq!(sms.books.status("sale").await, Some(CampaignStatus::Running));

    sms.change_hours(&closed, &open).await;
    sms.got(1, 1).await;
    sms.simulator.tally().received(20).await;
    sms.change_hours(&open, &closed).await;
    // What was dealt when the hours ended goes on; by the second message it has.
    let mut sent = Vec::new();
    for n in 3..=5 {
        sms.message(&format!("s-{n}"), "service", 2).await;
        sms.service(n).await;
        sent.push(sms.simulator.tally().counts().messages);
    }
    assert!(sent[2] == sent[1] + 1 && sent[2] < PEOPLE as u64, "{sent:?}: service alone");
    sms.change_hours(&closed, &open).await;
    let fates = sms.books.finished("sale").await;
    assert!(fates.len() == PEOPLE && fates.values().all(|fate| fate == "accepted"), "{fates:?}");
    let counts = sms.simulator.tally().counts();
    let singles = 1 + 5;
    assert_eq!(counts.messages, PEOPLE as u64 + singles, "nobody gets a message twice");
}

#[tokio::test]
async fn a_text_has_what_the_rules_want_or_is_not_sent() {
    let sms = Sms::open("", "signature = true\nopt_out = [\"拒收请回复R\", \"bye\"]\n").await;
    let (status, body) = sms.campaign("c-1", "plain", "marketing").await;
    assert!(
        status == 422 && body.contains("plain/template.toml:2") && body.contains("拒收请回复R"),
        "{body}"
    );
    assert_eq!(sms.campaign("c-2", "plain", "service").await.0, 202);
    sms.books.finished("c-2").await;
    // What only a rendered text shows.
    assert_eq!(sms.campaign("c-3", "bare", "marketing").await.0, 202);
    let fates = sms.books.finished("c-3").await;
    assert!(fates.values().all(|fate| fate == "failed/no_signature"), "{fates:?}");
    assert_eq!(sms.simulator.tally().counts().messages, PEOPLE as u64);
}
