//! Apple's service: connections say goodbye in mid-run, the provider token is called too old, apps are gone.

use campaignd_loadtest::apns::{Account, Apns, Options};
use campaignd_loadtest::http::{self, Http2};
use campaignd_loadtest::script::Rule;

use super::{crowd, once};
use crate::harness::crowd::{fates, id};

const PEOPLE: usize = 2_000;

fn device(i: usize) -> String {
    format!("{i:064x}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_once_while_connections_and_the_token_end() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let usual = Options::default();
    let http2 = Http2 { streams: 20, requests: Some(150), ..usual.http.http2.clone() };
    let options = Options {
        account: Account { public_key: pair.public_key_pem(), ..usual.account.clone() },
        token_updates_apart: 0,
        rules: vec![
            Rule::nth(700).code("ExpiredProviderToken"),
            Rule::nth(900).code("Shutdown"),
            Rule::to(device(20)).code("DeviceTokenNotForTopic"),
            Rule::to(device(1_900)).code("BadDeviceToken"),
            Rule::to(device(40)).code("PayloadTooLarge"),
            Rule::to(device(50)).code("InternalServerError").times(1),
            Rule::to(device(60)).code("ServiceUnavailable"),
        ],
        http: http::Options { http2, ..usual.http.clone() },
        ..usual
    };
    let apple = Apns::start("127.0.0.1:0", options).await.unwrap();
    apple.unregister(&device(10), 1_795_219_200);
    apple.unregister(&device(PEOPLE), 1_795_219_200);
    let account = format!(
        "kind = \"apns\"\nbase_url = \"https://{}\"\nca_file = \"apple.pem\"\nteam_id = \"TEAMID1234\"\n\
         key_id = \"KEYID12345\"\nkey_file = \"key.p8\"\ntopic = \"com.example.app\"\n",
        apple.addr()
    );
    let files = [("apple.pem", apple.authority().unwrap()), ("key.p8", &pair.serialize_pem())];
    let app = crowd(&account, &files, PEOPLE, device).await;

    app.send("spring").await;
    let gone = "rejected/unknown_recipient";
    let expected = fates(
        PEOPLE,
        "accepted",
        &[
            (10, gone),
            (20, "rejected/recipient_refused"),
            (1_900, gone),
            (40, "rejected/message_refused"),
            (60, "failed/retries_exhausted"),
            (PEOPLE, gone),
        ],
    );
    app.assert_finished("spring", &expected).await;
    assert_eq!(apple.tally().counts(), once(PEOPLE - 6));
    let connections = apple.server().counts().connections;
    assert!(connections >= 14, "at most 150 requests a connection: {connections}");
    let words = app.books.explain("spring", &id(10)).await;
    assert!(format!("{words:?}").contains("410 Unregistered since 2026-11-21T00:00:00Z"), "{words:?}");

    // Those who are gone are dead from then on, and nobody else is.
    app.send("summer").await;
    let fates = app.books.finished("summer").await;
    let left_out = fates.iter().filter(|(_, fate)| *fate == "excluded/suppressed").map(|(id, _)| id.as_str());
    assert_eq!(left_out.collect::<Vec<_>>(), ["C-00010", "C-01900", "C-02000"]);
    assert!(apple.tally().to(&device(10)) == 0 && apple.tally().to(&device(11)) == 2);
}
