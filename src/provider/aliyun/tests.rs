//! The provider against its simulator, which verifies every signature by itself, over real sockets.

use std::collections::HashSet;
use std::time::Duration;

use campaignd_loadtest::aliyun::{Aliyun as Simulator, Options, one_time_codes};
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::clock::Clock;
use campaignd_loadtest::script::{Rule, Then};
use jiff::Timestamp;

use super::{Aliyun, hook};
use crate::config::{AliyunSettings, Codes, Secret};
use crate::model::receipt::{About, Bounce, News};
use crate::model::{Channel, Outcome, Reason, Receipt};
use crate::provider::sms::sample::{
    ACCEPTED, ACCOUNT_REFUSED, AbortOnDrop, HookServer, LOST, NO_ANSWER, RETURNED, message, messages, sms,
    verdicts,
};
use crate::provider::{HookRequest, Message, Provider as _, Receipts, Session};

const SECRET: &str = "0123456789abcdef";

async fn simulator(rules: impl Into<Vec<Rule>>) -> Simulator {
    start(Options { rules: rules.into(), ..Options::default() }).await
}

async fn start(options: Options) -> Simulator {
    Simulator::start("127.0.0.1:0", options).await.unwrap()
}

fn settings(simulator: &Simulator, single: bool) -> AliyunSettings {
    AliyunSettings {
        access_key_id: "testAccessKeyId".to_owned(),
        access_key_secret: Secret::new("testAccessKeySecret"),
        base_url: format!("http://{}", simulator.addr()),
        ca_file: None,
        timeout: Duration::from_secs(60),
        single,
        hook_secret: Some(Secret::new(SECRET)),
        ask_after: None,
        codes: Codes::default(),
    }
}

/// Nobody hears what it learns by asking.
fn provider(settings: &AliyunSettings) -> Aliyun {
    let (receipts, _) = Receipts::new(1);
    Aliyun::new("ali", settings, receipts).unwrap()
}

fn session(simulator: &Simulator, single: bool) -> Box<dyn Session> {
    provider(&settings(simulator, single)).session()
}

#[tokio::test]
async fn one_a_call_has_receipts_by_our_key() {
    let options = Options {
        receipts: Plan { early: 0.5, repeated: 0.5, per_call: 2, ..Plan::default() },
        rules: vec![Rule::to("13800000002").receipt("MK:0001")],
        ..Options::default()
    };
    let (simulator, hooks) = (start(options).await, HookServer::start().await);
    let settings = settings(&simulator, true);
    hooks.serve(hook("ali", &settings).unwrap());
    simulator.callbacks().aim(format!("{}/hooks/ali/{SECRET}", hooks.public_url()));
    let provider = provider(&settings);
    assert!(!provider.references());
    let mut session = provider.session();
    session.ready().await.unwrap();
    let sent = messages(5);
    assert_eq!(verdicts(&session.send(&sent).await), [ACCEPTED; 5]);
    assert_eq!((simulator.server().counts().connections, simulator.server().counts().requests), (1, 5));
    simulator.callbacks().settled(|counts| counts.taken >= 5).await;
    let receipts = hooks.receipts();
    for message in &sent {
        let about = About::Delivery(message.delivery);
        let told: HashSet<_> =
            receipts.iter().filter(|receipt| receipt.about == about).map(|receipt| receipt.id).collect();
        assert!(told.len() <= 1, "a repeat has the same id");
    }
    assert!(receipts.iter().all(|receipt| matches!(receipt.about, About::Delivery(_))));
    assert!(receipts.iter().any(|receipt| receipt.news == News::Delivered));
    assert!(simulator.reply("13800000001", "1234", "退订").await);
    let reply = About::Address { channel: Channel::Sms, address: sent[0].to.clone() };
    let told = hooks.receipts().into_iter().find(|receipt| receipt.about == reply);
    assert_eq!(told.map(|receipt| receipt.news), Some(News::Unsubscribed));
    session.close().await;
}

