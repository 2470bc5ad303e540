//! WeChat from a job in RabbitMQ to receipts in the report, against a simulator of its platform.

use campaignd::model::Channel;
use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::wechat::{Account, Options, Wechat};
use serde_json::{Value, json};

use crate::harness::books::Fates;
use crate::harness::crowd::{Crowd, fates, id};
use crate::harness::daemon::Setup;
use crate::harness::http::post;
use crate::harness::mail::RecordingSink;

const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const TEMPLATE: &str = r#"[wechat]
template_id = "ngqIpbwh8bUfcSsECmogfXcV14J0tQlEpBO27izEYtY"
url = "https://shop.example/points"
data = { thing1 = { value = "{{name}}" }, number2 = { value = "{{points}}" } }
"#;
const PEOPLE: usize = 10_000;

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
    let others = [
        (10, "rejected/unknown_recipient"),
        (20, "rejected/recipient_refused"),
        (30, "bounced/recipient_refused"),
        (40, "bounced/temporary_failure"),
    ];
    fates(PEOPLE, "delivered", &others)
}

fn campaign(name: &str, purpose: &str, audience: Value) -> Value {
    json!({"type": "campaign", "id": name, "channel": "wechat", "purpose": purpose, "template": "points",
           "audience": audience})
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

async fn submit(setup: &Setup, job: &Value) {
    let answer = post(setup.admin, "/v1/jobs", &job.to_string()).await.expect("an answer");
    assert_eq!(answer.status(), 202, "{}", answer.body());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_once_with_a_receipt_while_the_token_ends_and_answers_are_lost() {
    let platform = Wechat::start("127.0.0.1:0", platform()).await.expect("a platform");
    let crowd = Crowd::gather(setup(&platform).await, "wechat", TEMPLATE, PEOPLE, openid).await;
    assert!(platform.check_url().await);

    let taken = (PEOPLE - 2) as u64;
    crowd.send("points").await;
    platform.tally().received(taken / 2).await;
    platform.expire_tokens();
    crowd.assert_settled("points", &expected()).await;

    let counts = platform.tally().counts();
    assert_eq!((counts.messages, counts.recipients, counts.repeated), (taken, taken, 0));
    assert_eq!((platform.tokens().stable, platform.tokens().issued), (2, 2));
    let sample = &platform.tally().matching(|message| message.to == openid(77))[0];
    assert_eq!(sample.body["data"]["thing1"]["value"], "用户 77");

    leaving_and_what_follows(&platform, &crowd).await;
}

async fn leaving_and_what_follows(platform: &Wechat, crowd: &Crowd) {
    let Crowd { setup, books, .. } = crowd;
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
