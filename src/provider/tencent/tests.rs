//! The provider against its simulator, which verifies every signature by itself, over real sockets.

use std::collections::HashSet;
use std::time::Duration;

use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::clock::Clock;
use campaignd_loadtest::script::{Rule, Then};
use campaignd_loadtest::tencent::{Options, Tencent as Simulator, same_content};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Tencent, hook};
use crate::config::{Codes, Secret, TencentSettings};
use crate::model::receipt::{About, Bounce, News};
use crate::model::{Channel, Outcome, Reason, Receipt};
use crate::provider::sms::sample::{
    ACCEPTED, ACCOUNT_REFUSED, AbortOnDrop, HookServer, LOST, NO_ANSWER, RETURNED, message, messages, sms,
    verdicts,
};
use crate::provider::{Provider as _, Receipts};

const SECRET: &str = "0123456789abcdef";

async fn simulator(rules: impl Into<Vec<Rule>>) -> Simulator {
    start(Options { rules: rules.into(), ..Options::default() }).await
}

async fn start(options: Options) -> Simulator {
    Simulator::start("127.0.0.1:0", options).await.unwrap()
}

fn settings(simulator: &Simulator) -> TencentSettings {
    TencentSettings {
        secret_id: "AKIDtestSecretId".to_owned(),
        secret_key: Secret::new("testSecretKey"),
        sdk_app_id: "1400006666".to_owned(),
        region: "ap-guangzhou".to_owned(),
        base_url: format!("http://{}", simulator.addr()),
        ca_file: None,
        timeout: Duration::from_secs(60),
        hook_secret: Some(Secret::new(SECRET)),
        pull_every: None,
        codes: Codes::default(),
    }
}

fn provider(settings: &TencentSettings) -> (Tencent, mpsc::Receiver<Receipt>) {
    let (receipts, reader) = Receipts::new(10);
    (Tencent::new("qq", settings, receipts).unwrap(), reader)
}

#[tokio::test]
async fn equal_parameters_share_a_call_and_receipts_name_the_serial_number() {
    let options = Options {
        receipts: Plan { early: 0.2, repeated: 0.2, ..Plan::default() },
        rules: vec![Rule::to("+8613800000002").receipt("MBBLACK")],
        ..Options::default()
    };
    let (simulator, hooks) = (start(options).await, HookServer::start().await);
    let settings = settings(&simulator);
    hooks.serve(hook("qq", &settings).unwrap());
    simulator.callbacks().aim(format!("{}/hooks/qq/{SECRET}", hooks.public_url()));
    let (provider, _receipts) = provider(&settings);
    assert_eq!((provider.references(), provider.chunk_size()), (true, 200));
    let mut sent = messages(250);
    sms(&mut sent[3]).tencent.as_mut().unwrap().params.push("more".to_owned());
    sent[4].to = "+15558675310".to_owned();
    sms(&mut sent[5]).tencent = None;
    let mut session = provider.session();
    session.ready().await.unwrap();
    let outcomes = session.send(&sent).await;
    assert_eq!(verdicts(&outcomes[5..6]), [("campaign_refused", Some(Reason::MessageRefused))]);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.as_str() == "accepted").count(), 249);
    // 200 and 47 of one kind, and one each of two others.
    assert_eq!((simulator.server().counts().requests, simulator.server().counts().connections), (4, 1));
    let single = simulator.tally().matching(|message| message.template_params.len() == 3);
    assert_eq!(single[0].session_context, "12-4-0");

    let accepted: HashSet<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Accepted { provider_ref } => provider_ref.clone(),
            _ => None,
        })
        .collect();
    let opted_out = |receipt: &Receipt| receipt.news == News::Unsubscribed;
    simulator.callbacks().settled(|_| hooks.receipts().iter().any(opted_out)).await;
    let receipts = hooks.receipts();
    let of = |receipt: &Receipt| match &receipt.about {
        About::Reference { reference, .. } => reference.clone(),
        other => panic!("{other:?}"),
    };
    assert!(receipts.iter().all(|receipt| accepted.contains(&of(receipt))));
    let unsubscribed: HashSet<_> = receipts.iter().filter(|receipt| opted_out(receipt)).map(of).collect();
    assert_eq!(unsubscribed.len(), 1);
    assert!(simulator.reply("+8613800000001", "商店", "T").await);
    let address = "+8613800000001".to_owned();
    let reply = About::Address { channel: Channel::Sms, address };
    let told = hooks.receipts().into_iter().find(|receipt| receipt.about == reply);
    assert_eq!(told.map(|receipt| receipt.news), Some(News::Unsubscribed));
}

