//! A receiver of the user's own, from a job in RabbitMQ to its receipts in the report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campaignd_loadtest::callback::{Callbacks, Plan};
use campaignd_loadtest::faulty_http::{Action, Answer, Event};
use campaignd_loadtest::webhook::{Receipts, Receiver, messages};
use serde_json::{Value, json};

use crate::harness::crowd::{Crowd, fates, id};
use crate::harness::daemon::Setup;
use crate::harness::mail::RecordingSink;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TEMPLATE: &str = "[sms]\ntext = \"【Shop】{{name}}, {{points}} points\"\n";

fn phone(i: usize) -> String {
    format!("+86138{i:08}")
}

/// What the receiver took: whom it reaches under each message's id, and how often it was asked.
#[derive(Debug, Default)]
struct Bridge {
    taken: BTreeMap<String, String>,
    asked: BTreeMap<String, u32>,
    has_cut: bool,
}

impl Bridge {
    /// Takes what it does not refuse, once. Of one request that it took whole nobody hears.
    fn hears(&mut self, messages: &[Value]) -> Action {
        let results: Vec<Value> = messages.iter().map(|message| self.result(message)).collect();
        let whole = results.len() > 1 && results.iter().all(|result| result["status"] == "accepted");
        if whole && !std::mem::replace(&mut self.has_cut, true) {
            return Action::Cut;
        }
        Action::Answer(Answer::new(200, json!({"results": results}).to_string()))
    }

    fn result(&mut self, message: &Value) -> Value {
        let text = |key: &str| message[key].as_str().expect("a text").to_owned();
        let (id, to) = (text("id"), text("to"));
        let asked = self.asked.entry(id.clone()).or_default();
        *asked += 1;
        let (status, reason) = match (to, *asked) {
            (to, _) if to == phone(10) => ("rejected", "unknown_recipient"),
            (to, _) if to == phone(20) => ("rejected", "E4711"),
            (to, 1) if to == phone(30) => ("retry", "busy"),
            (to, 1) if to == phone(40) => ("throttled", "slow down"),
            (to, _) => {
                self.taken.insert(id.clone(), to);
                ("accepted", "")
            }
        };
        // No store keeps the NUL, and no index a text of any length.
        let own = format!("own\0-{id}{}", "x".repeat(5_000));
        json!({"id": id, "status": status, "reason": reason, "retry_after": 1, "ref": own})
    }
}

struct Bed {
    crowd: Crowd,
    receiver: Receiver,
    bridge: Arc<Mutex<Bridge>>,
    receipts: Callbacks<Receipts>,
}