#[tokio::test]
async fn batches_have_receipts_by_reference() {
    let (simulator, hooks) = (simulator([]).await, HookServer::start().await);
    let settings = settings(&simulator, false);
    hooks.serve(hook("ali", &settings).unwrap());
    simulator.callbacks().aim(format!("{}/hooks/ali/{SECRET}", hooks.public_url()));
    let provider = provider(&settings);
    assert_eq!((provider.references(), provider.chunk_size()), (true, 100));
    let outcomes = provider.session().send(&messages(150)).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED; 150]);
    assert_eq!((simulator.server().counts().requests, simulator.tally().counts().messages), (2, 150));
    simulator.callbacks().settled(|counts| counts.taken == 150).await;
    let accepted: HashSet<_> = outcomes.iter().filter_map(Outcome::detail).map(str::to_owned).collect();
    let referred: HashSet<_> = hooks
        .receipts()
        .into_iter()
        .map(|receipt| match receipt.about {
            About::Reference { provider, reference } if provider == "ali" => reference,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((accepted.len(), referred), (150, accepted));
}

#[tokio::test]
async fn bad_numbers_do_not_spoil_their_batch() {
    let bad = ["13800000007", "13800000008", "13800000031"];
    let rules = bad.map(|number| Rule::to(number).code("isv.MOBILE_NUMBER_ILLEGAL"));
    let simulator = simulator(rules).await;
    let sent = messages(40);
    let outcomes = session(&simulator, false).send(&sent).await;
    for (message, outcome) in sent.iter().zip(&outcomes) {
        let number = message.to.trim_start_matches("+86");
        let refused = bad.contains(&number);
        let wanted = if refused { ("rejected", Some(Reason::UnknownRecipient)) } else { ACCEPTED };
        assert_eq!((outcome.as_str(), outcome.reason()), wanted, "{number}");
        assert_eq!(simulator.tally().to(number), u32::from(!refused), "{number}");
    }
}

#[tokio::test]
async fn templates_of_one_chunk_go_in_their_own_calls() {
    let simulator = simulator([]).await;
    let mut sent = messages(4);
    sms(&mut sent[1]).aliyun.as_mut().unwrap().template_code = "SMS_2".to_owned();
    sms(&mut sent[2]).aliyun = None;
    let outcomes = session(&simulator, false).send(&sent).await;
    let lacks = ("campaign_refused", Some(Reason::MessageRefused));
    assert_eq!(verdicts(&outcomes), [ACCEPTED, ACCEPTED, lacks, ACCEPTED]);
    assert_eq!(simulator.server().counts().requests, 2);
    let second = simulator.tally().matching(|message| message.template_code == "SMS_2");
    assert_eq!((second.len(), &*second[0].out_id), (1, "12-2-0"));
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again() {
    let hour = Duration::from_secs(3_600);
    for (rule, wanted, taken) in [
        (Rule::nth(2).cut_before(), LOST, 1),
        (Rule::nth(2).cut_after(), LOST, 2),
        (Rule::nth(2).then(Then::CutInAnswer), LOST, 2),
        (Rule::nth(2).status(503), NO_ANSWER, 1),
        (Rule::nth(2).wait(hour), NO_ANSWER, 2),
    ] {
        let shown = format!("{rule:?}");
        let waits = rule.wait == hour;
        let simulator = simulator([rule]).await;
        let timeout = Duration::from_secs(if waits { 1 } else { 60 });
        let settings = AliyunSettings { timeout, ..settings(&simulator, true) };
        let mut session = provider(&settings).session();
        assert_eq!(verdicts(&session.send(&messages(3)).await), [ACCEPTED, wanted, RETURNED], "{shown}");
        assert_eq!(simulator.tally().counts().messages, taken, "{shown}");
        assert_eq!(simulator.server().counts().requests, 2, "{shown}");
    }
}

#[tokio::test]
async fn limits_of_the_account_end_the_chunk_and_limits_of_a_number_do_not() {
    let throttled = ("throttled", Some(Reason::Throttled));
    let slow = simulator([Rule::nth(2).code("Throttling.User")]).await;
    let outcomes = session(&slow, true).send(&messages(3)).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED, throttled, RETURNED]);

    let capped = start(Options { caps: one_time_codes(), ..Options::default() }).await;
    let mut session = session(&capped, true);
    let (mut sent, deferred) = (messages(3), ("deferred", Some(Reason::Throttled)));
    sent[1].to = sent[0].to.clone();
    assert_eq!(verdicts(&session.send(&sent).await), [ACCEPTED, deferred, ACCEPTED]);
}

#[tokio::test]
async fn clocks_and_keys_that_fail_in_mid_run_rest_the_account() {
    let now = Timestamp::now().as_second();
    let clock = Clock::pinned(now);
    let simulator = start(Options { clock: clock.clone(), ..Options::default() }).await;
    let mut session = session(&simulator, true);
    assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
    clock.pin(now + 3_600);
    let outcomes = session.send(&messages(2)).await;
    assert_eq!(verdicts(&outcomes), [ACCOUNT_REFUSED, RETURNED]);
    assert!(outcomes[0].detail().unwrap().contains("clock"));
    clock.pin(now);
    assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
    let wrong = AliyunSettings { access_key_secret: Secret::new("x"), ..settings(&simulator, true) };
    let outcomes = provider(&wrong).session().send(&messages(2)).await;
    assert_eq!(verdicts(&outcomes), [ACCOUNT_REFUSED, RETURNED]);
    assert!(hook("ali", &AliyunSettings { hook_secret: None, ..wrong }).is_none());
}

