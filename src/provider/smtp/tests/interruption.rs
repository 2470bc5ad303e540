//! Servers that slow us down, break off or fall silent: what is in doubt is named, everything else can be sent again.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const NOT_TAKEN: (&str, Option<Reason>) = ("retry", Some(Reason::ConnectionFailed));
const IN_DOUBT: (&str, Option<Reason>) = ("unknown", Some(Reason::ConnectionLost));

/// Does `action` where `here` holds, the first time only.
fn once(here: fn(&Event<'_>) -> bool, action: Action) -> Options {
    let done = AtomicBool::new(false);
    Options::default().script(move |event| {
        let now = here(&event) && !done.swap(true, Ordering::Relaxed);
        if now { action.clone() } else { Action::Go }
    })
}

/// Sends a, b and c, where `options` trouble b, then what is left; in the end everyone has exactly `copies`.
async fn troubled(options: Options, wanted: [(&str, Option<Reason>); 3], copies: [usize; 3]) {
    let sink = sink(options).await;
    let mut session = session(config(&sink));
    let whom = ["a@x.example", "b@x.example", "c@x.example"];
    let all = messages(&whom);
    let outcomes = session.send(&all).await;
    assert_eq!(verdicts(&outcomes), wanted);
    let again: Vec<_> = messages(&whom)
        .into_iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| !matches!(outcome, Outcome::Accepted { .. } | Outcome::Unknown { .. }))
        .map(|(message, _)| message)
        .collect();
    assert!(verdicts(&session.send(&again).await).iter().all(|verdict| *verdict == ACCEPTED));
    let received = sink.messages();
    let count = |message: &Message| received.iter().filter(|r| seen(r) == sent(message)).count();
    assert_eq!(all.iter().map(count).collect::<Vec<_>>(), copies);
    assert_eq!(received.len(), copies.iter().sum::<usize>());
}

fn to_b(to: &[String]) -> bool {
    to.first().is_some_and(|to| to.starts_with('b'))
}

fn rcpt_b(event: &Event<'_>) -> bool {
    matches!(event, Event::Rcpt { to, .. } if to.starts_with('b'))
}

fn end_b(event: &Event<'_>) -> bool {
    matches!(event, Event::End { to, .. } if to_b(to))
}

fn bye() -> Action {
    Action::ReplyAndCut("421 4.3.2 shutting down".to_owned())
}

#[tokio::test]
async fn a_server_that_asks_us_to_go_is_obeyed() {
    troubled(once(rcpt_b, bye()), [ACCEPTED, THROTTLED, RETURNED], [1, 1, 1]).await;
    troubled(once(end_b, bye()), [ACCEPTED, THROTTLED, RETURNED], [1, 1, 1]).await;
    let mail_b = |event: &Event<'_>| matches!(event, Event::Mail { from } if from.contains("+1@"));
    troubled(once(mail_b, bye()), [ACCEPTED, THROTTLED, RETURNED], [1, 1, 1]).await;
}

#[tokio::test]
async fn a_cut_after_the_dot_leaves_one_message_in_doubt() {
    troubled(once(end_b, Action::Cut), [ACCEPTED, IN_DOUBT, RETURNED], [1, 1, 1]).await;
    let options = Options { without: &["PIPELINING"], ..once(end_b, Action::Cut) };
    troubled(options, [ACCEPTED, IN_DOUBT, RETURNED], [1, 1, 1]).await;
}

#[tokio::test]
async fn a_cut_in_the_envelope_leaves_none_in_doubt() {
    troubled(once(rcpt_b, Action::Cut), [ACCEPTED, RETURNED, RETURNED], [1, 1, 1]).await;
    let rcpt_a = |event: &Event<'_>| matches!(event, Event::Rcpt { to, .. } if to.starts_with('a'));
    troubled(once(rcpt_a, Action::Cut), [NOT_TAKEN, RETURNED, RETURNED], [1, 1, 1]).await;
}

#[tokio::test]
async fn words_without_sense_end_the_connection() {
    let data_b = |event: &Event<'_>| matches!(event, Event::Data { to, .. } if to_b(to));
    troubled(once(data_b, Action::reply("250 what?")), [ACCEPTED, RETURNED, RETURNED], [1, 1, 1]).await;
    // The sink counts what it answers by 2xx or by nonsense as refused: only the client's view is of interest.
    let no_answer = ("unknown", Some(Reason::NoAnswer));
    troubled(once(end_b, Action::reply("HTTP/1.1 200 OK")), [ACCEPTED, no_answer, RETURNED], [1, 0, 1]).await;
}

