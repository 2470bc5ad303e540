//! Text messages from a job in RabbitMQ to receipts in the report: each provider against its simulator, with the faults
//! that the simulator's script asks for.

mod aliyun;
mod by_npm;
mod smpp;
mod tencent;
mod twilio;

use campaignd::model::Channel;
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::sms::segments;
use serde_json::{Value, json};

use crate::harness::books::{Books, Fates, Tally};
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::free_address;
use crate::harness::http::get;
use crate::harness::publish::publish;
use crate::services::wait::eventually;

/// Of a contact, by its number: in one alphabet and the other, short, and so long that its text needs two parts.
fn name(i: usize) -> String {
    match i % 4 {
        0 => "王芳".to_owned(),
        1 => format!("Ann {i}"),
        2 => "欧阳".repeat(30),
        _ => "Maximilian ".repeat(10) + "€",
    }
}

/// Where each is a customer: two shops, one of them far away and with a long name.
fn shop(i: usize) -> &'static str {
    if i.is_multiple_of(4) {
        "浦东新区世纪大道一百号三楼东侧扶梯旁边的花园商店旗舰店新址，地铁二号线六号口步行五分钟"
    } else {
        "静安"
    }
}

fn id(i: usize) -> String {
    format!("C-{i:05}")
}

/// In mainland China.
fn phone(i: usize) -> String {
    format!("+86138{i:08}")
}

/// Some receipts come before the answer, some late, each twice.
fn disorder(plan: Plan) -> Plan {
    Plan { early: 0.05, repeated: 1.0, late: 0.1, connections: 8, ..plan }
}

/// Sends texts to `people` contacts with consent, `C-00001` and so on.
struct TextShop {
    _daemon: Daemon,
    people: usize,
    books: Books,
    setup: Setup,
}

