//! JPush: batches of which one device is unknown, calls without an answer, the quota of a minute.

use campaignd_loadtest::jpush::{Jpush, Options};
use campaignd_loadtest::script::Rule;

use super::{crowd, once};
use crate::harness::crowd::fates;

fn device(i: usize) -> String {
    format!("18071adc030{i:08x}")
}

async fn service(rules: Vec<Rule>) -> (Jpush, String) {
    let service = Jpush::start("127.0.0.1:0", Options { rules, ..Options::default() }).await.unwrap();
    let account = format!(
        "kind = \"jpush\"\nbase_url = \"http://{}\"\napp_key = \"appkey00000000000000abcd\"\n\
         master_secret = \"mastersecret000000000000\"\n",
        service.addr()
    );
    (service, account)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_reach_everyone_once_though_answers_are_lost() {
    const PEOPLE: usize = 2_000;
    let rules = vec![
        Rule::nth(2).cut_after(),
        Rule::nth(3).code("1030"),
        Rule::to(device(10)).code("1011"),
        Rule::to(device(20)).code("1003"),
        Rule::to(device(30)).code("1030").times(1),
        Rule::to(device(40)).cut_after().times(1),
    ];
    let (service, account) = service(rules).await;
    let account = format!("{account}batch = true\ncid = \"derived\"\n");
    let app = crowd(&account, &[], PEOPLE, device).await;

    app.send("spring").await;
    let others = [(10, "rejected/unknown_recipient"), (20, "rejected/message_refused")];
    app.assert_finished("spring", &fates(PEOPLE, "accepted", &others)).await;
    assert_eq!(service.tally().counts(), once(PEOPLE - 2));

    app.send("summer").await;
    let others = [(10, "excluded/suppressed"), (20, "rejected/message_refused")];
    app.assert_finished("summer", &fates(PEOPLE, "accepted", &others)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_pushes_carry_the_cids_that_the_service_gave() {
    const PEOPLE: usize = 400;
    let rules = vec![
        Rule::nth(50).code("2002"),
        Rule::nth(100).cut_after(),
        Rule::nth(150).code("1000"),
        Rule::to(device(10)).code("1011"),
        Rule::to(device(20)).code("1000"),
    ];
    let (service, account) = service(rules).await;
    let app = crowd(&account, &[], PEOPLE, device).await;

    app.send("spring").await;
    let others = [(10, "rejected/unknown_recipient"), (20, "unknown/no_answer")];
    app.assert_finished("spring", &fates(PEOPLE, "accepted", &others)).await;
    assert_eq!(service.tally().counts(), once(PEOPLE - 2));
    let taken = service.tally().newest();
    assert!(taken.iter().all(|message| message.cid.starts_with("appkey00000000000000abcd-")));
}
