//! The provider against a receiver that verifies every signature by itself, over real sockets.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use campaignd_loadtest::faulty_http::{Action, Answer, Event};
use campaignd_loadtest::webhook::Receiver;
use serde_json::{Value, json};

use super::Webhook;
use crate::config::{SigningKey, WebhookSettings};
use crate::model::content::SmsContent;
use crate::model::{CampaignNo, ContactNo, Content, DeliveryKey, Outcome, Purpose, Reason};
use crate::provider::certificate::certificate;
use crate::provider::{Body, Departures, Message, Permit, Provider as _, Session};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OLD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(super) fn settings(url: &str) -> WebhookSettings {
    WebhookSettings {
        url: format!("{url}/messages?shop=1"),
        secret: SigningKey::read(SECRET).unwrap(),
        previous_secret: None,
        ca_file: None,
        batch: NonZeroU16::new(100).unwrap(),
        idempotent: false,
        timeout: Duration::from_secs(60),
    }
}

pub(super) fn message(number: i64, to: &str, content: Content) -> Message {
    Message {
        delivery: DeliveryKey { campaign: CampaignNo(12), contact: ContactNo(number), occurrence: 0 },
        attempt: 1,
        campaign: "spring".into(),
        purpose: Purpose::Marketing,
        to: to.to_owned(),
        unsubscribe: Some(format!("https://shop.example/u/{number}")),
        body: Body::Content(content),
        permit: Permit::default(),
    }
}

fn messages(count: i64) -> Vec<Message> {
    let sms = |number| SmsContent { text: Some(format!("Sale {number}")), ..SmsContent::default() };
    (1..=count)
        .map(|number| message(number, &format!("+8613800{number:06}"), Content::Sms(sms(number))))
        .collect()
}