impl TextShop {
    /// `accounts` are sections of the configuration, the template's name is `spring`.
    async fn open(accounts: &str, template: &str, people: usize) -> TextShop {
        // No mail leaves.
        let setup = Setup::new(free_address(), accounts).await;
        setup.write("templates/spring/template.toml", template);
        let lines = (1..=people).map(|i| format!("{},{},{},{}\n", id(i), phone(i), name(i), shop(i)));
        let csv: String = std::iter::once("external_id,phone,name,shop\n".to_owned()).chain(lines).collect();
        setup.write("people.csv", &csv);
        let daemon = Daemon::start(&setup).await;
        let output = setup.cli(&["contacts", "import", "people.csv", "--consent"]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        TextShop { _daemon: daemon, people, books: Books::of(&setup.store_url), setup }
    }

    fn hook(&self, path: &str) -> String {
        format!("http://{}/hooks/{path}", self.setup.public)
    }

    /// A marketing campaign by RabbitMQ, with `more` over it.
    async fn campaign(&self, id: &str, audience: Value, more: Value) {
        let mut job = json!({"type": "campaign", "id": id, "channel": "sms", "purpose": "marketing",
            "template": "spring", "audience": audience});
        job.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.publish("jobs", &job).await;
    }

    /// A single urgent message by RabbitMQ, counted under `orders`.
    async fn message(&self, id: &str, to: Value) {
        let job = json!({"type": "message", "id": id, "campaign": "orders", "channel": "sms", "purpose": "service",
            "template": "spring", "to": to,
            "data": {"name": "Ann", "shop": "静安", "discount": "八折"}});
        self.publish("messages", &job).await;
    }

    /// Waits until so many messages of `orders` are delivered.
    async fn orders_delivered(&self, messages: i64) {
        let mut orders = Tally::new();
        while orders != Tally::from([("delivered".to_owned(), messages)]) {
            orders = eventually(&format!("the orders go on: {orders:?}"), async || {
                let now = self.books.tally("orders").await;
                (now != orders).then_some(now)
            })
            .await;
        }
        self.books.assert_balanced("orders").await;
    }

    async fn publish(&self, routing_key: &str, job: &Value) {
        let options = ["--exchange", "campaignd", "--routing-key", routing_key];
        assert_eq!(publish(&self.setup.amqp_url, &options, &job.to_string()).await, Ok(1));
    }

    /// The fates of all, as `fate` has them.
    fn fates(&self, fate: impl Fn(usize) -> String) -> Fates {
        (1..=self.people).map(|i| (id(i), fate(i))).collect()
    }

    /// Waits as long as receipts come, and asserts what became of everyone.
    async fn settle(&self, campaign: &str, expected: &Fates) {
        let wanted = tally(expected);
        let mut missing = i64::MAX;
        while missing > 0 {
            missing = eventually(&format!("receipts of {campaign}, {missing} are missing"), async || {
                let now = self.books.tally(campaign).await;
                let reached = wanted.iter().map(|(fate, n)| now.get(fate).copied().unwrap_or(0).min(*n));
                let left = wanted.values().sum::<i64>() - reached.sum::<i64>();
                (left < missing).then_some(left)
            })
            .await;
        }
        self.assert_fates(campaign, expected).await;
    }

    async fn assert_fates(&self, campaign: &str, expected: &Fates) {
        let fates = self.books.fates(campaign).await;
        let differ = fates.iter().filter(|(id, fate)| expected.get(*id) != Some(fate));
        let differ: Vec<_> = differ.map(|(id, fate)| (id, fate, expected.get(id))).take(9).collect();
        assert!(&fates == expected, "{differ:?}");
        self.books.assert_balanced(campaign).await;
    }

    /// The admin API's report says the same, and counts these segments.
    async fn assert_report(&self, campaign: &str, expected: &Fates, segments: u64) {
        let path = format!("/v1/campaigns/{campaign}/report");
        let answer = get(self.setup.admin, &path).await.expect("an answer");
        let report: Value = serde_json::from_str(answer.body()).expect("a report");
        let count = |fate: &dyn Fn(&str) -> bool| expected.values().filter(|it| fate(it)).count();
        assert_eq!(report["targeted"], expected.len());
        assert_eq!(report["delivered"], count(&|fate| fate == "delivered"));
        assert_eq!(report["sent"], count(&is_sent));
        let mut told = Tally::new();
        for row in report["reasons"].as_array().unwrap() {
            let (state, reason) = (row["state"].as_str().unwrap(), row["reason"].as_str().unwrap());
            told.insert(format!("{state}/{reason}"), row["count"].as_i64().unwrap());
        }
        let reasons = tally(expected).into_iter().filter(|(fate, _)| fate.contains('/'));
        assert_eq!(told, reasons.collect());
        assert_eq!(report["segments"], segments);
        println!("{campaign}: {}", json!({"states": report["states"], "segments": segments}));
    }

    /// Waits until `i` has left the channel.
    async fn assert_unsubscribed(&self, i: usize, gone: bool) {
        eventually(&format!("the contact {i} is gone: {gone}"), async || {
            let contact = self.books.contact(&id(i)).await;
            let address = contact.addresses.into_iter().find(|address| address.channel == Channel::Sms);
            (address.expect("a number").unsubscribed_at.is_some() == gone).then_some(())
        })
        .await;
    }
}

fn is_sent(fate: &str) -> bool {
    ["accepted", "delivered", "bounced"].contains(&fate.split('/').next().unwrap())
}

fn tally(fates: &Fates) -> Tally {
    let mut tally = Tally::new();
    for fate in fates.values() {
        *tally.entry(fate.clone()).or_default() += 1;
    }
    tally
}

/// What the provider bills or may bill: the parts of what it took and of what is in doubt, counted by the simulators'
/// own hand.
fn billed(fates: &Fates, text: impl Fn(usize) -> String) -> u64 {
    let of = |i: usize| u64::from(segments(&text(i)));
    let number = |id: &str| id.trim_start_matches("C-").parse().expect("a number");
    let paid = fates.iter().filter(|(_, fate)| is_sent(fate) || fate.starts_with("unknown"));
    paid.map(|(id, _)| of(number(id))).sum()
}