#[tokio::test]
async fn each_number_has_its_own_code() {
    let simulator = simulator([
        Rule::to("+8613800000002").code("FailedOperation.PhoneNumberInBlacklist"),
        Rule::to("+8613800000003").code("InvalidParameterValue.IncorrectPhoneNumber"),
        Rule::to("+8613800000004").code("LimitExceeded.PhoneNumberDailyLimit"),
    ])
    .await;
    let (provider, mut receipts) = provider(&settings(&simulator));
    let sent = messages(5);
    let outcomes = provider.session().send(&sent).await;
    let wanted = [
        ACCEPTED,
        ("rejected", Some(Reason::RecipientRefused)),
        ("rejected", Some(Reason::UnknownRecipient)),
        ("deferred", Some(Reason::Throttled)),
        ACCEPTED,
    ];
    assert_eq!(verdicts(&outcomes), wanted);
    assert_eq!(simulator.server().counts().requests, 1);
    let told = receipts.try_recv().unwrap();
    assert_eq!((told.about, told.news), (About::Delivery(sent[1].delivery), News::Unsubscribed));
    assert!(receipts.try_recv().is_err());
}

#[tokio::test]
async fn a_call_that_is_refused_for_a_number_is_made_in_halves() {
    let simulator = simulator([Rule::nth(1).code("InvalidParameterValue.IncorrectPhoneNumber")]).await;
    let (provider, _receipts) = provider(&settings(&simulator));
    assert_eq!(verdicts(&provider.session().send(&messages(4)).await), [ACCEPTED; 4]);
    assert_eq!((simulator.server().counts().requests, simulator.tally().counts().messages), (3, 4));
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again() {
    let hour = Duration::from_secs(3_600);
    for (rule, wanted, taken) in [
        (Rule::nth(1).cut_before(), LOST, 0),
        (Rule::nth(1).cut_after(), LOST, 200),
        (Rule::nth(1).then(Then::CutInAnswer), LOST, 200),
        (Rule::nth(1).status(502), NO_ANSWER, 0),
        (Rule::nth(1).code("InternalError.Timeout"), NO_ANSWER, 0),
        (Rule::nth(1).wait(hour), NO_ANSWER, 200),
    ] {
        let shown = format!("{rule:?}");
        let timeout = Duration::from_secs(if rule.wait == hour { 1 } else { 60 });
        let simulator = simulator([rule]).await;
        let (provider, _receipts) = provider(&TencentSettings { timeout, ..settings(&simulator) });
        let outcomes = verdicts(&provider.session().send(&messages(201)).await);
        assert_eq!(outcomes[..200], [wanted; 200], "{shown}");
        assert_eq!(outcomes[200], RETURNED, "{shown}");
        assert_eq!(simulator.tally().counts().messages, taken, "{shown}");
        assert_eq!(simulator.server().counts().requests, 1, "{shown}");
    }
}

#[tokio::test]
async fn the_thirty_second_rule_defers_and_too_many_calls_rest_the_account() {
    let options = Options {
        content_caps: same_content(),
        rules: vec![Rule::nth(3).code("RequestLimitExceeded")],
        ..Options::default()
    };
    let simulator = start(options).await;
    let (provider, _receipts) = provider(&settings(&simulator));
    let mut session = provider.session();
    assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
    let outcomes = session.send(&messages(2)).await;
    assert_eq!(verdicts(&outcomes), [("deferred", Some(Reason::Throttled)), ACCEPTED]);
    let Outcome::Deferred { after, .. } = &outcomes[0] else { panic!() };
    assert_eq!(*after, Duration::from_secs(30));
    assert_eq!(verdicts(&session.send(&messages(1)).await), [("throttled", Some(Reason::Throttled))]);
}

#[tokio::test]
async fn clocks_and_keys_that_fail_in_mid_run_rest_the_account() {
    let now = Timestamp::now().as_second();
    let clock = Clock::pinned(now);
    let simulator = start(Options { clock: clock.clone(), ..Options::default() }).await;
    let (provider_, _receipts) = provider(&settings(&simulator));
    let mut session = provider_.session();
    assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
    clock.pin(now + 3_600);
    let outcomes = session.send(&messages(1)).await;
    assert_eq!(verdicts(&outcomes), [ACCOUNT_REFUSED]);
    assert!(outcomes[0].detail().unwrap().contains("clock"));
    clock.pin(now);
    assert_eq!(verdicts(&session.send(&messages(1)).await), [ACCEPTED]);
    for wrong in [
        TencentSettings { secret_key: Secret::new("x"), ..settings(&simulator) },
        TencentSettings { secret_id: "x".to_owned(), ..settings(&simulator) },
        TencentSettings { sdk_app_id: "x".to_owned(), ..settings(&simulator) },
    ] {
        let (provider, _receipts) = provider(&wrong);
        assert_eq!(verdicts(&provider.session().send(&messages(1)).await), [ACCOUNT_REFUSED]);
    }
}

#[tokio::test]
async fn receipts_that_were_not_pushed_are_fetched() {
    let options = Options {
        receipts: Plan { lost: 1.0, ..Plan::default() },
        rules: vec![Rule::nth(2).cut_after(), Rule::to("+8613800000002").receipt("MK:0001")],
        ..Options::default()
    };
    let simulator = start(options).await;
    let every = Some(Duration::from_millis(20));
    let (provider, mut told) = provider(&TencentSettings { pull_every: every, ..settings(&simulator) });
    let mut session = provider.session();
    // More than a page, then one whose answer is lost.
    let outcomes = session.send(&messages(150)).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED; 150]);
    assert_eq!(verdicts(&session.send(&[message(151, "+8613800000151")]).await), [LOST]);
    assert!(!simulator.reply("+8613800000001", "商店", "T").await, "nobody is called");
    let _listening = AbortOnDrop(tokio::spawn(async move { provider.listen().await }));
    let mut receipts = Vec::new();
    for _ in 0..152 {
        receipts.push(told.recv().await.unwrap());
    }
    let of =
        |about: &About| receipts.iter().find(|receipt| receipt.about == *about).map(|it| it.news.clone());
    let bounced = News::Bounced { bounce: Bounce::Hard, reason: Reason::UnknownRecipient };
    let reference = |place: usize| About::Reference {
        provider: "qq".to_owned(),
        reference: outcomes[place].detail().unwrap().to_owned(),
    };
    assert_eq!((of(&reference(0)), of(&reference(1))), (Some(News::Delivered), Some(bounced)));
    let lost = message(151, "").delivery;
    assert_eq!(of(&About::Delivery(lost)), Some(News::Delivered), "the doubt is settled");
    let address = "+8613800000001".to_owned();
    assert_eq!(of(&About::Address { channel: Channel::Sms, address }), Some(News::Unsubscribed));
    let calls = simulator.server().counts().requests;
    assert!(calls >= 2 + 3, "two pages, and the replies: {calls}");
}