/// What is learnt, of `single` or batched messages of which one is doubted and one bounced.
async fn asked(single: bool) -> (Simulator, Vec<Outcome>, Vec<Receipt>) {
    let options = Options {
        receipts: Plan { lost: 1.0, ..Plan::default() },
        rules: vec![
            Rule::nth(if single { 3 } else { 2 }).cut_after(),
            Rule::to("13800000002").receipt("MK:0001"),
        ],
        ..Options::default()
    };
    let simulator = start(options).await;
    let after = Some(Duration::from_millis(20));
    let settings = AliyunSettings { ask_after: after, ..settings(&simulator, single) };
    let (receipts, mut told) = Receipts::new(10);
    let provider = Aliyun::new("ali", &settings, receipts).unwrap();
    let mut session = provider.session();
    let mut outcomes = session.send(&messages(2)).await;
    outcomes.extend(session.send(&[message(3, "+8613800000003")]).await);
    assert_eq!(verdicts(&outcomes), [ACCEPTED, ACCEPTED, LOST]);
    let _listening = AbortOnDrop(tokio::spawn(async move { provider.listen().await }));
    let mut receipts = Vec::new();
    for _ in 0..3 {
        receipts.push(told.recv().await.unwrap());
    }
    (simulator, outcomes, receipts)
}

#[tokio::test]
async fn messages_without_a_receipt_are_asked_about() {
    for single in [true, false] {
        let (simulator, _, receipts) = asked(single).await;
        let bounced = News::Bounced { bounce: Bounce::Hard, reason: Reason::UnknownRecipient };
        for (contact, news) in [(1, News::Delivered), (2, bounced), (3, News::Delivered)] {
            let about = About::Delivery(message(contact, "").delivery);
            let told = receipts.iter().find(|receipt| receipt.about == about);
            assert_eq!(told.map(|receipt| &receipt.news), Some(&news), "{single} {contact}");
        }
        let calls = simulator.server().counts().requests;
        assert_eq!(calls, if single { 6 } else { 5 }, "one question a message");
    }
}

/// The same receipt has one id, pushed or asked for.
#[tokio::test]
async fn what_was_pushed_is_not_news_when_it_is_asked_for() {
    for single in [true, false] {
        let (simulator, outcomes, receipts) = asked(single).await;
        let settings = settings(&simulator, single);
        let hook = hook("ali", &settings).unwrap();
        let sent = simulator.tally().newest().remove(0);
        let pushed = format!(
            r#"[{{"phone_number": "{}", "success": true, "err_code": "DELIVERED", "biz_id": "{}", "out_id": "{}"}}]"#,
            sent.phone_number, sent.biz_id, sent.out_id
        );
        let request = HookRequest {
            method: http::Method::POST,
            tail: SECRET.to_owned(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body: pushed.into(),
            peer: [127, 0, 0, 1].into(),
        };
        let told = hook.receive(&request).unwrap().receipts;
        let first = About::Delivery(message(1, "").delivery);
        let asked = receipts.iter().find(|receipt| receipt.about == first).unwrap();
        assert_eq!(told[0].id, asked.id, "{:?}", outcomes[0]);
    }
}

#[tokio::test]
async fn what_was_heard_of_is_not_asked_about_and_nobody_asks_unless_told_to() {
    let simulator = simulator([]).await;
    for (ask_after, open) in [(None, 0), (Some(Duration::from_nanos(1)), 1)] {
        let settings = AliyunSettings { ask_after, ..settings(&simulator, true) };
        let (receipts, _told) = Receipts::new(10);
        let provider = Aliyun::new("ali", &settings, receipts.clone()).unwrap();
        let sent = messages(2);
        assert_eq!(verdicts(&provider.session().send(&sent).await), [ACCEPTED; 2]);
        let told = |message: &Message| Receipt {
            id: Receipt::id("ali", "1", "1"),
            about: About::Delivery(message.delivery),
            at: Timestamp::now(),
            news: News::Delivered,
            detail: None,
        };
        receipts.unheard().heard(&[told(&sent[0])]);
        let asked = std::iter::from_fn(|| receipts.unheard().next("ali"));
        assert_eq!(asked.map(|question| question.to).collect::<Vec<_>>(), vec![sent[1].to.clone(); open]);
    }
}
