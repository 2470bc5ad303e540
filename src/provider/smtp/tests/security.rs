//! TLS and login: nothing goes in clear that was to be encrypted, nobody is logged in by accident.

use campaignd_loadtest::smtp::Account;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpListener;

use super::super::Tls;
use super::*;
use crate::provider::certificate::certificate;

#[tokio::test]
async fn mail_goes_over_starttls_and_implicit_tls() {
    for tls in [Tls::StartTls, Tls::Implicit] {
        let (acceptor, ca) = certificate();
        let options =
            Options { tls: Some(acceptor), implicit_tls: tls == Tls::Implicit, ..Options::default() };
        let sink = sink(options).await;
        let ca_file = Some(ca.path().to_owned());
        let mut session = session(SmtpConfig { tls, ca_file, ..config(&sink) });
        let mut all = messages(&["a@x.example"; 20]);
        all.push(message_of(20, "b@x.example", vec![b'x'; 2 << 20]));
        assert_eq!(verdicts(&session.send(&all).await), [ACCEPTED; 21]);
        assert_eq!(
            sink.counts(),
            campaignd_loadtest::smtp::Counts { connections: 1, messages: 21, ..sink.counts() }
        );
        session.close().await;
    }
}

#[tokio::test]
async fn a_cut_after_the_dot_is_doubt_over_tls_too() {
    let (acceptor, ca) = certificate();
    let script = |event: Event<'_>| if matches!(event, Event::End { .. }) { Action::Cut } else { Action::Go };
    let sink = sink(Options { tls: Some(acceptor), ..Options::default() }.script(script)).await;
    let config = SmtpConfig { tls: Tls::StartTls, ca_file: Some(ca.path().to_owned()), ..config(&sink) };
    let outcomes = session(config).send(&messages(&["a@x.example", "b@x.example"])).await;
    assert_eq!(verdicts(&outcomes), [("unknown", Some(Reason::ConnectionLost)), RETURNED]);
}

#[tokio::test]
async fn strangers_certificates_are_refused() {
    let (acceptor, _) = certificate();
    let (_, other) = certificate();
    let sink = sink(Options { tls: Some(acceptor), ..Options::default() }).await;
    let config = SmtpConfig { tls: Tls::StartTls, ca_file: Some(other.path().to_owned()), ..config(&sink) };
    let mut session = session(config);
    assert_eq!(session.ready().await.unwrap_err().as_str(), "account_refused");
    assert_eq!(verdicts(&session.send(&messages(&["a@x.example"])).await), [RETURNED]);
    assert_eq!(sink.counts().messages, 0);
}

#[tokio::test]
async fn without_starttls_nothing_goes_in_clear() {
    let (_, ca) = certificate();
    let sink = sink(Options::default()).await;
    let config = SmtpConfig { tls: Tls::StartTls, ca_file: Some(ca.path().to_owned()), ..config(&sink) };
    let outcome = session(config).ready().await.unwrap_err();
    assert!(
        matches!(&outcome, Outcome::AccountRefused { detail } if detail.contains("STARTTLS")),
        "{outcome:?}"
    );
}

/// The class of CVE-2021-33515: words injected in clear before the handshake would count as said inside it.
#[tokio::test]
async fn words_behind_the_answer_to_starttls_are_not_believed() {
    let (_, ca) = certificate();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let attacker = tokio::spawn(async move {
        let mut stream = BufStream::new(listener.accept().await.unwrap().0);
        let answers = ["220 hi\r\n", "250-hi\r\n250 STARTTLS\r\n", "220 go\r\n250-hi\r\n250 AUTH PLAIN\r\n"];
        for answer in answers {
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
        }
    });
    let config = SmtpConfig {
        tls: Tls::StartTls,
        ca_file: Some(ca.path().to_owned()),
        ..SmtpConfig::new("127.0.0.1", port)
    };
    let outcome = session(config).ready().await.unwrap_err();
    assert!(matches!(&outcome, Outcome::Retry { detail, .. } if detail.contains("in clear")), "{outcome:?}");
    attacker.await.unwrap();
}

#[tokio::test]
async fn login_by_what_the_server_offers() {
    for (mechanisms, password, wanted) in [
        ("PLAIN LOGIN", "s3cret", None),
        ("LOGIN", "s3cret", None),
        ("PLAIN", "wrong", Some("account_refused")),
        ("LOGIN", "wrong", Some("account_refused")),
        ("CRAM-MD5", "s3cret", Some("account_refused")),
    ] {
        let account = Account { username: "news".to_owned(), password: "s3cret".to_owned(), mechanisms };
        let sink = sink(Options { account: Some(account), ..Options::default() }).await;
        let (username, password) = (Some("news".to_owned()), Some(password.to_owned()));
        let mut session = session(SmtpConfig { username, password, ..config(&sink) });
        assert_eq!(session.ready().await.err().map(|outcome| outcome.as_str()), wanted, "{mechanisms}");
        if wanted.is_none() {
            assert_eq!(verdicts(&session.send(&messages(&["a@x.example"])).await), [ACCEPTED]);
        }
    }
}

#[tokio::test]
async fn a_server_that_demands_a_login_refuses_the_account() {
    let account = Account { username: "news".to_owned(), password: "s3cret".to_owned(), mechanisms: "PLAIN" };
    let sink = sink(Options { account: Some(account), ..Options::default() }).await;
    let outcomes = session(config(&sink)).send(&messages(&["a@x.example"])).await;
    assert_eq!(verdicts(&outcomes), [("account_refused", Some(Reason::AccountRefused))]);
}