/// A receipt that was pushed and is fetched again has one id.
#[tokio::test]
async fn what_was_pushed_is_not_news_when_it_is_fetched() {
    let (simulator, hooks) = (simulator([]).await, HookServer::start().await);
    let every = Some(Duration::from_millis(20));
    let settings = TencentSettings { pull_every: every, ..settings(&simulator) };
    hooks.serve(hook("qq", &settings).unwrap());
    simulator.callbacks().aim(format!("{}/hooks/qq/{SECRET}", hooks.public_url()));
    let (provider, mut told) = provider(&settings);
    assert_eq!(verdicts(&provider.session().send(&messages(2)).await), [ACCEPTED; 2]);
    assert!(simulator.reply("+8613800000001", "商店", "T").await);
    simulator.callbacks().settled(|counts| counts.taken == 3).await;
    let _listening = AbortOnDrop(tokio::spawn(async move { provider.listen().await }));
    let pushed: HashSet<_> = hooks.receipts().iter().map(|receipt| receipt.id).collect();
    let mut fetched = HashSet::new();
    while fetched.len() < 3 {
        fetched.insert(told.recv().await.unwrap().id);
    }
    assert_eq!(pushed, fetched);
}

#[tokio::test]
async fn who_may_not_fetch_is_told_so_and_tries_later() {
    let simulator = simulator([]).await;
    let wrong = TencentSettings {
        secret_key: Secret::new("x"),
        pull_every: Some(Duration::from_millis(20)),
        ..settings(&simulator)
    };
    let (provider, _told) = provider(&wrong);
    provider.listen().await;
    assert_eq!(simulator.server().counts().requests, 1);
}
