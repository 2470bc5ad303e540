//! The client against a server that breaks off at every place there is, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use campaignd_loadtest::faulty_http::{Action, Answer, Event, Options, Server};
use http::{HeaderMap, Method, Response};

use super::{Client, Endpoint, MAX_ANSWER, NoAnswer, Timeouts};
use crate::model::{Outcome, Reason};
use crate::provider::certificate::certificate;

async fn server(options: Options) -> Server {
    Server::start("127.0.0.1:0", options).await.unwrap()
}

fn client_of(server: &Server, answer: Duration) -> Client {
    let timeouts = Timeouts { answer, ..Timeouts::default() };
    Client::new(Arc::new(Endpoint::new(&server.url(), None, timeouts).unwrap()))
}

fn client(server: &Server) -> Client {
    client_of(server, Timeouts::default().answer)
}

/// Does `action` where `here` holds, the first time only.
fn once(here: fn(&Event<'_>) -> bool, action: Action) -> Options {
    let done = AtomicBool::new(false);
    Options::default().script(move |event| {
        let now = here(&event) && !done.swap(true, Ordering::Relaxed);
        if now { action.clone() } else { Action::Go }
    })
}

fn connect(event: &Event<'_>) -> bool {
    matches!(event, Event::Connect)
}

fn head(event: &Event<'_>) -> bool {
    matches!(event, Event::Head(_))
}

fn complete(event: &Event<'_>) -> bool {
    matches!(event, Event::Request(_))
}

async fn post(client: &mut Client, body: impl Into<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
    client.request(Method::POST, "/send?a=b", HeaderMap::new(), body.into(), || {}).await
}

fn doubt(answer: Result<Response<Bytes>, NoAnswer>) -> Reason {
    match answer {
        Err(NoAnswer::InDoubt { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn not_sent(answer: Result<Response<Bytes>, NoAnswer>) -> Outcome {
    match answer {
        Err(NoAnswer::NotSent(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_share_one_connection() {
    let script = |event: Event<'_>| match event {
        Event::Request(request) => Action::Answer(Answer::new(202, request.body.clone()).header("x-a", "b")),
        _ => Action::Go,
    };
    let server = server(Options::default().script(script)).await;
    let mut client = client(&server);
    for body in ["", "one", &"x".repeat(800_000)] {
        let answer = post(&mut client, body.to_owned()).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (202, body.as_bytes()));
        assert_eq!(answer.headers()["x-a"], "b");
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 3));
    let request = &server.requests()[1];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/send?a=b"));
    assert_eq!(request.header("host"), Some(server.addr().to_string().as_str()));
    assert_eq!(request.header("content-length"), Some("3"));
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("campaignd/")));
}

#[tokio::test]
async fn it_is_said_once_that_a_request_left_and_never_that_one_did_not() {
    let left = AtomicUsize::new(0);
    let count = || {
        left.fetch_add(1, Ordering::Relaxed);
    };
    let server = server(Options::default()).await;
    let mut client = client(&server);
    let body = Bytes::from(vec![b'x'; 5 << 20]);
    client.request(Method::POST, "/", HeaderMap::new(), body, count).await.unwrap();
    assert_eq!(left.load(Ordering::Relaxed), 1);
    client.close();
    server.stop().await;
    let outcome = not_sent(client.request(Method::POST, "/", HeaderMap::new(), Bytes::new(), count).await);
    assert_eq!((outcome.as_str(), outcome.reason()), ("retry", Some(Reason::ConnectionFailed)));
    assert_eq!(left.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_costs_nothing() {
    let cut = Action::AnswerAndCut(Answer::new(200, "bye"));
    let server = server(once(complete, cut)).await;
    let mut client = client(&server);
    assert_eq!(post(&mut client, "one").await.unwrap().body(), "bye");
    server.closed(1).await;
    // Without a pause in which the runtime could have heard of the close.
    assert_eq!(post(&mut client, "two").await.unwrap().status(), 200);
    assert_eq!((server.connections(), server.requests().len()), (2, 2));
}

#[tokio::test]
async fn an_announced_close_is_respected() {
    let close = Answer::new(200, "bye").header("connection", "close");
    for action in [Action::Answer(close.clone()), Action::AnswerAndCut(close)] {
        let server = server(once(complete, action)).await;
        let mut client = client(&server);
        post(&mut client, "one").await.unwrap();
        post(&mut client, "two").await.unwrap();
        assert_eq!((server.connections(), server.requests().len()), (2, 2));
    }
}

#[tokio::test]
async fn a_connection_is_not_used_close_to_its_announced_end() {
    let short = Answer::new(200, "").header("keep-alive", "timeout=1");
    let server = server(once(complete, Action::Answer(short))).await;
    let mut client = client(&server);
    for _ in 0..3 {
        post(&mut client, "x").await.unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (2, 3));
}

#[tokio::test]
async fn a_server_that_closes_before_the_request_gets_it_over_a_new_connection() {
    let server = server(once(connect, Action::Cut)).await;
    let mut client = client(&server);
    client.ready().await.unwrap();
    server.closed(1).await;
    assert_eq!(post(&mut client, "x").await.unwrap().status(), 200);
    assert_eq!((server.connections(), server.requests().len()), (2, 1));
}

#[tokio::test]
async fn cuts_after_bytes_left_are_doubt() {
    let half = || Action::CutInAnswer(30, Answer::new(200, "a body"));
    let no_body = || Action::CutInAnswer(45, Answer::new(200, "a body"));
    for (in_head, action) in [(true, Action::Cut), (false, Action::Cut), (false, half()), (false, no_body())]
    {
        let server = server(once(if in_head { head } else { complete }, action.clone())).await;
        let mut client = client(&server);
        assert_eq!(doubt(post(&mut client, "one").await), Reason::ConnectionLost, "{action:?}");
        assert_eq!(post(&mut client, "two").await.unwrap().status(), 200);
        let bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
        assert_eq!(bodies.last().unwrap(), "two");
        assert!(bodies.iter().filter(|body| *body == "one").count() <= 1, "sent twice");
    }
}

#[tokio::test]
async fn an_answer_before_the_request_is_read_is_heard() {
    let early = Answer::new(413, "too long").header("connection", "close");
    let server = server(once(head, Action::Answer(early))).await;
    let mut client = client(&server);
    assert_eq!(post(&mut client, "x").await.unwrap().status(), 413);
    assert_eq!(post(&mut client, "x").await.unwrap().status(), 200);
}

#[tokio::test]
async fn silence_and_nonsense_are_doubt() {
    let late = Action::Late(Duration::from_secs(3_600), Answer::new(200, ""));
    let long = Action::Answer(Answer::new(200, vec![b'x'; MAX_ANSWER + 1]));
    let folded = Action::Answer(Answer::new(200, "").header("a b", "c\r\n\u{0}"));
    for (action, wait) in [
        (late, Duration::from_millis(50)),
        (long, Duration::from_secs(60)),
        (folded, Duration::from_secs(60)),
    ] {
        let server = server(once(complete, action.clone())).await;
        let mut client = client_of(&server, wait);
        assert_eq!(doubt(post(&mut client, "one").await), Reason::NoAnswer);
        client = client_of(&server, Timeouts::default().answer);
        assert_eq!(post(&mut client, "two").await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_no_half_used_connection() {
    let late = Action::Late(Duration::from_secs(3_600), Answer::new(200, ""));
    let server = server(once(complete, late)).await;
    let mut client = client(&server);
    tokio::select! {
        answer = post(&mut client, "one") => panic!("answered: {answer:?}"),
        () = server.received(1) => {}
    }
    post(&mut client, "two").await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_file_trusts() {
    let (acceptor, ca) = certificate();
    let (_, other) = certificate();
    let server = server(Options { tls: Some(acceptor), ..Options::default() }).await;
    let endpoint = |ca: &tempfile::NamedTempFile| {
        Arc::new(Endpoint::new(&server.url(), Some(ca.path()), Timeouts::default()).unwrap())
    };
    let mut client = Client::new(endpoint(&ca));
    client.ready().await.unwrap();
    for _ in 0..3 {
        assert_eq!(post(&mut client, vec![b'x'; 300_000]).await.unwrap().status(), 200);
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 3));

    let mut stranger = Client::new(endpoint(&other));
    assert_eq!(stranger.ready().await.unwrap_err().as_str(), "account_refused");
    assert_eq!(not_sent(post(&mut stranger, "x").await).as_str(), "account_refused");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_cut_is_doubt_and_an_idle_close_none_over_tls_too() {
    let (acceptor, ca) = certificate();
    let actions = [Action::AnswerAndCut(Answer::new(200, "")), Action::Cut, Action::Go];
    let turn = AtomicUsize::new(0);
    let options = Options { tls: Some(acceptor), ..Options::default() }.script(move |event| match event {
        Event::Request(_) => actions[turn.fetch_add(1, Ordering::Relaxed)].clone(),
        _ => Action::Go,
    });
    let server = server(options).await;
    let endpoint = Endpoint::new(&server.url(), Some(ca.path()), Timeouts::default()).unwrap();
    let mut client = Client::new(Arc::new(endpoint));
    post(&mut client, "one").await.unwrap();
    server.closed(1).await;
    assert_eq!(doubt(post(&mut client, "two").await), Reason::ConnectionLost);
    post(&mut client, "three").await.unwrap();
    let bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, ["one", "two", "three"]);
}
