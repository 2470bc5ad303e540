//! APNs: captured tokens over TLS, Apple's reasons, devices that are gone, goodbyes.

use std::sync::Arc;

use campaignd_loadtest::apns::{Apns, Options};
use campaignd_loadtest::clock::Clock;
use campaignd_loadtest::http::Http2;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::tally::Counts;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::streams::{Answered, Client, answered};

const CAPTURE: &str = include_str!("../../captures/apns_h2.txt");
/// When the first token in it was issued.
const ISSUED: i64 = 1_795_281_583;

async fn start(options: Options) -> Apns {
    Apns::start("127.0.0.1:0", options).await.expect("a free port")
}

fn at(seconds: i64) -> Options {
    Options { clock: Clock::pinned(seconds), ..Options::default() }
}

/// Over TLS, with these protocols offered.
async fn connect(apns: &Apns, protocols: &[&str]) -> Client {
    let mut roots = RootCertStore::empty();
    let authority = apns.authority().expect("its own").as_bytes();
    roots.add(CertificateDer::from_pem_slice(authority).expect("PEM")).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(apns.addr()).await.expect("the simulator listens");
    let name = "localhost".try_into().expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
    Client::over(stream).await
}

/// Path, headers and body.
type Captured = (&'static str, Vec<(&'static str, &'static str)>, &'static str);

fn captured() -> Vec<Captured> {
    let requests = CAPTURE.split("[conn 1 stream ").skip(1).map(|request| {
        let (head, rest) = request.split_once("\n\n").expect("a head");
        let lines: Vec<_> = head.lines().skip(1).collect();
        let path = lines.iter().find_map(|line| line.strip_prefix(":path: ")).expect("a path");
        let headers =
            lines.iter().filter(|line| !line.starts_with(':')).filter_map(|line| line.split_once(": "));
        (path, headers.collect(), rest.lines().next().expect("a body"))
    });
    requests.collect()
}

/// Status and reason.
fn seen(answer: &Answered) -> (u16, String) {
    (answer.status, answer.body["reason"].as_str().unwrap_or_default().to_owned())
}

/// The first captured request, with a header set or, by an empty value, left out.
async fn with(client: &mut Client, name: &str, value: &str) -> (u16, String) {
    let (path, mut headers, body) = captured().remove(0);
    headers.retain(|(header, _)| *header != name);
    if !value.is_empty() {
        headers.push((name, value));
    }
    seen(&client.call(path, &headers, body).await.expect("an answer"))
}

#[tokio::test]
async fn captured_requests_are_taken_and_no_altered_token_is() {
    let options = Options { token_updates_apart: 0, ..at(ISSUED + 60) };
    let apns = start(options).await;
    let mut client = connect(&apns, &["h2"]).await;
    let requests = captured();
    let token = requests[0].1.iter().find(|(name, _)| *name == "authorization").expect("a token").1;
    for at in "bearer ".len()..token.len() {
        let mut altered = token.as_bytes().to_vec();
        altered[at] ^= 1;
        let altered = String::from_utf8(altered).expect("ASCII");
        let wanted = (403, "InvalidProviderToken".to_owned());
        assert_eq!(with(&mut client, "authorization", &altered).await, wanted, "{altered}");
    }
    assert_eq!(apns.tally().counts(), Counts::default());
    for (path, headers, body) in &requests {
        let answer = client.call(path, headers, body).await.unwrap();
        assert_eq!(seen(&answer), (200, String::new()));
        let id = headers.iter().find(|(name, _)| *name == "apns-id").map(|(_, id)| *id);
        let echoed = answer.headers["apns-id"].to_str().unwrap();
        assert!(id.map_or(echoed.len() == 36, |id| id == echoed), "{echoed}");
    }
    assert_eq!(apns.tally().counts().messages, 7);
    assert_eq!(apns.tally().newest()[0].collapse_id, "camp1");
}

#[tokio::test]
async fn a_client_that_offers_no_protocol_is_served_all_the_same() {
    let apns = start(at(ISSUED)).await;
    let mut client = connect(&apns, &[]).await;
    assert_eq!(with(&mut client, "apns-priority", "5").await, (200, String::new()));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_has_a_reason() {
    let apns = start(at(ISSUED)).await;
    let mut client = connect(&apns, &["h2"]).await;
    let long = "x".repeat(65);
    for (name, value, status, reason) in [
        ("authorization", "", 403, "MissingProviderToken"),
        ("authorization", "bearer x", 403, "InvalidProviderToken"),
        ("apns-topic", "", 400, "MissingTopic"),
        ("apns-topic", "com.example.apple", 400, "TopicDisallowed"),
        ("apns-push-type", "spam", 400, "InvalidPushType"),
        ("apns-priority", "9", 400, "BadPriority"),
        ("apns-expiration", "soon", 400, "BadExpirationDate"),
        ("apns-id", "1", 400, "BadMessageId"),
        ("apns-collapse-id", &long, 400, "BadCollapseId"),
    ] {
        assert_eq!(with(&mut client, name, value).await, (status, reason.to_owned()));
    }
    let (path, mut headers, body) = captured().remove(0);
    let big = json!({"aps": {"alert": "x".repeat(4096)}}).to_string();
    for (path, body, status, reason) in [
        ("/4/device/00", body, 404, "BadPath"),
        ("/3/device/", body, 400, "MissingDeviceToken"),
        ("/3/device/abc", body, 400, "BadDeviceToken"),
        (path, "", 400, "PayloadEmpty"),
        (path, &big, 413, "PayloadTooLarge"),
    ] {
        let answer = client.call(path, &headers, body).await.unwrap();
        assert_eq!(seen(&answer), (status, reason.to_owned()));
    }
    headers.push(("apns-priority", "5"));
    let twice = client.call(path, &headers, body).await.unwrap();
    assert_eq!(seen(&twice), (400, "DuplicateHeaders".to_owned()));
    assert_eq!(apns.tally().counts(), Counts::default());
}

#[tokio::test]
async fn a_device_that_is_gone_says_since_when() {
    let (first, second) = ("a".repeat(64), "b".repeat(64));
    let rules = vec![Rule::to(&first).code("TooManyRequests").times(1), Rule::nth(4).status(503)];
    let apns = start(Options { rules, ..at(ISSUED) }).await;
    apns.unregister(&second, ISSUED - 10);
    let mut client = connect(&apns, &["h2"]).await;
    let (_, headers, body) = captured().remove(0);
    let mut answers = Vec::new();
    for device in [&first, &second, &first, &first] {
        let answer = client.call(&format!("/3/device/{device}"), &headers, body).await.unwrap();
        answers.push((answer.status, answer.body));
    }
    let gone = json!({"reason": "Unregistered", "timestamp": (ISSUED - 10) * 1000});
    assert_eq!(answers[0], (429, json!({"reason": "TooManyRequests"})));
    assert_eq!(answers[1], (410, gone));
    assert_eq!((answers[2].0, answers[3].0), (200, 503));
    assert_eq!(apns.tally().to(&first), 1);
}

#[tokio::test]
async fn a_connection_says_goodbye_after_its_share() {
    let mut options = at(ISSUED);
    options.http.http2 = Http2 { requests: Some(1), ..options.http.http2 };
    let apns = start(options).await;
    let mut client = connect(&apns, &["h2"]).await;
    let (path, headers, body) = captured().remove(0);
    let taken = client.send(path, &headers, body).await;
    assert_eq!(answered(taken).await.unwrap().status, 200);
    client.end.await.unwrap().expect("a connection that ends in good order");
    assert_eq!(apns.tally().counts().messages, 1);
}
