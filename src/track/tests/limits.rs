//! One address that asks too much: recipients are served all the same, the store is spared.

use axum::http::HeaderValue;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

use super::site::{LINK, Site, assert_pixel, assert_problem, text};
use crate::http::dial;

/// A request of a client behind the proxy.
async fn ask(site: &Site, client: &str, method: &str, path: &str, body: &'static str) -> Response<Bytes> {
    let mut request = dial::request(method, path).map(|_| Full::new(Bytes::from_static(body.as_bytes())));
    request.headers_mut().insert("x-forwarded-for", HeaderValue::from_str(client).unwrap());
    site.send(request).await
}

#[tokio::test]
async fn pixel_and_redirect_answer_whatever_was_used() {
    let site = Site::limited("1/h", "1/h").await;
    assert_pixel(&ask(&site, "198.51.100.1", "GET", "/o/open-7", "").await);
    assert_eq!(site.store.last_answer(), ("open", "human", 200));

    assert_pixel(&ask(&site, "198.51.100.1", "GET", "/o/open-7", "").await);
    assert_eq!(site.store.last_answer(), ("open", "limited", 200));
    let redirect = ask(&site, "198.51.100.1", "GET", "/c/click-7-0", "").await;
    assert_eq!((redirect.status().as_u16(), text(&redirect, "location")), (302, LINK));
    assert_eq!(site.store.last_answer(), ("click", "limited", 302));
    assert_problem(&ask(&site, "198.51.100.1", "GET", "/c/forged", "").await, 404);
    assert_eq!(ask(&site, "198.51.100.1", "GET", "/u/unsubscribe-7", "").await.status(), 200);
    let refused = ask(&site, "198.51.100.1", "POST", "/u/unsubscribe-7", "List-Unsubscribe=One-Click").await;
    assert_problem(&refused, 429);
    assert!((1..=3_600).contains(&text(&refused, "retry-after").parse::<u32>().unwrap()));
    assert_eq!(site.store.last_answer(), ("unsubscribe", "limited", 429));
    assert_eq!(site.store.events().len(), 1);

    assert_pixel(&ask(&site, "198.51.100.2", "GET", "/o/open-7", "").await);
    assert_eq!(site.store.events().len(), 2, "another address has its own rate");
}

#[tokio::test]
async fn forged_tokens_use_nothing_up() {
    let site = Site::limited("1/h", "1/h").await;
    for _ in 0..50 {
        assert_pixel(&ask(&site, "198.51.100.1", "GET", "/o/forged", "").await);
        assert_problem(&ask(&site, "198.51.100.1", "POST", "/u/forged", "").await, 404);
    }
    assert_pixel(&ask(&site, "198.51.100.1", "GET", "/o/open-7", "").await);
    assert_eq!(site.store.last_answer(), ("open", "human", 200));
}

#[tokio::test]
async fn whoever_has_calls_refused_is_not_looked_at_and_others_are_taken() {
    let site = Site::limited("1/h", "1/h").await;
    for _ in 0..50 {
        assert_eq!(ask(&site, "198.51.100.1", "POST", "/hooks/relay", "good").await.status(), 200);
    }
    assert_problem(&ask(&site, "198.51.100.1", "POST", "/hooks/relay", "forged").await, 401);
    let seen = site.store.calls.lock().unwrap().len();
    for body in ["forged", "good"] {
        let refused = ask(&site, "198.51.100.1", "POST", "/hooks/relay", body).await;
        assert_problem(&refused, 429);
        assert!(!text(&refused, "retry-after").is_empty());
        assert_eq!(site.store.last_answer(), ("hook", "limited", 429));
    }
    assert_eq!(site.store.calls.lock().unwrap().len(), seen, "no signature was looked at");
    assert_eq!(ask(&site, "198.51.100.2", "POST", "/hooks/relay", "good").await.status(), 200);
    assert_problem(&ask(&site, "198.51.100.3", "POST", "/hooks/nobody", "good").await, 404);
    assert_problem(&ask(&site, "198.51.100.3", "POST", "/hooks/nobody", "good").await, 429);
}

#[tokio::test]
async fn loopback_is_kept_from_nothing() {
    let site = Site::limited("1/h", "1/h").await;
    for _ in 0..3 {
        assert_pixel(&site.ask("GET", "/o/open-7").await);
        assert_problem(&site.post("/hooks/relay", "text/plain", "forged").await, 401);
    }
    assert_eq!(site.store.events().len(), 3);
}
