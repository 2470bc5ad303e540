//! Google's service: the access token ends in mid-run, the quota is used up, apps are gone from their devices.

use campaignd_loadtest::fcm::{Account, Fcm, Options};
use campaignd_loadtest::script::{Rule, Then};
use serde_json::json;

use super::{crowd, once};
use crate::harness::crowd::fates;

const PEOPLE: usize = 2_000;

fn token(i: usize) -> String {
    format!("fcm-token-{i:05}:APA91b")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_once_while_the_token_ends_and_the_quota_is_used_up() {
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let usual = Options::default();
    let options = Options {
        account: Account { public_key: pair.public_key_pem(), ..usual.account.clone() },
        retry_after: Some(1),
        rules: vec![
            Rule::nth(300).code("QUOTA_EXCEEDED"),
            Rule::nth(1_700).code("QUOTA_EXCEEDED"),
            Rule::to(token(10)).code("INVALID_ARGUMENT"),
            Rule::to(token(20)).code("SENDER_ID_MISMATCH"),
            Rule::to(token(30)).code("BAD_REQUEST"),
            Rule::to(token(40)).code("UNAVAILABLE").times(1),
            Rule::to(token(50)).code("INTERNAL"),
            Rule::to(token(60)).then(Then::CutInAnswer),
        ],
        ..usual
    };
    let google = Fcm::start("127.0.0.1:0", options).await.unwrap();
    google.unregister(&token(70));
    google.unregister(&token(PEOPLE));
    let url = format!("http://{}", google.addr());
    let key = json!({"type": "service_account", "project_id": "test-proj", "private_key_id": "kid0001",
        "private_key": pair.serialize_pem(), "client_email": "fcm@test-proj.iam.gserviceaccount.com",
        "token_uri": format!("{url}/token")});
    let account = format!("kind = \"fcm\"\nbase_url = \"{url}\"\nkey_file = \"key.json\"\n");
    let app = crowd(&account, &[("key.json", &key.to_string())], PEOPLE, token).await;

    app.send("spring").await;
    google.tally().received(PEOPLE as u64 / 2).await;
    google.expire_tokens();
    let gone = "rejected/unknown_recipient";
    let expected = fates(
        PEOPLE,
        "accepted",
        &[
            (10, gone),
            (20, "rejected/recipient_refused"),
            (30, "rejected/message_refused"),
            (50, "failed/retries_exhausted"),
            (60, "unknown/connection_lost"),
            (70, gone),
            (PEOPLE, gone),
        ],
    );
    app.assert_finished("spring", &expected).await;
    // The one in doubt was taken.
    assert_eq!(google.tally().counts(), once(PEOPLE - 6));
    assert_eq!(google.tokens(), 2);

    // Those who are gone are dead from then on, and nobody else is.
    app.send("summer").await;
    app.books.finished("summer").await;
    let fates = app.books.fates("summer").await;
    let left_out = fates.iter().filter(|(_, fate)| *fate == "excluded/suppressed").map(|(id, _)| id.as_str());
    assert_eq!(left_out.collect::<Vec<_>>(), ["C-00010", "C-00070", "C-02000"]);
    assert!(google.tally().to(&token(70)) == 0 && google.tally().to(&token(71)) == 2);
}
