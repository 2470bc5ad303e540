//! Messages outside of campaigns: looked at, and sent as a test.

use campaignd_loadtest::smtp::{Action, Event, Options, Sink};
use mail_parser::MessageParser;
use serde_json::json;

use super::Shell;
use crate::store::Bed;

const DATA: &str = r#"{"discount": "20 %"}"#;

async fn bed(more: &str) -> (Bed, Shell) {
    let bed = Bed::postgres().await;
    bed.upsert(json!([{"external_id": "P1", "attributes": {"name": "Anna & Bo", "city": "Köln"},
        "addresses": [{"channel": "email", "address": "p1@example.com"}]}]))
        .await;
    let shell = Shell::new(&bed.url(), more);
    (bed, shell)
}

#[tokio::test]
async fn a_preview_is_the_message_without_tracking() {
    let (_bed, shell) = bed("").await;
    let preview = ["preview", "hello", "--contact", "P1", "--data", DATA];
    let email = shell.json(&preview).await;
    assert_eq!(email["subject"], "Hello Anna & Bo, 20 % off");
    let html = "<p><a href=\"https://shop.example/Köln\">Anna &amp; Bo</a></p>";
    assert_eq!(shell.run(&[&preview[..], &["--html"]].concat()).await.stdout.trim_end(), html);
    let text = shell.run(&preview).await.stdout;
    assert!(text.starts_with("Subject: Hello Anna & Bo, 20 % off\n\n"), "{text}");
    let sms = shell.run(&["preview", "hello", "--contact", "p1@example.com", "--channel", "sms"]).await;
    assert_eq!(sms.stdout, "Hello Anna & Bo\n");
}

#[tokio::test]
async fn what_a_preview_lacks_is_told() {
    let (_bed, shell) = bed("").await;
    shell.run(&["preview", "hello", "--contact", "P1"]).await.failed(1, "`discount` is missing");
    shell.run(&["preview", "hallo", "--contact", "P1"]).await.failed(1, "no template `hallo`");
    shell.run(&["preview", "hello", "--contact", "P2", "--data", DATA]).await.failed(1, "no contact");
    shell.run(&["preview", "hello", "--contact", "P1", "--data", "[1]"]).await.failed(64, "cannot read [1]");
    shell.run(&["preview", "hello", "--contact", "P1", "--data", "{"]).await.failed(65, "--data is not JSON");
    shell.run(&["preview", "hello", "--contact", "P1", "--channel", "push"]).await.failed(1, "push");
}

#[tokio::test]
async fn a_test_message_is_marked_tracked_and_in_no_report() {
    let sink = Sink::start("127.0.0.1:0", Options::default()).await.unwrap();
    let real = format!(
        "[providers.real]\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"news@example.com\"\n",
        sink.addr().port()
    );
    let (bed, shell) = bed(&real).await;
    let test = ["send-test", "hello", "--to", "Me@Example.com", "--contact", "P1", "--data", DATA];
    let to_real = [&test[..], &["--provider", "real"]].concat();
    let answer = shell.json(&to_real).await;
    assert_eq!((&answer["outcome"], &answer["provider"]), (&json!("accepted"), &json!("real")));
    let messages = sink.messages();
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(message.to, ["me@example.com"]);
    let mail = MessageParser::default().parse(message.content.as_ref().unwrap()).unwrap();
    assert_eq!(mail.subject(), Some("[TEST] Hello Anna & Bo, 20 % off"));
    assert!(mail.body_html(0).unwrap().contains("https://news.example/c/"));
    assert!(bed.store.campaigns(10, 0).await.unwrap().is_empty());

    let refused = shell.run(&test).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.starts_with("relay: retry: "), "{refused:?}");
    shell.run(&[&test[..], &["--provider", "ghost"]].concat()).await.failed(64, "no provider `ghost`");
}

#[tokio::test]
async fn a_refused_test_message_is_a_failure() {
    let no = |event: Event<'_>| match event {
        Event::Rcpt { .. } => Action::reply("550 5.1.1 no such user"),
        _ => Action::Go,
    };
    let sink = Sink::start("127.0.0.1:0", Options::default().script(no)).await.unwrap();
    let real = format!(
        "[providers.real]\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"news@example.com\"\n",
        sink.addr().port()
    );
    let (_bed, shell) = bed(&real).await;
    let test = [
        "send-test",
        "hello",
        "--to",
        "me@example.com",
        "--contact",
        "P1",
        "--data",
        DATA,
        "--provider",
        "real",
    ];
    let refused = shell.run(&test).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stdout.starts_with("real: rejected: 550 5.1.1"), "{refused:?}");
}
