//! Getui: the token ends in mid-run, answers are lost, one device spoils its batch.

use campaignd_loadtest::getui::{Getui, Options};
use campaignd_loadtest::script::Rule;

use super::{crowd, once};
use crate::harness::crowd::fates;

const PEOPLE: usize = 2_000;

fn device(i: usize) -> String {
    format!("{i:032x}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_once_while_the_token_ends_and_answers_are_lost() {
    let rules = vec![
        Rule::nth(3).cut_after(),
        Rule::nth(5).code("5000"),
        Rule::to(device(10)).code("successed_ignore"),
        Rule::to(device(20)).code("20001"),
        Rule::to(device(30)).code("successed_offline"),
    ];
    let service = Getui::start("127.0.0.1:0", Options { rules, ..Options::default() }).await.unwrap();
    let account = format!(
        "kind = \"getui\"\nbase_url = \"http://{}/v2\"\napp_id = \"testAppId\"\napp_key = \"testAppKey\"\n\
         master_secret = \"testMasterSecret\"\nbatch = 100\n",
        service.addr()
    );
    let app = crowd(&account, &[], PEOPLE, device).await;

    app.send("spring").await;
    service.tally().received(PEOPLE as u64 / 2).await;
    service.expire_tokens();
    let others = [(10, "rejected/recipient_refused"), (20, "rejected/unknown_recipient")];
    app.assert_finished("spring", &fates(PEOPLE, "accepted", &others)).await;
    // What waits for its device, and what goes to nobody, is no message of the tally.
    assert_eq!(service.tally().counts(), once(PEOPLE - 3));
    assert_eq!(service.tokens(), 2);

    app.send("summer").await;
    let others = [(10, "rejected/recipient_refused"), (20, "excluded/suppressed")];
    app.assert_finished("summer", &fates(PEOPLE, "accepted", &others)).await;
}
