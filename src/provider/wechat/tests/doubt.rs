//! Requests without an answer: repeated with the same id where WeChat drops repeats, in doubt elsewhere.

use campaignd_loadtest::script::Rule;

use super::*;

/// One second, where the answer is the one that never comes.
fn impatient(settings: WechatSettings, wanted: (&str, Option<Reason>)) -> WechatSettings {
    let timeout = if wanted == NO_ANSWER { Duration::from_secs(1) } else { settings.timeout };
    WechatSettings { timeout, ..settings }
}

/// What can happen to an answer, and what is said where nothing more can be asked.
fn silences() -> [(Rule, (&'static str, Option<Reason>)); 4] {
    let hour = Duration::from_secs(3_600);
    [
        (Rule::nth(2).cut_before(), LOST),
        (Rule::nth(2).cut_after(), LOST),
        (Rule::nth(2).wait(hour), NO_ANSWER),
        (Rule::nth(2).status(502), NO_ANSWER),
    ]
}

#[tokio::test]
async fn template_messages_are_repeated_once_at_once_and_arrive_once() {
    for (rule, wanted) in silences() {
        let platform = platform(Options { rules: vec![rule.clone()], ..Options::default() }).await;
        let mut session = session(&impatient(settings(&platform), wanted));
        let outcomes = session.send(&messages(1..=3)).await;
        all_accepted_once(&platform, &outcomes);
        // The token, three messages and one of them again.
        assert_eq!(platform.server().counts().requests, 5, "{rule:?}");
    }
}

#[tokio::test]
async fn the_other_kinds_are_in_doubt_and_never_repeated() {
    for message in [WechatMessage::Subscribe, WechatMessage::Custom] {
        for (rule, wanted) in silences() {
            let platform = platform(Options { rules: vec![rule.clone()], ..Options::default() }).await;
            let settings = WechatSettings { message, ..impatient(settings(&platform), wanted) };
            let outcomes = session(&settings).send(&messages(1..=3)).await;
            assert_eq!(verdicts(&outcomes), [ACCEPTED, wanted, ACCEPTED], "{message:?} {rule:?}");
            assert_eq!(platform.server().counts().requests, 4, "{rule:?}");
        }
    }
}

#[tokio::test]
async fn a_second_silence_leaves_the_doubt() {
    let rules = vec![Rule::to("oOPENID_2").cut_after()];
    let platform = platform(Options { rules, ..Options::default() }).await;
    let outcomes = session(&settings(&platform)).send(&messages(1..=3)).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED, LOST, ACCEPTED]);
    assert_eq!((platform.tally().to("oOPENID_2"), platform.server().counts().requests), (1, 5));
}

/// Nobody knows what WeChat says to a repeat: only what holds for both requests is believed.
#[tokio::test]
async fn what_a_repeat_hears_is_believed_only_where_it_holds_for_both() {
    for (code, wanted) in [
        (40_241, ACCEPTED),
        (47_003, ("rejected", Some(Reason::MessageRefused))),
        (43_004, ("rejected", Some(Reason::RecipientRefused))),
        (-1, LOST),
        (45_009, LOST),
        (45_011, LOST),
        (43_117, LOST),
        (40_037, LOST),
        (48_001, LOST),
        (99_999, LOST),
    ] {
        let rules = vec![Rule::nth(1).cut_after()];
        let platform = platform(Options { rules, repeated: Some(code), ..Options::default() }).await;
        let outcomes = session(&settings(&platform)).send(&messages(1..=1)).await;
        assert_eq!(verdicts(&outcomes), [wanted], "{code}");
        if wanted == LOST {
            assert!(outcomes[0].detail().unwrap().contains(&code.to_string()), "{:?}", outcomes[0]);
        }
        assert_eq!(platform.tally().to("oOPENID_1"), 1);
    }
}

#[tokio::test]
async fn a_repeat_whose_token_ended_meanwhile_goes_out_with_the_next() {
    let rules = vec![Rule::nth(1).cut_after(), Rule::nth(2).code("42001")];
    let platform = platform(Options { rules, ..Options::default() }).await;
    let outcomes = session(&settings(&platform)).send(&messages(1..=2)).await;
    all_accepted_once(&platform, &outcomes);
    assert_eq!(platform.tokens().stable, 2);
}

#[tokio::test]
async fn a_token_that_nobody_answers_for_costs_no_message() {
    let token_rules = vec![Rule::nth(1).cut_after(), Rule::nth(2).status(502), Rule::nth(3).code("-1")];
    let platform = platform(Options { token_rules, ..Options::default() }).await;
    let mut session = session(&settings(&platform));
    for wanted in [NOT_SENT, RETRY, RETRY] {
        assert_eq!(verdicts(&[session.ready().await.unwrap_err()]), [wanted]);
    }
    session.ready().await.unwrap();
    all_accepted_once(&platform, &session.send(&messages(1..=2)).await);
}
