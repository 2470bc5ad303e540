//! The provider against the simulator of Apple's service, which verifies every token by itself, over TLS.

use std::io::Write as _;

use campaignd_loadtest::apns::{Account, Apns as Apple, Options};
use campaignd_loadtest::http::Http2;
use campaignd_loadtest::script::Rule;

use super::Apns;
use super::tests::{messages, settings_with, verdicts};
use crate::config::ApnsSettings;
use crate::model::Reason;
use crate::provider::Provider as _;
use crate::provider::jwt::tests::p256;

/// A service that knows the account, the account, and the file by which it trusts the service.
async fn start(options: Options) -> (Apple, Apns, tempfile::NamedTempFile) {
    let pair = p256();
    let account = Account { public_key: pair.public, ..options.account };
    let apple = Apple::start("127.0.0.1:0", Options { account, ..options }).await.unwrap();
    let mut ca = tempfile::NamedTempFile::new().unwrap();
    ca.write_all(apple.authority().unwrap().as_bytes()).unwrap();
    let url = format!("https://{}", apple.addr());
    let settings = ApnsSettings { ca_file: Some(ca.path().to_owned()), ..settings_with(&url, &pair.private) };
    (apple, Apns::new(&settings).unwrap(), ca)
}

fn options(rules: Vec<Rule>, http2: Http2) -> Options {
    let usual = Options::default();
    let http = campaignd_loadtest::http::Options { http2, ..usual.http.clone() };
    Options { rules, http, ..usual }
}

#[tokio::test]
async fn goodbyes_and_few_streams_lose_nothing_and_double_nothing() {
    let http2 = Http2 { streams: 20, requests: Some(70), ..Http2::default() };
    let (apple, apns, _ca) = start(options(Vec::new(), http2)).await;
    let sent = messages(400);
    let (first, second) = sent.split_at(200);
    let (mut one, mut other) = (apns.session(), apns.session());
    let (first, second) = tokio::join!(one.send(first), other.send(second));
    for outcome in first.iter().chain(&second) {
        assert_eq!(outcome.as_str(), "accepted", "{outcome:?}");
    }
    let counts = apple.tally().counts();
    assert_eq!((counts.messages, counts.recipients, counts.repeated), (400, 400, 0));
    assert!(apple.server().counts().connections >= 6);
}

#[tokio::test]
async fn a_device_that_is_gone_is_an_unknown_recipient() {
    let (apple, apns, _ca) = start(Options::default()).await;
    let sent = messages(3);
    apple.unregister(&sent[1].to, 1_795_219_200);
    let outcomes = apns.session().send(&sent).await;
    let unknown = ("rejected", Some(Reason::UnknownRecipient));
    assert_eq!(verdicts(&outcomes), [("accepted", None), unknown, ("accepted", None)]);
    assert_eq!(outcomes[1].detail(), Some("HTTP 410 Unregistered since 2026-11-21T00:00:00Z"));
}

#[tokio::test]
async fn a_token_that_is_called_too_old_is_replaced() {
    let rules = vec![Rule::nth(30).code("ExpiredProviderToken")];
    let options = Options { token_updates_apart: 0, ..options(rules, Http2::default()) };
    let (apple, apns, _ca) = start(options).await;
    let outcomes = apns.session().send(&messages(60)).await;
    assert_eq!(verdicts(&outcomes), [("accepted", None); 60]);
    assert_eq!((apple.tally().counts().messages, apple.tally().counts().repeated), (60, 0));
}

#[tokio::test]
async fn a_token_that_comes_too_soon_makes_the_account_wait() {
    let rules = vec![Rule::nth(1).code("ExpiredProviderToken")];
    let (apple, apns, _ca) = start(options(rules, Http2::default())).await;
    let outcomes = apns.session().send(&messages(1)).await;
    assert_eq!(verdicts(&outcomes), [("throttled", Some(Reason::Throttled))]);
    assert_eq!(apple.tally().counts().messages, 0);
}

#[tokio::test]
async fn a_cut_is_doubt_whether_it_was_taken_or_not() {
    for (rule, taken) in [(Rule::nth(1).cut_before(), 0), (Rule::nth(1).cut_after(), 1)] {
        let (apple, apns, _ca) = start(options(vec![rule], Http2::default())).await;
        let outcomes = apns.session().send(&messages(1)).await;
        assert_eq!(outcomes[0].as_str(), "unknown", "{outcomes:?}");
        assert_eq!(apple.tally().counts().messages, taken);
    }
}
