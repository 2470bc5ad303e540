//! The provider against its simulator, which signs its calls by itself, over real sockets.

use std::time::Duration;

use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::script::{Rule, Then};
use campaignd_loadtest::twilio::{Options, Twilio as Simulator};
use tokio::sync::mpsc;

use super::{Twilio, hook};
use crate::config::{Codes, Secret, Sender, TwilioSettings};
use crate::model::receipt::{About, Bounce, News};
use crate::model::{Channel, Reason, Receipt};
use crate::provider::sms::sample::{
    ACCEPTED, ACCOUNT_REFUSED, AbortOnDrop, HookServer, LOST, NO_ANSWER, RETURNED, message, messages, sms,
    verdicts,
};
use crate::provider::{Provider as _, Receipts};

async fn simulator(rules: impl Into<Vec<Rule>>) -> Simulator {
    start(Options { rules: rules.into(), ..Options::default() }).await
}

async fn start(options: Options) -> Simulator {
    Simulator::start("127.0.0.1:0", options).await.unwrap()
}

fn settings(simulator: &Simulator) -> TwilioSettings {
    TwilioSettings {
        account_sid: "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        auth_token: Secret::new("test_auth_token"),
        sender: Sender::From("+15557122661".to_owned()),
        base_url: format!("http://{}", simulator.addr()),
        ca_file: None,
        timeout: Duration::from_secs(60),
        ask_after: None,
        codes: Codes::default(),
    }
}

/// Statuses lead nowhere.
fn provider(settings: &TwilioSettings) -> (Twilio, mpsc::Receiver<Receipt>) {
    let (receipts, reader) = Receipts::new(10);
    (Twilio::new("tw", settings, "http://127.0.0.1:9", receipts).unwrap(), reader)
}

#[tokio::test]
async fn statuses_come_signed_to_the_deliverys_own_address() {
    let options = Options {
        receipts: Plan { early: 0.3, repeated: 0.3, late: 0.3, ..Plan::default() },
        rules: vec![Rule::to("+8613800000002").receipt("30005")],
        ..Options::default()
    };
    let (simulator, hooks) = (start(options).await, HookServer::start().await);
    let settings = settings(&simulator);
    hooks.serve(hook("tw", &settings, &hooks.public_url()));
    simulator.callbacks().aim(format!("{}/hooks/tw", hooks.public_url()));
    let (receipts, _reader) = Receipts::new(1);
    let provider = Twilio::new("tw", &settings, &hooks.public_url(), receipts).unwrap();
    assert!(!provider.references());
    let mut session = provider.session();
    session.ready().await.unwrap();
    let sent = messages(4);
    let outcomes = session.send(&sent).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED; 4]);
    assert_eq!((simulator.server().counts().connections, simulator.server().counts().requests), (1, 4));
    let taken = simulator.tally().newest();
    assert_eq!((&*taken[0].from, &*taken[0].body), ("+15557122661", "Hello & bye +1 你好"));
    assert_eq!(outcomes[0].detail(), Some(&*taken[0].sid));

    let told = |news: &News| {
        let receipts = hooks.receipts();
        let mut of: Vec<_> =
            receipts.iter().filter(|it| it.news == *news).map(|it| it.about.clone()).collect();
        of.dedup();
        of
    };
    let dead = News::Bounced { bounce: Bounce::Hard, reason: Reason::UnknownRecipient };
    simulator.callbacks().settled(|_| told(&News::Delivered).len() >= 3 && !told(&dead).is_empty()).await;
    assert!(told(&dead).iter().all(|about| *about == About::Delivery(sent[1].delivery)));
    assert!(told(&News::Delivered).contains(&About::Delivery(sent[3].delivery)));
    assert_eq!(simulator.callbacks().counts().refused, 0, "every signature holds");
}