impl Bed {
    async fn new(size: usize, more: &str) -> Bed {
        let bridge = Arc::new(Mutex::new(Bridge::default()));
        let hears = Arc::clone(&bridge);
        let script = move |event: Event<'_>| match event {
            Event::Request(request) => hears.lock().unwrap().hears(&messages(request)),
            _ => Action::Go,
        };
        let receiver = Receiver::start("127.0.0.1:0", SECRET, None, script).await.unwrap();
        let config = format!(
            "[channels.sms]\nproviders = \"bridge\"\nretry = [\"1s\", \"1s\"]\n[providers.bridge]\nkind = \"webhook\"\n\
             channel = \"sms\"\nurl = \"{}/messages\"\nsecret = \"{SECRET}\"\nbatch = 50\n{more}",
            receiver.server.url()
        );
        let setup = Setup::new(RecordingSink::start().await.address(), &config).await;
        let crowd = Crowd::gather(setup, "sms", TEMPLATE, size, phone).await;
        let plan = Plan { repeated: 0.05, late: 0.05, per_call: 20, ..Plan::default() };
        let receipts = Callbacks::start(Receipts::new(SECRET), plan);
        receipts.aim(format!("http://{}/hooks/bridge", crowd.setup.public));
        Bed { crowd, receiver, bridge, receipts }
    }

    /// The ids under which people are known to the receiver, by their phones.
    fn taken(&self) -> BTreeMap<String, String> {
        let taken = self.bridge.lock().unwrap().taken.clone();
        taken.into_iter().map(|(id, to)| (to, id)).collect()
    }

    async fn tells(&self, id: &str, receipt: Value) {
        let mut receipt = receipt;
        receipt["id"] = json!(id);
        self.receipts.send(id, Duration::ZERO, receipt).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_once_by_the_id_of_the_message_and_receipts_are_believed_when_signed() {
    const PEOPLE: usize = 2_000;
    let bed = Bed::new(PEOPLE, "idempotent = true\n").await;
    bed.crowd.send("spring").await;
    let refused = [(10, "rejected/unknown_recipient"), (20, "rejected/recipient_refused")];
    bed.crowd.assert_finished("spring", &fates(PEOPLE, "accepted", &refused)).await;
    let taken = bed.taken();
    assert_eq!((taken.len(), bed.bridge.lock().unwrap().taken.len()), (PEOPLE - 2, PEOPLE - 2));
    assert_eq!(bed.receiver.forged(), 0);
    let repeated = bed.bridge.lock().unwrap().asked.values().filter(|asked| **asked > 1).count();
    assert!(repeated > 2, "what nobody answered was asked again under its own id: {repeated}");

    let forger = Callbacks::start(Receipts::new(OTHER_SECRET), Plan::default());
    forger.aim(format!("http://{}/hooks/bridge", bed.crowd.setup.public));
    assert!(!forger.now(json!({"id": taken[&phone(1)], "status": "bounced", "bounce": "hard"})).await);

    for (phone_of, id) in &taken {
        let receipt = match phone_of {
            to if *to == phone(50) => json!({"status": "bounced", "bounce": "hard"}),
            to if *to == phone(60) => {
                json!({"status": "bounced", "bounce": "soft", "reason": "mailbox_full"})
            }
            to if *to == phone(70) => json!({"status": "bounced", "bounce": "block"}),
            _ => json!({"status": "delivered"}),
        };
        bed.tells(id, receipt).await;
    }
    bed.tells(&taken[&phone(80)], json!({"status": "complained"})).await;
    bed.tells(&taken[&phone(90)], json!({"status": "unsubscribed"})).await;
    let told =
        [(50, "bounced/unknown_recipient"), (60, "bounced/mailbox_full"), (70, "bounced/policy_refused")];
    let expected = fates(PEOPLE, "delivered", &[&refused[..], &told[..]].concat());
    bed.crowd.assert_settled("spring", &expected).await;
    bed.receipts.settled(|counts| counts.taken >= PEOPLE as u64).await;
    assert_eq!(bed.crowd.books.report("spring").await.unsubscribes, 1);

    bed.crowd.send("summer").await;
    let fates = bed.crowd.books.finished("summer").await;
    let left_out = fates.iter().filter(|(_, fate)| *fate == "excluded/suppressed");
    let left_out: BTreeSet<&str> = left_out.map(|(id, _)| id.as_str()).collect();
    assert_eq!(left_out, [10, 50, 80].map(id).iter().map(String::as_str).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubt_lasts_until_the_receiver_tells() {
    const PEOPLE: usize = 300;
    let bed = Bed::new(PEOPLE, "").await;
    bed.crowd.send("spring").await;
    let finished = bed.crowd.books.finished("spring").await;
    let doubtful = finished.values().filter(|fate| *fate == "unknown/connection_lost").count();
    assert!((1..=50).contains(&doubtful), "of one request: {doubtful}");
    assert!(bed.bridge.lock().unwrap().asked.values().filter(|asked| **asked > 1).count() <= 2);

    for id in bed.taken().values() {
        bed.tells(id, json!({"status": "accepted"})).await;
    }
    let refused = [(10, "rejected/unknown_recipient"), (20, "rejected/recipient_refused")];
    bed.crowd.assert_settled("spring", &fates(PEOPLE, "accepted", &refused)).await;
}
