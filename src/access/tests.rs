//! The guard before a router that answers everything, asked as peers ask it.

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn;
use axum::routing::any;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::access::Token;
use crate::store::tokens::LiveToken;

const ANYWHERE: &str = "0.0.0.0";
const LOOPBACK: &str = "127.0.0.1";

/// A guarded router, and a token of each scope by name.
struct Door {
    router: Router,
    book: Book,
    metrics: Arc<Metrics>,
    tokens: Vec<(&'static str, Token)>,
}

/// Status, the challenges, and the body.
struct Answer {
    status: u16,
    challenges: Vec<String>,
    retry_after: Option<String>,
    body: String,
}

impl Door {
    fn on(listener: &str) -> Door {
        let door = Door::without_book(listener);
        let live = door.tokens.iter().zip(1..).map(|((name, token), number)| LiveToken {
            number,
            name: (*name).to_owned(),
            hash: token.hash(),
            scopes: Scopes::from_iter([name.parse().unwrap()]),
            expires_at: None,
        });
        door.book.replace(live.collect());
        door
    }

    fn without_book(listener: &str) -> Door {
        let (book, metrics) = (Book::default(), Arc::new(Metrics::new().unwrap()));
        let proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let hosts = Hosts::new(&["campaigns.internal".to_owned()]);
        let door = Arc::new(Guard::new(
            listener.parse().unwrap(),
            book.clone(),
            hosts,
            proxies,
            Clock::system(),
            metrics.clone(),
        ));
        let who = async |request: Request| {
            let caller = request.extensions().get::<Caller>().unwrap();
            format!("{} {}", caller.actor.as_str(), caller.scopes.names().join(" "))
        };
        let router = Router::new()
            .route("/", any(who))
            .route("/{*path}", any(who))
            .layer(from_fn(move |request, next| guard(door.clone(), request, next)));
        let tokens = ["read", "send", "admin"].map(|name| (name, Token::generate().unwrap())).into();
        Door { router, book, metrics, tokens }
    }

    fn token(&self, name: &str) -> &str {
        self.tokens.iter().find(|(has, _)| *has == name).unwrap().1.reveal()
    }

    fn bearer(&self, name: &str) -> String {
        format!("Bearer {}", self.token(name))
    }

    /// As a peer at 192.0.2.1 sends it to `localhost`.
    async fn ask(&self, method: &str, path: &str, authorization: Option<&str>) -> Answer {
        self.ask_with(method, path, authorization, &[("host", "localhost")], "192.0.2.1").await
    }

    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
        headers: &[(&str, &str)],
        peer: &str,
    ) -> Answer {
        let peer: SocketAddr = format!("{peer}:4711").parse().unwrap();
        let mut request = Request::builder().method(method).uri(path).extension(ConnectInfo(peer));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let texts = |name| -> Vec<String> {
            head.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        let body = axum::body::to_bytes(body, 1 << 16).await.unwrap();
        Answer {
            status: head.status.as_u16(),
            challenges: texts(header::WWW_AUTHENTICATE),
            retry_after: texts(header::RETRY_AFTER).pop(),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

fn basic(password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("anyone:{password}")))
}

/// What each scope opens, and nothing else.
#[tokio::test]
async fn routes_ask_for_their_scope() {
    let door = Door::on(ANYWHERE);
    for (method, path, scopes) in [
        ("GET", "/v1/campaigns", "read admin"),
        ("HEAD", "/", "read admin"),
        ("GET", "/metrics", "read admin"),
        ("GET", "/openapi.json", "read admin"),
        ("GET", "/v1/contacts/C-1", "read admin"),
        ("POST", "/v1/jobs", "send admin"),
        ("PUT", "/v1/contacts/C-1", "send admin"),
        ("DELETE", "/v1/contacts/C-1", "admin"),
        ("GET", "/v1/audit", "admin"),
        ("POST", "/v1/campaigns/spring/cancel", "admin"),
        ("DELETE", "/sandbox/messages", "admin"),
        ("PATCH", "/v1/campaigns", "admin"),
        ("POST", "/v1/jobs/", "admin"),
        ("OPTIONS", "/", "admin"),
    ] {
        for (name, _) in &door.tokens {
            let answer = door.ask(method, path, Some(&door.bearer(name))).await;
            let allowed = scopes.split(' ').any(|scope| scope == *name);
            assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{method} {path} with {name}");
            if !allowed {
                assert!(answer.challenges[0].contains("insufficient_scope"), "{:?}", answer.challenges);
            } else if method != "HEAD" {
                assert_eq!(answer.body, format!("token:{name} {name}"));
            }
        }
    }
}

#[tokio::test]
async fn every_address_but_loopback_demands_a_token_for_all_but_the_probes() {
    let door = Door::on(ANYWHERE);
    for path in ["/", "/metrics", "/v1/campaigns", "/v1/nothing", "/openapi.json", "/healthz/", "//healthz"] {
        let answer = door.ask("GET", path, None).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.challenges[0].starts_with("Bearer "), "{path}: {:?}", answer.challenges);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("tokens create"));
    }
    for path in PROBES {
        let headers = [("host", "anything.example")];
        let answer = door.ask_with("GET", path, None, &headers, "192.0.2.1").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "loopback "), "{path}: without any right");
    }
    let loopback = Door::on(LOOPBACK);
    assert_eq!(loopback.ask("DELETE", "/v1/contacts/C-1", None).await.body, "loopback read send admin");
    assert_eq!(Door::on("::1").ask("GET", "/", None).await.status, 200);
    assert_eq!(Door::on("::ffff:127.0.0.1").ask("GET", "/", None).await.status, 200);
    assert_eq!(Door::on("::").ask("GET", "/", None).await.status, 401);
}

