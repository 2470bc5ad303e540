//! The provider against the simulator, which verifies every signature by itself and counts what reaches whom.

use std::num::NonZeroU16;
use std::time::Duration;

use campaignd_loadtest::getui::{Getui as Simulator, Options};
use campaignd_loadtest::script::Rule;

use super::{labels, messages, session};
use crate::config::{GetuiSettings, Secret};
use crate::model::Reason;
use crate::provider::Message;
use crate::provider::keyed::tests::push;

async fn simulator(rules: impl Into<Vec<Rule>>, refuse_repeats: bool) -> Simulator {
    let options = Options { rules: rules.into(), seed: 7, refuse_repeats, ..Options::default() };
    Simulator::start("127.0.0.1:0", options).await.unwrap()
}

fn of(simulator: &Simulator) -> GetuiSettings {
    let Options { app_id, app_key, master_secret, .. } = Options::default();
    let master_secret = Secret::new(master_secret);
    let url = format!("http://{}", simulator.addr());
    GetuiSettings { app_id, app_key, master_secret, ..super::settings(&url) }
}

#[tokio::test]
async fn whatever_breaks_everybody_gets_it_once() {
    for (batch, refuse_repeats) in [(1, false), (1, true), (20, false), (20, true)] {
        let rules = [
            Rule::share(0.1).cut_after(),
            Rule::share(0.1).cut_before(),
            Rule::share(0.1).status(502),
            Rule::share(0.1).code("2"),
        ];
        let simulator = simulator(rules, refuse_repeats).await;
        let settings = GetuiSettings { batch: NonZeroU16::new(batch).unwrap(), ..of(&simulator) };
        let mut session = session(&settings);
        for first in (1..=200).step_by(20) {
            let mut pending: Vec<i64> = (first..first + 20).collect();
            // What is not settled is handed over again, as the dispatcher does and a crash forces it to.
            while !pending.is_empty() {
                let sent: Vec<Message> =
                    pending.iter().map(|number| push(*number, &format!("cid{number}"), None)).collect();
                let mut outcomes = session.send(&sent).await.into_iter();
                pending.retain(|_| outcomes.next().unwrap().as_str() != "accepted");
            }
        }
        let counts = simulator.tally().counts();
        assert_eq!((counts.messages, counts.recipients, counts.repeated), (200, 200, 0), "batch: {batch}");
    }
}

#[tokio::test]
async fn single_recipients_fail_alone() {
    let rules = [Rule::to("cid2").code("successed_ignore"), Rule::to("cid3").code("20001")];
    let simulator = simulator(rules, false).await;
    let outcomes = session(&of(&simulator)).send(&messages(5)).await;
    assert_eq!(labels(&outcomes), ["accepted", "rejected", "rejected", "accepted", "accepted"]);
    assert_eq!(outcomes[1].reason(), Some(Reason::RecipientRefused));
    assert_eq!(outcomes[2].reason(), Some(Reason::UnknownRecipient));
    assert_eq!(simulator.tally().counts().messages, 3);
}

#[tokio::test]
async fn tokens_that_end_in_mid_run_are_renewed() {
    let simulator = simulator([], false).await;
    let mut session = session(&of(&simulator));
    for round in 1..=3 {
        session.ready().await.unwrap();
        let sent = messages(30);
        assert_eq!(labels(&session.send(&sent[round * 3..round * 3 + 3]).await), ["accepted"; 3]);
        simulator.expire_tokens();
    }
    assert_eq!((simulator.tokens(), simulator.tally().counts().messages), (3, 9));
}

#[tokio::test]
async fn a_slow_answer_is_asked_for_again_and_sends_nothing_again() {
    for refuse_repeats in [false, true] {
        // The call for a token is numbered by itself.
        let simulator = simulator([Rule::nth(1).wait(Duration::from_secs(3_600))], refuse_repeats).await;
        let settings = GetuiSettings { timeout: Duration::from_secs(1), ..of(&simulator) };
        assert_eq!(labels(&session(&settings).send(&messages(3)).await), ["accepted"; 3]);
        assert_eq!(simulator.tally().counts().messages, 3);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_the_accounts_matter() {
    let simulator = simulator([], false).await;
    let settings = GetuiSettings { master_secret: Secret::new("wrong"), ..of(&simulator) };
    let mut session = session(&settings);
    assert_eq!(session.ready().await.unwrap_err().as_str(), "account_refused");
    assert_eq!(labels(&session.send(&messages(2)).await), ["account_refused"; 2]);
    assert_eq!(simulator.tally().counts().messages, 0);
}