async fn receiver(script: impl Fn(Event<'_>) -> Action + Send + Sync + 'static) -> Receiver {
    Receiver::start("127.0.0.1:0", SECRET, None, script).await.unwrap()
}

/// Gives the answers in turn, then empty 200s.
fn in_turn(actions: impl Into<Vec<Action>>) -> impl Fn(Event<'_>) -> Action + Send + Sync + 'static {
    let (actions, turn) = (actions.into(), AtomicUsize::new(0));
    move |event| match event {
        Event::Request(_) => actions.get(turn.fetch_add(1, Ordering::Relaxed)).cloned().unwrap_or(Action::Go),
        _ => Action::Go,
    }
}

fn answer(status: u16, body: impl ToString) -> Action {
    Action::Answer(Answer::new(status, body.to_string()))
}

fn session(settings: &WebhookSettings) -> Box<dyn Session> {
    Webhook::new(settings).unwrap().session()
}

/// Labels and reasons, which is what the ledger keeps.
fn verdicts(outcomes: &[Outcome]) -> Vec<(&'static str, Option<Reason>)> {
    outcomes.iter().map(|outcome| (outcome.as_str(), outcome.reason())).collect()
}

const ACCEPTED: (&str, Option<Reason>) = ("accepted", None);
const RETURNED: (&str, Option<Reason>) = ("returned", None);
const RETRY: (&str, Option<Reason>) = ("retry", Some(Reason::TemporaryFailure));
const THROTTLED: (&str, Option<Reason>) = ("throttled", Some(Reason::Throttled));
const NO_ANSWER: (&str, Option<Reason>) = ("unknown", Some(Reason::NoAnswer));
const LOST: (&str, Option<Reason>) = ("unknown", Some(Reason::ConnectionLost));
const NOT_SENT: (&str, Option<Reason>) = ("retry", Some(Reason::ConnectionFailed));

#[tokio::test]
async fn messages_come_in_batches_over_one_connection_and_each_once() {
    let receiver = receiver(|_| Action::Go).await;
    let settings =
        WebhookSettings { batch: NonZeroU16::new(40).unwrap(), ..settings(&receiver.server.url()) };
    assert_eq!(Webhook::new(&settings).unwrap().chunk_size(), 40);
    let mut session = session(&settings);
    let sent = messages(100);
    assert_eq!(verdicts(&session.send(&sent).await), vec![ACCEPTED; 100]);
    let requests = receiver.server.requests();
    assert_eq!((requests.len(), receiver.server.connections(), receiver.forged()), (3, 1, 0));
    assert!(requests.iter().all(|request| request.target == "/messages?shop=1" && request.method == "POST"));
    let ids: Vec<Value> = receiver.messages().iter().map(|message| message["id"].clone()).collect();
    assert_eq!(ids, sent.iter().map(|message| json!(message.delivery.to_string())).collect::<Vec<_>>());
    session.close().await;
}

#[tokio::test]
async fn results_land_on_their_own_messages() {
    let results = json!({"results": [
        {"id": "12-6-0", "status": "throttled", "retry_after": 2.5},
        {"id": "12-2-0", "status": "rejected", "reason": "unknown_recipient", "detail": "+8613800000002 is off"},
        {"id": "12-1-0", "status": "accepted", "ref": "abc-1"},
        {"id": "12-3-0", "status": "rejected", "reason": "E4711", "detail": "ask ops@x.example"},
        {"id": "12-4-0", "status": "rejected", "reason": "crash"},
        {"id": "12-5-0", "status": "retry", "retry_after": 60},
        {"id": "12-7-0", "status": "sent"},
        {"id": "99-9-9", "status": "rejected"},
    ]});
    let receiver = receiver(in_turn([answer(200, results)])).await;
    let outcomes = session(&settings(&receiver.server.url())).send(&messages(8)).await;
    let refused = |reason, detail: &str| Outcome::Rejected { reason, detail: detail.to_owned() };
    assert_eq!(outcomes[0], Outcome::Accepted { provider_ref: Some("abc-1".to_owned()) });
    assert_eq!(outcomes[1], refused(Reason::UnknownRecipient, "unknown_recipient: *** is off"));
    assert_eq!(outcomes[2], refused(Reason::RecipientRefused, "E4711: ask o***@x.example"));
    assert_eq!(outcomes[3], refused(Reason::RecipientRefused, "crash"));
    let (reason, after) = (Reason::TemporaryFailure, Some(Duration::from_secs(60)));
    assert_eq!(outcomes[4], Outcome::Retry { reason, after, detail: String::new() });
    let after = Some(Duration::from_millis(2_500));
    assert_eq!(outcomes[5], Outcome::Throttled { after, detail: String::new() });
    assert_eq!(verdicts(&outcomes[6..]), [NO_ANSWER, ACCEPTED]);
}

#[tokio::test]
async fn a_status_judges_the_whole_request() {
    let account = ("account_refused", Some(Reason::AccountRefused));
    let message = ("rejected", Some(Reason::MessageRefused));
    for (status, body, wanted) in [
        (202, "", ACCEPTED),
        (200, "ok", ACCEPTED),
        (200, "{}", ACCEPTED),
        (200, r#"{"results": [{"id": 7}]}"#, NO_ANSWER),
        (200, r#"{"results": ["#, NO_ANSWER),
        (301, "", account),
        (401, "", account),
        (403, "", account),
        (404, "", account),
        (410, "", account),
        (408, "", RETRY),
        (429, "", THROTTLED),
        (400, "", message),
        (422, "", message),
        (500, "", NO_ANSWER),
        (502, "", NO_ANSWER),
        (503, "", RETRY),
        (504, "", NO_ANSWER),
    ] {
        let receiver = receiver(move |event| match event {
            Event::Request(_) => answer(status, body),
            _ => Action::Go,
        })
        .await;
        let settings = settings(&receiver.server.url());
        let outcomes = session(&settings).send(&messages(2)).await;
        assert_eq!(verdicts(&outcomes), [wanted; 2], "{status} {body}");
    }
}

#[tokio::test]
async fn a_throttle_says_how_long_and_ends_the_chunk() {
    let busy = Answer::new(429, "slow down").header("retry-after", "7");
    let receiver = receiver(in_turn([Action::Answer(busy)])).await;
    let settings = WebhookSettings { batch: NonZeroU16::new(1).unwrap(), ..settings(&receiver.server.url()) };
    let mut session = session(&settings);
    let outcomes = session.send(&messages(3)).await;
    assert_eq!(verdicts(&outcomes), [THROTTLED, RETURNED, RETURNED]);
    let (after, detail) = (Some(Duration::from_secs(7)), "HTTP 429: slow down".to_owned());
    assert_eq!(outcomes[0], Outcome::Throttled { after, detail });
    assert_eq!(verdicts(&session.send(&messages(3)).await), [ACCEPTED; 3]);
}

#[tokio::test]
async fn silence_and_cuts_after_the_request_are_doubt() {
    let silent = Action::Late(Duration::from_secs(3_600), Answer::new(200, ""));
    let half = Action::CutInAnswer(20, Answer::new(200, "{}"));
    for (action, wanted) in [(silent, NO_ANSWER), (Action::Cut, LOST), (half, LOST)] {
        let receiver = receiver(in_turn([action.clone()])).await;
        let timeout = Duration::from_secs(if wanted == NO_ANSWER { 1 } else { 60 });
        let settings = WebhookSettings { timeout, ..settings(&receiver.server.url()) };
        let mut session = session(&settings);
        let outcomes = session.send(&messages(2)).await;
        assert_eq!(verdicts(&outcomes), [wanted; 2], "{action:?}");
        assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
        assert_eq!(receiver.server.requests().len(), 2, "nothing goes out again by itself");
    }
}

#[tokio::test]
async fn a_close_between_two_requests_makes_neither_doubles_nor_doubt() {
    let receiver = receiver(in_turn(vec![Action::AnswerAndCut(Answer::new(200, "")); 5])).await;
    let mut session = session(&settings(&receiver.server.url()));
    for round in 1..=5 {
        session.ready().await.unwrap();
        assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
        receiver.server.closed(round).await;
    }
    assert_eq!((receiver.server.requests().len(), receiver.server.connections()), (5, 5));
}

#[tokio::test]
async fn a_receiver_that_is_away_gets_nothing() {
    let receiver = receiver(|_| Action::Go).await;
    let settings = WebhookSettings { batch: NonZeroU16::new(1).unwrap(), ..settings(&receiver.server.url()) };
    receiver.server.stop().await;
    let mut session = session(&settings);
    let outcome = session.ready().await.unwrap_err();
    assert_eq!((outcome.as_str(), outcome.reason()), NOT_SENT);
    assert_eq!(verdicts(&session.send(&messages(3)).await), [NOT_SENT, RETURNED, RETURNED]);
}

#[tokio::test]
async fn tls_with_a_file_of_trusted_certificates() {
    let (acceptor, ca) = certificate();
    let receiver = Receiver::start("127.0.0.1:0", SECRET, Some(acceptor), |_| Action::Go).await.unwrap();
    let (_, other) = certificate();
    for (ca, wanted) in [(&ca, None), (&other, Some("account_refused"))] {
        let ca_file = Some(ca.path().to_owned());
        let mut session = session(&WebhookSettings { ca_file, ..settings(&receiver.server.url()) });
        assert_eq!(session.ready().await.err().map(|outcome| outcome.as_str()), wanted);
        let outcomes = session.send(&messages(1)).await;
        assert_eq!(outcomes[0].as_str(), wanted.unwrap_or("accepted"));
    }
    assert_eq!(receiver.server.requests().len(), 1);
}

#[tokio::test]
async fn a_receiver_with_another_secret_refuses_and_one_with_the_previous_does_not() {
    let receiver = Receiver::start("127.0.0.1:0", OLD_SECRET, None, |_| Action::Go).await.unwrap();
    let refused = session(&settings(&receiver.server.url())).send(&messages(1)).await;
    assert_eq!((refused[0].as_str(), receiver.forged()), ("account_refused", 1));
    let previous_secret = Some(SigningKey::read(OLD_SECRET).unwrap());
    let changing = WebhookSettings { previous_secret, ..settings(&receiver.server.url()) };
    assert_eq!(verdicts(&session(&changing).send(&messages(1)).await), [ACCEPTED]);
    assert_eq!(receiver.forged(), 1);
}

#[derive(Debug, Default)]
struct Departed(AtomicUsize);

impl Departures for Departed {
    fn depart(&self, _cells: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn permits_are_spent_once_the_request_leaves() {
    let silent = Action::Late(Duration::from_secs(3_600), Answer::new(200, ""));
    let receiver = receiver(in_turn([silent])).await;
    let departed = Arc::new(Departed::default());
    let mut sent = messages(2);
    for message in &mut sent {
        message.permit = Permit::new(vec![departed.clone()], 1);
    }
    let mut session = session(&settings(&receiver.server.url()));
    session.ready().await.unwrap();
    assert_eq!(departed.0.load(Ordering::Relaxed), 0);
    tokio::select! {
        outcomes = session.send(&sent) => panic!("answered: {outcomes:?}"),
        () = receiver.server.received(1) => {}
    }
    assert_eq!(departed.0.load(Ordering::Relaxed), 2);
}