#[tokio::test]
async fn a_cut_before_the_dot_leaves_none_in_doubt() {
    let data = |event: &Event<'_>| matches!(event, Event::Data { .. });
    let sink = sink(once(data, Action::CutInContent)).await;
    let mut session = session(config(&sink));
    // More than the socket's buffers hold, so that the dot cannot have been handed over.
    let all = [message_of(0, "a@x.example", vec![b'x'; 40 << 20]), message(1, "b@x.example")];
    assert_eq!(verdicts(&session.send(&all).await), [NOT_TAKEN, RETURNED]);
    assert_eq!(verdicts(&session.send(&all).await), [ACCEPTED; 2]);
    assert_eq!(sink.counts().messages, 2);
}

#[tokio::test]
async fn a_refusal_in_mid_content_is_heard() {
    let data = |event: &Event<'_>| matches!(event, Event::Data { .. });
    let sink =
        sink(once(data, Action::ReplyAndCut("354 go\r\n552 5.3.4 too big after all".to_owned()))).await;
    let all = [message_of(0, "a@x.example", vec![b'x'; 40 << 20]), message(1, "b@x.example")];
    let refused = ("rejected", Some(Reason::MessageRefused));
    assert_eq!(verdicts(&session(config(&sink)).send(&all).await), [refused, RETURNED]);
}

#[tokio::test]
async fn silence_after_the_dot_is_doubt_and_before_it_none() {
    let silent = || Action::Wait(Duration::from_secs(3600));
    let all = messages(&["a@x.example", "b@x.example", "c@x.example"]);

    let after = sink(once(|event| matches!(event, Event::End { .. }), silent())).await;
    let mut impatient = config(&after);
    impatient.timeouts.end = Duration::from_millis(50);
    let no_answer = ("unknown", Some(Reason::NoAnswer));
    assert_eq!(verdicts(&session(impatient).send(&all).await), [no_answer, RETURNED, RETURNED]);

    let before = sink(once(|event| matches!(event, Event::Rcpt { .. }), silent())).await;
    let mut impatient = config(&before);
    // Covers greeting and EHLO too, which are answered.
    impatient.timeouts.command = Duration::from_secs(1);
    assert_eq!(verdicts(&session(impatient).send(&all).await), [NOT_TAKEN, RETURNED, RETURNED]);
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_costs_nothing() {
    let end = |event: &Event<'_>| matches!(event, Event::End { .. });
    for goodbye in ["250 2.0.0 ok", "250 2.0.0 ok\r\n421 4.4.2 idle for too long"] {
        let sink = sink(once(end, Action::ReplyAndCut(goodbye.to_owned()))).await;
        let mut session = session(config(&sink));
        assert_eq!(verdicts(&session.send(&messages(&["a@x.example"])).await), [ACCEPTED]);
        assert_eq!(verdicts(&session.send(&messages(&["b@x.example"; 2])).await), [ACCEPTED; 2]);
        assert_eq!(sink.counts().connections, 2);
    }
}

#[tokio::test]
async fn the_servers_limit_of_messages_is_a_throttle() {
    let sink = sink(Options { messages_per_connection: Some(2), ..Options::default() }).await;
    let outcomes = session(config(&sink)).send(&messages(&["a@x.example"; 5])).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED, ACCEPTED, THROTTLED, RETURNED, RETURNED]);
}

#[tokio::test]
async fn a_dropped_call_leaves_no_half_used_connection() {
    let sink = sink(once(end_b, Action::Wait(Duration::from_secs(3600)))).await;
    let mut session = session(config(&sink));
    let all = messages(&["a@x.example", "b@x.example", "c@x.example"]);
    tokio::select! {
        outcomes = session.send(&all) => panic!("answered: {outcomes:?}"),
        () = sink.received(2) => {}
    }
    assert_eq!(verdicts(&session.send(&all[2..]).await), [ACCEPTED]);
    assert_eq!(sink.counts().connections, 2);
}

#[tokio::test]
async fn servers_that_cannot_be_reached_or_do_not_want_us_are_told_apart() {
    let greeting = |line: &'static str| {
        Options::default().script(move |event| match event {
            Event::Connect => Action::ReplyAndCut(line.to_owned()),
            _ => Action::Go,
        })
    };
    for (line, label) in
        [("421 4.3.2 busy", "throttled"), ("554 5.7.1 go away", "account_refused"), ("450 x", "retry")]
    {
        let sink = sink(greeting(line)).await;
        let mut session = session(config(&sink));
        assert_eq!(session.ready().await.unwrap_err().as_str(), label);
        assert_eq!(verdicts(&session.send(&messages(&["a@x.example"])).await), [RETURNED]);
    }
    let mut gone = sink(Options::default()).await;
    let config = config(&gone);
    gone.stop().await;
    let outcome = session(config).ready().await.unwrap_err();
    assert_eq!((outcome.as_str(), outcome.reason()), NOT_TAKEN);
}
