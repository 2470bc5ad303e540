//! The client against a server that is scripted, over real sockets.

mod conversation;
mod interruption;
mod security;

use std::time::Duration;

use bytes::Bytes;
use campaignd_loadtest::smtp::{Action, Event, Options, Received, Sink};

use super::{Smtp, SmtpConfig};
use crate::model::{CampaignNo, ContactNo, DeliveryKey, Outcome, Purpose, Reason};
use crate::provider::{Body, Email, Message, Permit, Provider as _, Session};

async fn sink(options: Options) -> Sink {
    Sink::start("127.0.0.1:0", options).await.unwrap()
}

fn config(sink: &Sink) -> SmtpConfig {
    SmtpConfig::new("127.0.0.1", sink.addr().port())
}

fn session(config: SmtpConfig) -> Box<dyn Session> {
    Smtp::new(config).unwrap().session()
}

fn message(number: usize, to: &str) -> Message {
    let content = format!("Subject: {number}\r\n\r\n.\r\n..message {number} for {to}\r\n");
    message_of(number, to, content)
}

fn message_of(number: usize, to: &str, content: impl Into<Bytes>) -> Message {
    let contact = ContactNo(i64::try_from(number).unwrap());
    Message {
        delivery: DeliveryKey { campaign: CampaignNo(1), contact, occurrence: 0 },
        attempt: 1,
        campaign: "spring".into(),
        purpose: Purpose::Marketing,
        to: to.to_owned(),
        unsubscribe: None,
        body: Body::Email(Email {
            envelope_from: format!("bounce+{number}@shop.example"),
            envelope_to: to.to_owned(),
            content: content.into(),
        }),
        permit: Permit::default(),
    }
}

fn messages(to: &[&str]) -> Vec<Message> {
    to.iter().enumerate().map(|(number, to)| message(number, to)).collect()
}

/// As the server saw it: sender, recipient, content.
fn seen(received: &Received) -> (&str, &str, &[u8]) {
    let content = received.content.as_deref().unwrap();
    (&received.from, received.to.first().unwrap(), content)
}

fn sent(message: &Message) -> (&str, &str, &[u8]) {
    let Body::Email(email) = &message.body else { panic!() };
    (&email.envelope_from, &email.envelope_to, &email.content)
}

/// Labels and reasons, which is what the ledger keeps.
fn verdicts(outcomes: &[Outcome]) -> Vec<(&'static str, Option<Reason>)> {
    outcomes.iter().map(|outcome| (outcome.as_str(), outcome.reason())).collect()
}

const ACCEPTED: (&str, Option<Reason>) = ("accepted", None);
const RETURNED: (&str, Option<Reason>) = ("returned", None);
const THROTTLED: (&str, Option<Reason>) = ("throttled", Some(Reason::Throttled));
