//! The provider against the simulator, which counts what reaches whom.

use std::time::Duration;

use campaignd_loadtest::jpush::{Jpush as Simulator, Options};
use campaignd_loadtest::script::Rule;

use super::{labels, messages, session, settings};
use crate::config::{Cid, JpushSettings, Secret};
use crate::model::Outcome;
use crate::provider::Message;
use crate::provider::keyed::tests::push;

async fn simulator(rules: impl Into<Vec<Rule>>) -> Simulator {
    let options = Options { rules: rules.into(), seed: 7, ..Options::default() };
    Simulator::start("127.0.0.1:0", options).await.unwrap()
}

fn of(simulator: &Simulator) -> JpushSettings {
    settings(&format!("http://{}", simulator.addr()))
}

#[tokio::test]
async fn whatever_breaks_everybody_gets_it_once_where_the_cid_stays() {
    for batch in [false, true] {
        let simulator = simulator([
            Rule::share(0.1).cut_after(),
            Rule::share(0.1).cut_before(),
            Rule::share(0.1).status(502),
            Rule::share(0.1).code("1030"),
        ])
        .await;
        let settings = JpushSettings { batch, cid: Cid::Derived, ..of(&simulator) };
        let mut session = session(&settings);
        for first in (1..=200).step_by(10) {
            let mut pending: Vec<i64> = (first..first + 10).collect();
            // What is not settled is handed over again, as the dispatcher does and a crash forces it to.
            while !pending.is_empty() {
                let sent: Vec<Message> =
                    pending.iter().map(|number| push(*number, &format!("regid{number}"), None)).collect();
                let mut outcomes = session.send(&sent).await.into_iter();
                pending.retain(|_| outcomes.next().unwrap().as_str() != "accepted");
            }
        }
        let counts = simulator.tally().counts();
        assert_eq!((counts.messages, counts.recipients, counts.repeated), (200, 200, 0), "batch: {batch}");
    }
}

#[tokio::test]
async fn what_was_accepted_with_fetched_cids_arrived_once_and_the_rest_is_in_doubt() {
    let simulator = simulator([Rule::share(0.3).cut_after(), Rule::share(0.2).status(502)]).await;
    let outcomes = session(&of(&simulator)).send(&messages(100)).await;
    let mut doubts = 0;
    for (number, outcome) in (1..).zip(&outcomes) {
        let got = simulator.tally().to(&format!("regid{number}"));
        match outcome {
            Outcome::Accepted { .. } => assert_eq!(got, 1),
            Outcome::Unknown { .. } => {
                assert!(got <= 1);
                doubts += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((1..50).contains(&doubts), "{doubts} of 100");
}

#[tokio::test]
async fn a_dead_device_and_a_text_that_is_too_long_fail_alone() {
    for batch in [false, true] {
        let simulator = simulator([Rule::to("regid2").code("1011")]).await;
        let mut sent = messages(4);
        sent[2] = push(3, "regid3", Some(&"x".repeat(5_000)));
        let settings = JpushSettings { batch, ..of(&simulator) };
        let outcomes = session(&settings).send(&sent).await;
        assert_eq!(labels(&outcomes), ["accepted", "rejected", "rejected", "accepted"]);
        assert_eq!(outcomes[2].detail(), Some("1005: Push message exceeds limit"));
        assert_eq!(simulator.tally().counts().messages, 2);
    }
}

#[tokio::test]
async fn a_slow_answer_is_asked_for_again_and_sends_nothing_again() {
    let simulator = simulator([Rule::nth(1).wait(Duration::from_secs(3_600))]).await;
    let settings = JpushSettings { timeout: Duration::from_secs(1), ..of(&simulator) };
    assert_eq!(labels(&session(&settings).send(&messages(1)).await), ["accepted"]);
    assert_eq!(simulator.tally().counts().messages, 1);
}

#[tokio::test]
async fn above_the_rate_the_account_waits_for_the_next_minute() {
    // A call for cids counts, too.
    let options = Options { per_minute: Some(3), ..Options::default() };
    let simulator = Simulator::start("127.0.0.1:0", options).await.unwrap();
    let outcomes = session(&of(&simulator)).send(&messages(4)).await;
    let Some(Outcome::Throttled { after: Some(after), .. }) =
        outcomes.iter().find(|outcome| outcome.as_str() == "throttled")
    else {
        panic!("{outcomes:?}")
    };
    assert!(*after <= Duration::from_secs(60));
}

#[tokio::test]
async fn a_wrong_secret_is_the_accounts_matter() {
    let simulator = simulator([]).await;
    let settings = JpushSettings { master_secret: Secret::new("wrong"), ..of(&simulator) };
    assert_eq!(session(&settings).ready().await.unwrap_err().as_str(), "account_refused");
    let settings = JpushSettings { cid: Cid::Derived, ..settings };
    assert_eq!(labels(&session(&settings).send(&messages(2)).await), ["account_refused", "returned"]);
    assert_eq!(simulator.tally().counts().messages, 0);
}
