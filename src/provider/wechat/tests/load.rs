//! Many sessions at once: one token for all of them, and no more requests than WeChat takes.

use campaignd_loadtest::script::Rule;
use futures_util::future::join_all;

use super::*;

/// Splits the messages over the sessions of an account, and gathers the outcomes in the messages' order.
async fn sent_by(account: &Wechat, sessions: usize, messages: &[Message]) -> Vec<Outcome> {
    let shares = messages.chunks(messages.len().div_ceil(sessions)).map(|share| async {
        let mut session = account.session();
        let mut outcomes = Vec::with_capacity(share.len());
        for chunk in share.chunks(account.chunk_size()) {
            session.ready().await.unwrap();
            outcomes.extend(session.send(chunk).await);
        }
        outcomes
    });
    join_all(shares).await.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_amid_ten_thousand_messages_is_renewed_once_and_nothing_is_lost_or_doubled() {
    let platform = platform(Options::default()).await;
    let account = Wechat::new(&settings(&platform)).unwrap();
    let sent = messages(1..=10_000);
    let expiry = async {
        platform.tally().received(5_000).await;
        platform.expire_tokens();
    };
    let (outcomes, ()) = tokio::join!(sent_by(&account, 64, &sent), expiry);
    assert_eq!(outcomes.len(), sent.len());
    all_accepted_once(&platform, &outcomes);
    let tokens = platform.tokens();
    assert_eq!((tokens.stable, tokens.issued, tokens.forced, tokens.plain), (2, 2, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_told_too_many_at_once_sends_fewer() {
    let rules = vec![Rule::always().wait(Duration::from_millis(20))];
    let platform = platform(Options { at_once: Some(20), rules, ..Options::default() }).await;
    let account = Wechat::new(&settings(&platform)).unwrap();
    let outcomes = sent_by(&account, 64, &messages(1..=640)).await;
    let accepted = outcomes.iter().filter(|outcome| outcome.as_str() == "accepted").count();
    let counts = platform.tally().counts();
    assert_eq!((counts.messages, counts.repeated), (accepted as u64, 0));
    assert!(verdicts(&outcomes).iter().all(|verdict| [ACCEPTED, RETRY].contains(verdict)), "{outcomes:?}");
    let limit = account.0.window.limit();
    assert!((1.0..40.0).contains(&limit), "{limit}");
    assert!(accepted > 400, "{accepted}");
}
