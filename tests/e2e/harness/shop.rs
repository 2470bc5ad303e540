//! A shop that mails its people: a daemon that runs, the server its mails arrive at, and its books.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::books::Books;
use super::daemon::{Daemon, Setup};
use super::http::{get, post};
use super::mail::{ClockSink, Mail, RecordingSink};
use crate::services::wait::eventually;

pub const HELLO: &str = "[email]\nsubject = \"Hello {{name}}\"\nhtml = \"email.html.hbs\"\n";
pub const HELLO_HTML: &str = r#"<p>Hello {{name}}, this is for {{external_id}}.</p>
<a href="https://shop.example/spring?ref=mail&amp;page=1">Spring</a>
<a href="https://shop.example/for/{{external_id}}?name={{url_encode name}}">Yours</a>
<a href="{{unsubscribe_url}}">Unsubscribe</a>"#;

/// Opens and clicks of a test come at once, and count as a person's all the same.
pub const ONLY_PEOPLE: &str =
    "[tracking]\nmachine_within = \"off\"\nmachine_links_within = \"off\"\nmachine_addresses = \"off\"\n";

/// Contacts in one job, which has at most 16 MiB.
const PEOPLE_A_JOB: usize = 20_000;

#[derive(Debug)]
pub struct Shop<Sink = RecordingSink> {
    pub daemon: Daemon,
    pub books: Books,
    pub sink: Sink,
    pub setup: Setup,
}

impl Shop {
    /// Jobs come by HTTP. `more` is appended to the configuration.
    pub async fn open(more: &str) -> Shop {
        let sink = RecordingSink::start().await;
        let setup = Setup::without_broker(sink.address(), more).await;
        Shop::with(setup, sink).await
    }

    /// Jobs come by RabbitMQ, too.
    pub async fn open_with_broker(more: &str) -> Shop {
        let sink = RecordingSink::start().await;
        let setup = Setup::new(sink.address(), more).await;
        Shop::with(setup, sink).await
    }

    /// A daemon whose mails arrive at `clock`; the other sink gets none.
    pub async fn with_clock(clock: &ClockSink, sections: &[(&str, &str)]) -> Shop {
        let setup = Setup::without_broker(clock.address(), "").await;
        for (section, lines) in sections {
            setup.configure(section, lines);
        }
        Shop::with(setup, RecordingSink::start().await).await
    }

    /// Waits until at least `n` mails have arrived.
    pub async fn mails(&self, n: usize) -> Vec<Mail> {
        eventually(&format!("{n} mails"), async || {
            let mails = self.sink.mails();
            (mails.len() >= n).then_some(mails)
        })
        .await
    }

    /// Whom mails have reached so far; nobody twice.
    pub fn reached(&self) -> BTreeSet<String> {
        let mails = self.sink.mails();
        let reached: BTreeSet<String> = mails.iter().flat_map(|mail| mail.to.clone()).collect();
        assert_eq!(reached.len(), mails.len(), "nobody gets a mail twice");
        reached
    }
}

impl<Sink> Shop<Sink> {
    /// Starts the daemon with the template `hello`.
    pub async fn with(setup: Setup, sink: Sink) -> Shop<Sink> {
        write_templates(&setup);
        let daemon = Daemon::start(&setup).await;
        let books = Books::of(&setup.store_url);
        Shop { daemon, books, sink, setup }
    }

    /// Hands in a job that must be taken as new.
    pub async fn submit(&self, job: Value) {
        let answer = post(self.setup.admin, "/v1/jobs", &job.to_string()).await.expect("an answer");
        assert_eq!(answer.status(), 202, "{}", answer.body());
    }

    /// Contacts `P1` to `Pn` with consent, at `p1@example.com` and so on.
    pub async fn people(&self, n: usize) {
        for first in (1..=n).step_by(PEOPLE_A_JOB) {
            let last = n.min(first + PEOPLE_A_JOB - 1);
            let people: Vec<Value> = (first..=last).map(|i| person(&format!("P{i}"))).collect();
            let id = format!("people-{first}-{last}");
            self.submit(json!({"type": "contacts", "id": id, "upsert": people})).await;
        }
    }

    /// A control job; `id` is its own.
    pub async fn control(&self, id: &str, campaign: &str, action: &str) {
        self.submit(json!({"type": "control", "id": id, "campaign": campaign, "action": action})).await;
    }

    /// Follows a link of a mail on the daemon's public listener; answers with the status and the target.
    pub async fn follow(&self, url: &str) -> (u16, Option<String>) {
        let answer = get(self.setup.public, self.path(url)).await.expect("an answer");
        let target = answer.headers().get("location").map(|value| value.to_str().expect("text").to_owned());
        (answer.status().as_u16(), target)
    }

    /// The path of a link that leads to the daemon.
    pub fn path<'a>(&self, url: &'a str) -> &'a str {
        let ours = format!("http://{}", self.setup.public);
        url.strip_prefix(&ours).unwrap_or_else(|| panic!("{url} does not lead to {ours}"))
    }

    /// Stops the daemon by SIGTERM and starts it again.
    pub async fn restart(&mut self) {
        self.daemon.process.sigterm();
        assert!(self.daemon.process.ended().await.success(), "{}", self.daemon.process.log());
        self.daemon = Daemon::start(&self.setup).await;
    }
}

/// The template `hello`.
pub fn write_templates(setup: &Setup) {
    setup.write("templates/hello/template.toml", HELLO);
    setup.write("templates/hello/email.html.hbs", HELLO_HTML);
}

/// A contact with consent; the e-mail address is the id in lower case at example.com.
pub fn person(id: &str) -> Value {
    let address = json!({"channel": "email", "address": mailbox(id), "consent": true});
    json!({"external_id": id, "attributes": {"name": format!("Name {id}")}, "addresses": [address]})
}

pub fn mailbox(id: &str) -> String {
    format!("{}@example.com", id.to_lowercase())
}

/// A marketing campaign with the template `hello` to everyone, with `more` over it.
pub fn campaign(id: &str, more: Value) -> Value {
    let mut job = json!({"type": "campaign", "id": id, "channel": "email", "purpose": "marketing",
        "template": "hello", "audience": {"all": true}});
    let (Value::Object(job_fields), Value::Object(more)) = (&mut job, more) else {
        panic!("more is an object")
    };
    job_fields.extend(more);
    job
}

/// A single service message to `to`, with `more` over it.
pub fn message(id: &str, to: Value, more: Value) -> Value {
    let mut job = json!({"type": "message", "id": id, "campaign": "orders", "channel": "email",
        "purpose": "service", "template": "hello", "to": to});
    let (Value::Object(job_fields), Value::Object(more)) = (&mut job, more) else {
        panic!("more is an object")
    };
    job_fields.extend(more);
    job
}
