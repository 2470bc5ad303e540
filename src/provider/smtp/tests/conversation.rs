//! Whole conversations: every reply lands on its own message, whatever the mix and the server's abilities.

use proptest::prelude::*;

use super::*;

/// What the server does with a message; the recipient's local part tells it.
const BEHAVIOURS: &[(&str, (&str, Option<Reason>))] = &[
    ("ok", ACCEPTED),
    ("unknown", ("rejected", Some(Reason::UnknownRecipient))),
    ("later", ("retry", Some(Reason::TemporaryFailure))),
    ("sender", ("rejected", Some(Reason::MessageRefused))),
    ("nodata", ("retry", Some(Reason::TemporaryFailure))),
    ("spam", ("rejected", Some(Reason::PolicyRefused))),
    ("bad\r\n", ("failed", Some(Reason::InvalidAddress))),
];

fn behave(event: Event<'_>) -> Action {
    let to = match event {
        Event::Mail { from } if from.contains("sender") => return Action::reply("550 5.1.8 bad sender"),
        Event::Rcpt { to, .. } if to.starts_with("unknown") => {
            return Action::reply("550-5.1.1 no\r\n550 5.1.1 user");
        }
        Event::Rcpt { to, .. } if to.starts_with("later") => return Action::reply("451 4.2.1 later"),
        Event::Data { to, .. } | Event::End { to, .. } => to.first().map_or("", String::as_str),
        _ => return Action::Go,
    };
    match event {
        Event::Data { .. } if to.starts_with("nodata") => Action::reply("451 4.3.0 no disk"),
        Event::End { .. } if to.starts_with("spam") => Action::reply("554 5.7.1 spam"),
        _ => Action::Go,
    }
}

fn mixed(behaviours: &[usize]) -> Vec<Message> {
    let one = |(number, behaviour): (usize, &usize)| {
        let name = BEHAVIOURS[*behaviour].0;
        let mut message = message(number, &format!("{name}{number}@x.example"));
        let Body::Email(email) = &mut message.body else { panic!() };
        if name == "sender" {
            email.envelope_from = format!("sender{number}@shop.example");
        }
        message
    };
    behaviours.iter().enumerate().map(one).collect()
}

async fn every_reply_lands(behaviours: Vec<usize>, without: &'static [&'static str]) {
    let sink = sink(Options { without, ..Options::default() }.script(behave)).await;
    let mut session = session(config(&sink));
    let messages = mixed(&behaviours);
    let mut outcomes = Vec::new();
    // Two chunks over one connection: what the first leaves open must not reach into the second.
    let (first, second) = messages.split_at(messages.len() / 2);
    for chunk in [first, second] {
        outcomes.extend(session.send(chunk).await);
    }
    let wanted: Vec<_> = behaviours.iter().map(|behaviour| BEHAVIOURS[*behaviour].1).collect();
    assert_eq!(verdicts(&outcomes), wanted, "{behaviours:?}");

    let received = sink.messages();
    let accepted: Vec<_> = messages
        .iter()
        .zip(&wanted)
        .filter(|(_, wanted)| **wanted == ACCEPTED)
        .map(|(m, _)| sent(m))
        .collect();
    assert_eq!(received.iter().map(seen).collect::<Vec<_>>(), accepted);
    assert!(sink.counts().connections <= 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_reply_lands_on_its_message(
        behaviours in proptest::collection::vec(0..BEHAVIOURS.len(), 0..24),
        pipelining in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let without: &[&str] = if pipelining { &[] } else { &["PIPELINING"] };
        runtime.block_on(every_reply_lands(behaviours, without));
    }
}

#[tokio::test]
async fn a_server_that_knows_no_extension_is_served() {
    every_reply_lands(vec![0, 1, 0, 5, 0], &["EHLO", "PIPELINING"]).await;
    every_reply_lands(vec![0, 1, 0, 5, 0], &["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8"]).await;
}

#[tokio::test]
async fn a_message_costs_one_round_trip() {
    let sink = sink(Options::default()).await;
    let outcomes = session(config(&sink)).send(&messages(&["a@x.example"; 60])).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED; 60]);
    // Greeting, EHLO, the first envelope; some room for writes that arrive in two pieces.
    assert!((63..80).contains(&sink.counts().answers), "{:?}", sink.counts());
}