#[tokio::test]
async fn a_token_that_is_shown_must_be_good_on_loopback_too() {
    let door = Door::on(LOOPBACK);
    assert_eq!(door.ask("GET", "/", Some("Bearer cmpd_no")).await.status, 401);
    assert_eq!(door.ask("POST", "/v1/jobs", Some(&door.bearer("read"))).await.status, 403);
    assert_eq!(door.ask("POST", "/v1/jobs", Some(&door.bearer("send"))).await.body, "token:send send");
}

/// Nobody learns whether a token ever was one, or what was wrong with it.
#[tokio::test]
async fn refusals_of_tokens_are_all_alike() {
    let door = Door::on(ANYWHERE);
    let revoked = door.bearer("read");
    door.book.replace(Vec::new());
    let mut answers = Vec::new();
    for authorization in ["Bearer x", "Basic x", "Digest x", &revoked, &basic("x"), "Bearer ", ""] {
        let answer = door.ask("GET", "/v1/campaigns", Some(authorization)).await;
        answers.push((answer.status, answer.challenges, answer.body));
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(door.metrics.admin_refusals.with_label_values(&["wrong_token"]).get(), 7);
}

#[tokio::test]
async fn browsers_are_asked_for_a_password_and_may_read() {
    let door = Door::on(ANYWHERE);
    for path in ["/", "/campaigns/spring", "/sandbox"] {
        let challenges = door.ask("GET", path, None).await.challenges;
        assert!(challenges.iter().any(|one| one.starts_with("Basic ")), "{path}: {challenges:?}");
    }
    assert_eq!(door.ask("GET", "/v1/campaigns", None).await.challenges.len(), 1);
    let admin = basic(door.token("admin"));
    assert_eq!(door.ask("GET", "/", Some(&admin)).await.body, "token:admin read");
    for (method, path) in [("DELETE", "/v1/contacts/C-1"), ("POST", "/v1/jobs"), ("GET", "/v1/audit")] {
        assert_eq!(door.ask(method, path, Some(&admin)).await.status, 403, "{method} {path}");
    }
    assert_eq!(door.ask("GET", "/", Some(&basic(door.token("send")))).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_lock_their_peer_for_a_minute() {
    let door = Door::on(ANYWHERE);
    let good = door.bearer("read");
    for _ in 0..20 {
        assert_eq!(door.ask("GET", "/", Some("Bearer x")).await.status, 401);
    }
    for authorization in ["Bearer x", &good] {
        let answer = door.ask("GET", "/", Some(authorization)).await;
        let wait: u64 = answer.retry_after.unwrap().parse().unwrap();
        assert!(answer.status == 429 && wait <= 60, "{authorization}: no token is looked at");
    }
    assert_eq!(door.ask("GET", "/", None).await.status, 401, "that no token came is nobody's attempt");
    let host = [("host", "localhost")];
    assert_eq!(door.ask_with("GET", "/", Some(&good), &host, "192.0.2.2").await.status, 200);
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    assert_eq!(door.ask("GET", "/", Some(&good)).await.status, 200);
}

#[tokio::test]
async fn behind_a_proxy_each_client_counts_for_itself() {
    let door = Door::on(ANYWHERE);
    let from = |client: &'static str| [("host", "localhost"), ("x-forwarded-for", client)];
    for _ in 0..20 {
        door.ask_with("GET", "/", Some("Bearer x"), &from("198.51.100.1"), "10.0.0.1").await;
    }
    let good = door.bearer("read");
    let ask = async |client| door.ask_with("GET", "/", Some(&good), &from(client), "10.0.0.1").await.status;
    assert_eq!((ask("198.51.100.1").await, ask("198.51.100.2").await), (429, 200));
}

#[tokio::test]
async fn strange_names_are_misdirected_before_anything_else() {
    let door = Door::on(LOOPBACK);
    let ask = async |host: &str| door.ask_with("GET", "/", None, &[("host", host)], "127.0.0.1").await.status;
    assert_eq!((ask("campaigns.internal").await, ask("127.0.0.1:8081").await), (200, 200));
    assert_eq!(ask("rebound.evil.example").await, 421);
    assert_eq!(door.ask_with("GET", "/", None, &[], "127.0.0.1").await.status, 400);
    assert_eq!(door.metrics.admin_refusals.with_label_values(&["host"]).get(), 2);
}

#[tokio::test]
async fn without_a_reading_tokens_wait_for_the_store() {
    let door = Door::without_book(ANYWHERE);
    let answer = door.ask("GET", "/", Some(&door.bearer("read"))).await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("5")));
}
