//! WeChat from a job in RabbitMQ to receipts in the report, against a simulator of its platform.

use campaignd::model::{CampaignStatus, Channel};
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::wechat::{Account, Options, Wechat};
use serde_json::{Value, json};

use crate::harness::books::{Books, Fates};
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::http::post;
use crate::harness::mail::RecordingSink;
use crate::harness::publish::publish;
use crate::services::wait::eventually;

const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const TEMPLATE: &str = r#"[wechat]
template_id = "ngqIpbwh8bUfcSsECmogfXcV14J0tQlEpBO27izEYtY"
url = "https://shop.example/points"
data = { thing1 = { value = "{{name}}" }, number2 = { value = "{{points}}" } }
"#;
const PEOPLE: usize = 3_000;

fn id(i: usize) -> String {
    format!("C-{i:05}")
}

fn openid(i: usize) -> String {
    format!("oOPENID_{i:05}")
}

/// A platform that calls early, twice and out of order, cuts three connections, and refuses some people.
fn platform() -> Options {
    let defaults = Options::default();
    Options {
        account: Account { encoding_aes_key: Some(KEY.to_owned()), ..defaults.account },
        rules: vec![
            Rule::nth(100).cut_after(),
            Rule::nth(1_000).cut_before(),
            Rule::nth(2_000).cut_after(),
            Rule::to(openid(10)).code("40003"),
            Rule::to(openid(20)).code("43004"),
            Rule::to(openid(30)).receipt("failed:user block"),
            Rule::to(openid(40)).receipt("failed: system failed"),
        ],
        receipts: Plan { early: 0.05, repeated: 0.05, late: 0.05, connections: 64, ..defaults.receipts },
        ..Options::default()
    }
}

fn expected() -> Fates {
    let fate = |i| match i {
        10 => "rejected/unknown_recipient",
        20 => "rejected/recipient_refused",
        30 => "bounced/recipient_refused",
        40 => "bounced/temporary_failure",
        _ => "delivered",
    };
    (1..=PEOPLE).map(|i| (id(i), fate(i).to_owned())).collect()
}

fn campaign(name: &str, purpose: &str, audience: Value) -> Value {
    json!({"type": "campaign", "id": name, "channel": "wechat", "purpose": purpose, "template": "points",
           "audience": audience, "data": {"points": "39"}})
}

async fn setup(platform: &Wechat) -> Setup {
    let more = format!(
        "[channels.wechat]\nproviders = \"oa\"\n[providers.oa]\nkind = \"wechat\"\n\
         app_id = \"wx1234567890abcdef\"\napp_secret = \"0123456789abcdef0123456789abcdef\"\n\
         base_url = \"http://{}\"\ncallback_token = \"test_token\"\ncallback_aes_key = \"{KEY}\"\n",
        platform.addr()
    );
    let sink = RecordingSink::start().await;
    let setup = Setup::new(sink.address(), &more).await;
    setup.write("templates/points/template.toml", TEMPLATE);
    platform.callbacks().aim(format!("http://{}/hooks/oa", setup.public));
    setup
}

async fn import(setup: &Setup) {
    let people = (1..=PEOPLE).map(|i| format!("{},{},用户 {i}\n", id(i), openid(i)));
    let csv: String = std::iter::once("external_id,wechat,name\n".to_owned()).chain(people).collect();
    setup.write("people.csv", &csv);
    let output = setup.cli(&["contacts", "import", "people.csv", "--consent"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn submit(setup: &Setup, job: &Value) {
    let answer = post(setup.admin, "/v1/jobs", &job.to_string()).await.expect("an answer");
    assert_eq!(answer.status(), 202, "{}", answer.body());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_once_with_a_receipt_while_the_token_ends_and_answers_are_lost() {
    let platform = Wechat::start("127.0.0.1:0", platform()).await.expect("a platform");
    let setup = setup(&platform).await;
    let _daemon = Daemon::start(&setup).await;
    let books = Books::of(&setup.store_url);
    import(&setup).await;
    assert!(platform.check_url().await);

    let taken = (PEOPLE - 2) as u64;
    let job = campaign("points", "service", json!({"all": true})).to_string();
    let options = ["--exchange", "campaignd", "--routing-key", "jobs"];
    assert_eq!(publish(&setup.amqp_url, &options, &job).await, Ok(1));
    platform.tally().received(taken / 2).await;
    platform.expire_tokens();
    platform.tally().received(taken).await;
    books.until("points", CampaignStatus::Finished).await;

    let counts = platform.tally().counts();
    assert_eq!((counts.messages, counts.recipients, counts.repeated), (taken, taken, 0));
    assert_eq!((platform.tokens().stable, platform.tokens().issued), (2, 2));
    every_receipt(&books).await;
    let fates = books.fates("points").await;
    let differ: Vec<_> =
        fates.iter().filter(|(id, fate)| expected().get(*id) != Some(fate)).take(9).collect();
    assert!(fates == expected(), "{differ:?}");
    books.assert_balanced("points").await;
    let sample = &platform.tally().matching(|message| message.to == openid(77))[0];
    assert_eq!(sample.body["data"]["thing1"]["value"], "用户 77");

    leaving_and_what_follows(&platform, &setup, &books).await;
}

/// Waits as long as receipts come.
async fn every_receipt(books: &Books) {
    let mut waiting = i64::MAX;
    while waiting > 0 {
        waiting = eventually("another receipt", async || {
            let accepted = books.tally("points").await.get("accepted").copied().unwrap_or(0);
            (accepted < waiting).then_some(accepted)
        })
        .await;
    }
}

async fn leaving_and_what_follows(platform: &Wechat, setup: &Setup, books: &Books) {
    assert!(platform.unsubscribe(&openid(50)).await);
    assert!(platform.text(&openid(60), "ＴＤ").await);
    assert!(platform.text(&openid(70), "有什么优惠？").await);
    for (i, gone) in [(50, true), (60, true), (70, false)] {
        let contact = books.contact(&id(i)).await;
        let address = contact.addresses.iter().find(|address| address.channel == Channel::Wechat);
        assert_eq!(address.expect("an openid").unsubscribed_at.is_some(), gone, "{i}");
    }
    let audience = json!({"contacts": [id(10), id(50), id(70)]});
    submit(setup, &campaign("again", "service", audience.clone())).await;
    let fates = books.finished("again").await;
    assert_eq!(fates[&id(10)], "excluded/suppressed", "nobody has that openid");
    assert_eq!(fates[&id(50)], "rejected/recipient_refused");
    assert!(["accepted", "delivered"].contains(&&*fates[&id(70)]), "{fates:?}");
    submit(setup, &campaign("sale", "marketing", audience)).await;
    let fates = books.finished("sale").await;
    assert_eq!(fates[&id(70)], "excluded/purpose_forbidden", "template messages carry no marketing");
}