#[tokio::test]
async fn the_servers_id_is_kept() {
    let sink = sink(Options::default()).await;
    let outcomes = session(config(&sink)).send(&messages(&["a@x.example"])).await;
    assert_eq!(outcomes, [Outcome::Accepted { provider_ref: Some("0S1".to_owned()) }]);
}

#[tokio::test]
async fn connections_are_changed_after_max_messages() {
    let sink = sink(Options::default()).await;
    let mut session = session(SmtpConfig { max_messages: 3, ..config(&sink) });
    let outcomes = session.send(&messages(&["a@x.example"; 8])).await;
    assert_eq!(verdicts(&outcomes), [ACCEPTED; 8]);
    assert_eq!(sink.counts().connections, 3);
    assert_eq!(verdicts(&session.send(&messages(&["a@x.example"; 2])).await), [ACCEPTED; 2]);
    assert_eq!(sink.counts().connections, 4);
    let per_connection = |number| sink.messages().iter().filter(|m| m.connection == number).count();
    assert_eq!([0, 1, 2, 3].map(per_connection), [3, 3, 2 + 1, 1]);
}

#[tokio::test]
async fn content_nobody_is_to_get_is_never_ended() {
    let script = |event: Event<'_>| match event {
        Event::Rcpt { to, .. } if to.starts_with("no") => Action::reply("550 5.1.1 no"),
        Event::Data { to: [], .. } => Action::reply("354 go ahead anyway"),
        _ => Action::Go,
    };
    let sink = sink(Options::default().script(script)).await;
    let messages = messages(&["a@x.example", "no@x.example", "b@x.example", "no@x.example", "c@x.example"]);
    let outcomes = session(config(&sink)).send(&messages).await;
    let refused = ("rejected", Some(Reason::UnknownRecipient));
    assert_eq!(verdicts(&outcomes), [ACCEPTED, refused, ACCEPTED, refused, ACCEPTED]);
    assert_eq!(
        sink.messages().iter().map(seen).collect::<Vec<_>>(),
        [0, 2, 4].map(|n: usize| sent(&messages[n]))
    );
    assert_eq!(sink.counts().connections, 3);
}

#[tokio::test]
async fn addresses_beyond_ascii_need_the_servers_consent() {
    let to = "анна@почта.example";
    let willing = sink(Options::default()).await;
    assert_eq!(verdicts(&session(config(&willing)).send(&messages(&[to])).await), [ACCEPTED]);
    assert_eq!(seen(&willing.messages()[0]).1, to);
    let unwilling = sink(Options { without: &["SMTPUTF8"], ..Options::default() }).await;
    let outcomes = session(config(&unwilling)).send(&messages(&[to, "a@x.example"])).await;
    assert_eq!(verdicts(&outcomes), [("rejected", Some(Reason::RecipientRefused)), ACCEPTED]);
}

#[tokio::test]
async fn big_messages_pass_whole_and_too_big_ones_stay_here() {
    let sink = sink(Options { max_size: 9 << 20, ..Options::default() }).await;
    let big = ".line of a big message\r\n".repeat(350_000);
    let too_big = "x".repeat(10 << 20);
    let messages = [
        message(0, "a@x.example"),
        message_of(1, "b@x.example", big),
        message_of(2, "c@x.example", too_big),
        message(3, "d@x.example"),
    ];
    let outcomes = session(config(&sink)).send(&messages).await;
    assert_eq!(
        verdicts(&outcomes),
        [ACCEPTED, ACCEPTED, ("rejected", Some(Reason::MessageRefused)), ACCEPTED]
    );
    assert_eq!(seen(&sink.messages()[1]), sent(&messages[1]));
}
