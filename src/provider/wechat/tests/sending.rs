//! What becomes of messages where every request is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use campaignd_loadtest::http;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::wechat::Kind;

use super::*;
use crate::provider::Departures;
use crate::provider::certificate::certificate;

#[tokio::test]
async fn template_messages_go_out_each_once_over_one_connection_with_one_token() {
    let platform = platform(Options::default()).await;
    let mut session = session(&settings(&platform));
    let outcomes = session.send(&messages(1..=50)).await;
    all_accepted_once(&platform, &outcomes);
    assert_eq!((platform.tokens().stable, platform.tokens().forced), (1, 0));
    assert_eq!(platform.server().counts().connections, 2, "one of them for the token");
    for (number, message) in (1..).zip(platform.tally().newest()) {
        assert_eq!(message.to, format!("oOPENID_{number}"));
        assert_eq!(message.body["data"]["keyword1"]["value"], "39.8元");
        assert_eq!(outcomes[number - 1].detail(), Some(&*message.msgid.to_string()));
    }
}

#[tokio::test]
async fn the_other_kinds_go_to_their_own_interfaces() {
    for (kind, route) in [(WechatMessage::Subscribe, Kind::Subscribe), (WechatMessage::Custom, Kind::Custom)]
    {
        let platform = platform(Options::default()).await;
        let mut session = session(&WechatSettings { message: kind, ..settings(&platform) });
        let outcomes = session.send(&messages(1..=3)).await;
        assert_eq!(outcomes, vec![Outcome::Accepted { provider_ref: None }; 3]);
        assert!(platform.tally().newest().iter().all(|message| message.kind == route));
    }
}

#[tokio::test]
async fn who_cannot_be_reached_holds_nobody_up() {
    let options = Options { opt_in: true, ..Options::default() };
    let platform = platform(options).await;
    platform.unsubscribe("oOPENID_2").await;
    let outcomes = session(&settings(&platform)).send(&messages(1..=3)).await;
    let left = ("rejected", Some(Reason::RecipientRefused));
    assert_eq!(verdicts(&outcomes), [ACCEPTED, left, ACCEPTED]);
    for message in [WechatMessage::Subscribe, WechatMessage::Custom] {
        let settings = WechatSettings { message, ..settings(&platform) };
        assert_eq!(verdicts(&session(&settings).send(&messages(1..=2)).await), [left, left], "{message:?}");
    }
}

#[tokio::test]
async fn every_code_of_the_table_comes_over_the_wire() {
    let rejected = |reason| ("rejected", Some(reason));
    let (dead, closed) = (rejected(Reason::UnknownRecipient), rejected(Reason::RecipientRefused));
    let (message_refused, deferred) =
        (rejected(Reason::MessageRefused), ("deferred", Some(Reason::Throttled)));
    let campaign = ("campaign_refused", Some(Reason::MessageRefused));
    for (codes, wanted) in [
        (&[-1, 99_999][..], RETRY),
        (&[40_003], dead),
        (&[43_004, 43_019, 43_101, 48_002, 45_015], closed),
        (&[43_117, 45_047, 40_241], deferred),
        (&[40_036, 40_037, 43_116, 41_030], campaign),
        (&[47_003, 41_001, 47_001, 40_033, 44_002, 43_002], message_refused),
        (&[45_009, 45_011], THROTTLED),
        (&[45_109, 45_103, 40_013, 40_125, 40_164, 40_243], ACCOUNT),
        (&[48_001, 48_004, 50_002, 61_003, 61_007], ACCOUNT),
        // Refused again with the new token.
        (&[40_001, 40_014, 42_001], ACCOUNT),
    ] {
        for code in codes {
            let rules = vec![Rule::to("oOPENID_2").code(code.to_string())];
            let platform = platform(Options { rules, ..Options::default() }).await;
            let outcomes = session(&settings(&platform)).send(&messages(1..=3)).await;
            let last = if [THROTTLED, ACCOUNT].contains(&wanted) { RETURNED } else { ACCEPTED };
            assert_eq!(verdicts(&outcomes), [ACCEPTED, wanted, last], "{code}");
            assert!(outcomes[1].detail().unwrap().contains(&code.to_string()), "{:?}", outcomes[1]);
            assert_eq!(platform.tally().to("oOPENID_2"), 0);
        }
    }
}

#[tokio::test]
async fn quotas_say_how_long() {
    let platform = platform(Options { per_minute: Some(2), ..Options::default() }).await;
    let outcomes = session(&settings(&platform)).send(&messages(1..=4)).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED, ACCEPTED, THROTTLED, RETURNED]);
    let Outcome::Throttled { after, .. } = &outcomes[2] else { panic!() };
    assert_eq!(*after, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn a_duplicate_is_an_earlier_attempt_that_arrived() {
    let rules = vec![Rule::always().code("40241")];
    let platform = platform(Options { rules, ..Options::default() }).await;
    let second = Message { attempt: 2, ..message(1) };
    let outcomes = session(&settings(&platform)).send(&[second]).await;
    assert_eq!(outcomes, [Outcome::Accepted { provider_ref: None }]);
}

#[tokio::test]
async fn an_account_with_another_secret_sends_nothing() {
    let platform = platform(Options::default()).await;
    let app_secret = Secret::new("not the secret");
    let mut session = session(&WechatSettings { app_secret, ..settings(&platform) });
    let outcome = session.ready().await.unwrap_err();
    assert_eq!(verdicts(std::slice::from_ref(&outcome)), [ACCOUNT]);
    let detail = outcome.detail().unwrap();
    assert!(detail.contains("40125") && !detail.contains("not the secret"), "{detail}");
    assert_eq!(verdicts(&session.send(&messages(1..=2)).await), [ACCOUNT, RETURNED]);
    assert_eq!(platform.tally().counts().messages, 0);
}

#[tokio::test]
async fn a_platform_that_is_away_gets_nothing() {
    let platform = platform(Options::default()).await;
    let mut session = session(&settings(&platform));
    platform.stop().await;
    assert_eq!(verdicts(&[session.ready().await.unwrap_err()]), [NOT_SENT]);
    assert_eq!(verdicts(&session.send(&messages(1..=2)).await), [NOT_SENT, RETURNED]);
}

#[tokio::test]
async fn tls_with_a_file_of_trusted_certificates() {
    let (acceptor, ca) = certificate();
    let http = http::Options { tls: Some(acceptor), ..http::Options::default() };
    let platform = platform(Options { http, ..Options::default() }).await;
    let (_, other) = certificate();
    for (ca, wanted) in [(&ca, ACCEPTED), (&other, ACCOUNT)] {
        let base_url = format!("https://{}", platform.addr());
        let ca_file = Some(ca.path().to_owned());
        let mut session = session(&WechatSettings { base_url, ca_file, ..settings(&platform) });
        assert_eq!(verdicts(&session.send(&messages(1..=1)).await), [wanted]);
    }
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
    let rules = vec![Rule::always().wait(Duration::from_secs(3_600))];
    let platform = platform(Options { rules, ..Options::default() }).await;
    let departed = Arc::new(Departed::default());
    let mut sent = message(1);
    sent.permit = Permit::new(vec![departed.clone()], 1);
    let mut session = session(&settings(&platform));
    session.ready().await.unwrap();
    assert_eq!(departed.0.load(Ordering::Relaxed), 0);
    let sent = [sent];
    tokio::select! {
        outcomes = session.send(&sent) => panic!("answered: {outcomes:?}"),
        () = platform.server().received(2) => {}
    }
    assert_eq!(departed.0.load(Ordering::Relaxed), 1);
}