#[tokio::test]
async fn who_stops_is_told_by_the_reply_and_by_the_refusal() {
    let (simulator, hooks) = (simulator([]).await, HookServer::start().await);
    let settings = settings(&simulator);
    hooks.serve(hook("tw", &settings, &hooks.public_url()));
    simulator.callbacks().aim(format!("{}/hooks/tw", hooks.public_url()));
    assert!(simulator.reply("+15558675310", "+15557122661", "Stop").await);
    let address = "+15558675310".to_owned();
    let told = hooks.receipts().pop().unwrap();
    assert_eq!(
        (told.about, told.news),
        (About::Address { channel: Channel::Sms, address }, News::Unsubscribed)
    );

    let (provider, mut receipts) = provider(&settings);
    let sent = [message(1, "+15558675310"), message(2, "+15558675311")];
    let outcomes = provider.session().send(&sent).await;
    assert_eq!(verdicts(&outcomes), [("rejected", Some(Reason::RecipientRefused)), ACCEPTED]);
    let told = receipts.try_recv().unwrap();
    assert_eq!((told.about, told.news), (About::Delivery(sent[0].delivery), News::Unsubscribed));
    assert!(receipts.try_recv().is_err());
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again() {
    let hour = Duration::from_secs(3_600);
    for (rule, wanted, taken) in [
        (Rule::nth(2).cut_before(), LOST, 1),
        (Rule::nth(2).cut_after(), LOST, 2),
        (Rule::nth(2).then(Then::CutInAnswer), LOST, 2),
        (Rule::nth(2).status(500), NO_ANSWER, 1),
        (Rule::nth(2).wait(hour), NO_ANSWER, 2),
    ] {
        let shown = format!("{rule:?}");
        let timeout = Duration::from_secs(if rule.wait == hour { 1 } else { 60 });
        let simulator = simulator([rule]).await;
        let (provider, _receipts) = provider(&TwilioSettings { timeout, ..settings(&simulator) });
        let outcomes = provider.session().send(&messages(3)).await;
        assert_eq!(verdicts(&outcomes), [ACCEPTED, wanted, RETURNED], "{shown}");
        assert_eq!(simulator.tally().counts().messages, taken, "{shown}");
        assert_eq!(simulator.server().counts().requests, 2, "{shown}");
    }
}

#[tokio::test]
async fn refusals_of_one_message_leave_the_others_alone() {
    let simulator = simulator([
        Rule::to("+8613800000001").code("21211"),
        Rule::to("+8613800000002").code("21617"),
        Rule::to("+8613800000005").code("20429"),
    ])
    .await;
    let service = Sender::Service("MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned());
    let (provider, _receipts) = provider(&TwilioSettings { sender: service, ..settings(&simulator) });
    let mut sent = messages(6);
    sms(&mut sent[2]).text = None;
    let outcomes = provider.session().send(&sent).await;
    let wanted = [
        ("rejected", Some(Reason::UnknownRecipient)),
        ("rejected", Some(Reason::MessageRefused)),
        ("campaign_refused", Some(Reason::MessageRefused)),
        ACCEPTED,
        ("throttled", Some(Reason::Throttled)),
        RETURNED,
    ];
    assert_eq!(verdicts(&outcomes), wanted);
    let taken = simulator.tally().newest();
    assert_eq!(taken[0].messaging_service_sid, "MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_eq!(taken[0].status_callback, "http://127.0.0.1:9/hooks/tw?mid=12-4-0");
}

#[tokio::test]
async fn a_wrong_token_rests_the_account() {
    let simulator = simulator([]).await;
    for wrong in [
        TwilioSettings { auth_token: Secret::new("x"), ..settings(&simulator) },
        TwilioSettings { account_sid: "ACb".to_owned(), ..settings(&simulator) },
    ] {
        let (provider, _receipts) = provider(&wrong);
        assert_eq!(verdicts(&provider.session().send(&messages(2)).await), [ACCOUNT_REFUSED, RETURNED]);
        assert!(!format!("{provider:?}").contains("test_auth_token"));
    }
}

#[tokio::test]
async fn messages_without_a_last_status_are_asked_about() {
    let simulator = start(Options {
        receipts: Plan { lost: 1.0, ..Plan::default() },
        rules: vec![Rule::nth(3).cut_after(), Rule::to("+8613800000002").receipt("30005")],
        ..Options::default()
    })
    .await;
    let after = Some(Duration::from_millis(20));
    let (provider, mut told) = provider(&TwilioSettings { ask_after: after, ..settings(&simulator) });
    let mut session = provider.session();
    let outcomes = session.send(&messages(3)).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED, ACCEPTED, LOST]);
    let _listening = AbortOnDrop(tokio::spawn(async move { provider.listen().await }));
    let mut receipts = Vec::new();
    for _ in 0..3 {
        receipts.push(told.recv().await.unwrap());
    }
    let dead = News::Bounced { bounce: Bounce::Hard, reason: Reason::UnknownRecipient };
    for (contact, news) in [(1, News::Delivered), (2, dead), (3, News::Delivered)] {
        let about = About::Delivery(message(contact, "").delivery);
        let told = receipts.iter().find(|receipt| receipt.about == about);
        assert_eq!(told.map(|receipt| &receipt.news), Some(&news), "{contact}");
    }
    let sid = simulator.tally().newest()[0].sid.clone();
    let first = About::Delivery(message(1, "").delivery);
    let asked = receipts.iter().find(|receipt| receipt.about == first).unwrap();
    assert_eq!(asked.id, Receipt::id("tw", &sid, "delivered"), "as the status that was lost");
}

/// Of two equal texts to one number nobody knows which is whose.
#[tokio::test]
async fn doubts_that_cannot_be_told_apart_stay() {
    let simulator = start(Options {
        receipts: Plan { lost: 1.0, ..Plan::default() },
        rules: vec![Rule::nth(1).cut_after(), Rule::nth(2).cut_after()],
        ..Options::default()
    })
    .await;
    let after = Some(Duration::from_millis(20));
    let (provider, mut told) = provider(&TwilioSettings { ask_after: after, ..settings(&simulator) });
    let mut twin = message(2, "+8613800000001");
    sms(&mut twin).text = sms(&mut message(1, "")).text.clone();
    for message in [message(1, "+8613800000001"), twin] {
        assert_eq!(verdicts(&provider.session().send(&[message]).await), [LOST]);
    }
    let listening = AbortOnDrop(tokio::spawn(async move { provider.listen().await }));
    // The fifth request asks again: the first two questions are answered.
    simulator.server().received(2 + 3).await;
    drop(listening);
    assert!(told.try_recv().is_err());
}
