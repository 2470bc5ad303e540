//! The provider against the simulator of FCM, which verifies every assertion by itself, over both versions of HTTP.

use campaignd_loadtest::fcm::{Account, Fcm as Google, Options};
use campaignd_loadtest::http::Http2;
use campaignd_loadtest::script::Rule;

use super::Fcm;
use super::tests::{messages, settings, verdicts};
use crate::config::{FcmSettings, HttpVersion};
use crate::model::Reason;
use crate::provider::Provider as _;
use crate::provider::jwt::tests::rsa;

async fn start(http: HttpVersion, options: Options) -> (Google, Fcm) {
    let account = Account { public_key: rsa().public.clone(), ..options.account };
    let google = Google::start("127.0.0.1:0", Options { account, ..options }).await.unwrap();
    let settings = FcmSettings { http, ..settings(&format!("http://{}", google.addr())) };
    (google, Fcm::new(&settings).unwrap())
}

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

#[tokio::test]
async fn a_token_that_expires_in_mid_run_loses_nothing_and_doubles_nothing() {
    for http in VERSIONS {
        let (google, fcm) = start(http, Options::default()).await;
        let sent = messages(200);
        let (first, second) = sent.split_at(100);
        let (mut one, mut other) = (fcm.session(), fcm.session());
        let expiry = async {
            google.tally().received(50).await;
            google.expire_tokens();
        };
        let (first, second, ()) = tokio::join!(one.send(first), other.send(second), expiry);
        assert_eq!(
            (verdicts(&first), verdicts(&second)),
            (vec![("accepted", None); 100], vec![("accepted", None); 100])
        );
        let counts = google.tally().counts();
        assert_eq!((counts.messages, counts.recipients, counts.repeated), (200, 200, 0), "{http:?}");
        assert!(google.tokens() <= 2, "{}", google.tokens());
    }
}

#[tokio::test]
async fn goodbyes_and_few_streams_lose_nothing_and_double_nothing() {
    let usual = Options::default();
    let http2 = Http2 { streams: 10, requests: Some(70), ..Http2::default() };
    let http = campaignd_loadtest::http::Options { http2, ..usual.http.clone() };
    let (google, fcm) = start(HttpVersion::Http2, Options { http, ..usual }).await;
    let outcomes = fcm.session().send(&messages(200)).await;
    assert_eq!(verdicts(&outcomes), [("accepted", None); 200]);
    assert_eq!((google.tally().counts().messages, google.tally().counts().repeated), (200, 0));
}

#[tokio::test]
async fn every_error_of_the_service_lands_on_its_own_message() {
    let rejected = |reason| ("rejected", Some(reason));
    let account = ("account_refused", Some(Reason::AccountRefused));
    let retry = ("retry", Some(Reason::TemporaryFailure));
    let wanted = [
        ("UNREGISTERED", rejected(Reason::UnknownRecipient)),
        ("SENDER_ID_MISMATCH", rejected(Reason::RecipientRefused)),
        ("QUOTA_EXCEEDED", ("throttled", Some(Reason::Throttled))),
        ("UNAVAILABLE", retry),
        ("INTERNAL", retry),
        ("THIRD_PARTY_AUTH_ERROR", account),
    ];
    for http in VERSIONS {
        let sent = messages(7);
        let rules = wanted.iter().zip(&sent).map(|((code, _), message)| Rule::to(&message.to).code(*code));
        let (_google, fcm) = start(http, Options { rules: rules.collect(), ..Options::default() }).await;
        let outcomes = verdicts(&fcm.session().send(&sent).await);
        for ((code, wanted), outcome) in wanted.iter().zip(&outcomes) {
            assert_eq!(outcome, wanted, "{code} {http:?}");
        }
        assert_eq!(outcomes[6], ("accepted", None));
    }
}

#[tokio::test]
async fn a_cut_is_doubt_whether_it_was_taken_or_not() {
    for http in VERSIONS {
        for (rule, taken) in [(Rule::nth(1).cut_before(), 0), (Rule::nth(1).cut_after(), 1)] {
            let (google, fcm) = start(http, Options { rules: vec![rule], ..Options::default() }).await;
            let outcomes = fcm.session().send(&messages(1)).await;
            assert_eq!(outcomes[0].as_str(), "unknown", "{outcomes:?}");
            assert_eq!(google.tally().counts().messages, taken);
        }
    }
}
