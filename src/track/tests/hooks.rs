//! Providers' calls: what reaches the hook, and what the provider hears.

use bytes::Bytes;
use http_body_util::Full;

use super::site::{Mood, Site, assert_problem, text, with};
use crate::http::dial;

#[tokio::test]
async fn a_call_reaches_its_hook_whole() {
    let site = Site::up().await;
    let request = dial::request("POST", "/hooks/relay/s%2Fecret/more?echo=1&x=%20")
        .map(|_| Full::new(Bytes::from("good")));
    let request = with(with(request, "webhook-id", "msg_1"), "x-forwarded-for", "198.51.100.1");
    let response = site.send(request).await;
    assert_eq!((response.status().as_u16(), text(&response, "content-type")), (200, "text/xml"));
    assert_eq!(response.body(), "<ok/>");
    assert_eq!(text(&response, "cache-control"), "no-store");
    let call = site.store.calls.lock().unwrap().pop().unwrap();
    assert_eq!((call.method.as_str(), call.tail.as_str()), ("POST", "s%2Fecret/more"));
    assert_eq!((call.query.as_str(), call.body), ("echo=1&x=%20", Bytes::from("good")));
    assert_eq!(call.headers["webhook-id"], "msg_1");
    assert_eq!(call.peer.to_string(), "198.51.100.1");
    assert_eq!(site.store.last_answer(), ("hook", "taken", 200));
}

#[tokio::test]
async fn get_is_a_call_too_and_other_methods_are_none() {
    let site = Site::up().await;
    assert_problem(&site.ask("GET", "/hooks/relay?echostr=7").await, 401);
    assert_eq!(site.store.calls.lock().unwrap()[0].query, "echostr=7");
    let response = site.ask("DELETE", "/hooks/relay").await;
    assert_problem(&response, 405);
    assert!(text(&response, "allow").contains("POST"));
}

#[tokio::test]
async fn a_refusal_is_a_problem_in_the_hooks_words() {
    let site = Site::up().await;
    let response = site.post("/hooks/relay", "application/json", "{}").await;
    assert_problem(&response, 401);
    assert!(String::from_utf8_lossy(response.body()).contains("not this account's"));
    assert_eq!(site.store.last_answer(), ("hook", "refused", 401));
}

#[tokio::test]
async fn a_strange_name_is_not_found() {
    let site = Site::up().await;
    for path in ["/hooks/nobody", "/hooks/nobody/relay", "/hooks/Relay"] {
        assert_problem(&site.post(path, "application/json", "good").await, 404);
        assert_eq!(site.store.last_answer(), ("hook", "unknown_provider", 404));
    }
    assert!(site.store.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_large_body_is_refused_before_the_hook_sees_it() {
    let site = Site::up().await;
    let response = site.post("/hooks/relay", "text/plain", vec![b'x'; 1024 * 1024 + 1]).await;
    assert_problem(&response, 413);
    assert!(site.store.calls.lock().unwrap().is_empty());
    assert_problem(&site.post("/hooks/relay", "text/plain", vec![b'x'; 1024 * 1024]).await, 401);
}

#[tokio::test]
async fn without_the_store_the_provider_comes_again() {
    for mood in [Mood::Away, Mood::Hangs] {
        let site = Site::open(mood, 100).await;
        let response = site.post("/hooks/relay", "text/plain", "good").await;
        assert_problem(&response, 503);
        assert!(text(&response, "retry-after").parse::<u32>().is_ok());
        assert_eq!(site.store.last_answer(), ("hook", "unavailable", 503));
    }
}
