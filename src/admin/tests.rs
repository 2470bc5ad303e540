//! The document against the router, and how every route refuses what it cannot answer. The store is a real one that is
//! away; what a store answers is tested against PostgreSQL.

use std::collections::BTreeSet;

use axum::Extension;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::model::access::Caller;
use crate::store::postgres::PgStore;

/// Port 1 refuses every connection.
fn without_store() -> Router {
    let store = Arc::new(PgStore::new("postgres://nobody@127.0.0.1:1/nothing", 1).unwrap());
    router(store).layer(Extension(Caller::loopback()))
}

async fn ask(method: &str, path: &str, body: impl Into<Body>) -> Response {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    without_store().oneshot(request).await.unwrap()
}

async fn json_of(response: Response) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The `detail` of a problem with this status.
async fn problem(response: Response, status: u16) -> String {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    json_of(response).await["detail"].as_str().unwrap().to_owned()
}

/// Path, method in capitals, operation.
fn operations(document: &Value) -> Vec<(&str, String, &Value)> {
    let items = document["paths"].as_object().unwrap().iter();
    items
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters");
            methods.map(move |(method, operation)| (path.as_str(), method.to_uppercase(), operation))
        })
        .collect()
}

fn filled(path: &str) -> String {
    path.replace("{id}", "spring").replace("{external_id}", "C-1")
}

#[test]
fn the_document_and_the_router_know_the_same_paths() {
    let document = openapi::document();
    let elsewhere = ["/v1/jobs", "/healthz", "/readyz", "/metrics", "/openapi.json"];
    let documented: BTreeSet<&str> = operations(&document)
        .into_iter()
        .filter(|(path, _, operation)| operation["tags"] == json!(["admin"]) && !elsewhere.contains(path))
        .map(|(path, ..)| path)
        .collect();
    assert_eq!(documented, routes().iter().map(|(path, _)| *path).collect());
}

#[tokio::test]
async fn the_document_and_the_router_know_the_same_methods() {
    let document = openapi::document();
    for (path, _) in routes() {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let item = &document["paths"][path];
            let documented = item.get(method.as_str().to_lowercase()).is_some();
            let answer = ask(method.as_str(), &filled(path), "{}").await;
            let expected =
                if documented { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::METHOD_NOT_ALLOWED };
            assert_eq!(answer.status(), expected, "{method} {path}");
        }
    }
}

#[test]
fn every_reference_and_parameter_of_the_document_resolves() {
    let document = openapi::document();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        let declared: BTreeSet<String> = item["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|parameter| {
                let pointer = parameter["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
                document.pointer(pointer).unwrap()["name"].as_str().unwrap().to_owned()
            })
            .collect();
        let named = path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
        assert_eq!(declared, named.map(|(name, _)| name.to_owned()).collect(), "{path}");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| collect(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[test]
fn operations_are_named_once_and_answer_something() {
    let document = openapi::document();
    let operations = operations(&document);
    let names: BTreeSet<_> =
        operations.iter().map(|(.., operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len());
    assert!(operations.iter().all(|(.., operation)| !operation["responses"].as_object().unwrap().is_empty()));
    assert_eq!(document["components"]["schemas"]["ContactBody"]["required"], json!([]));
}

#[test]
fn the_manual_names_every_operation() {
    let manual = include_str!("../../docs/http.md");
    for (path, method, operation) in operations(&openapi::document()) {
        let name =
            if operation["tags"] == json!(["admin"]) { format!("`{method} {path}") } else { path.into() };
        assert!(manual.contains(&name), "docs/http.md does not name {name}");
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let response = ask("GET", "/openapi.json", "").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(json_of(response).await["openapi"], "3.1.0");
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_says_when_to_try_again() {
    let response = ask("GET", "/v1/campaigns", "").await;
    assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    problem(response, 503).await;
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    problem(ask("GET", "/v1/nothing", "").await, 404).await;
    let response = ask("GET", "/v1/campaigns/spring/pause", "").await;
    assert_eq!(response.headers()[header::ALLOW], "POST");
    problem(response, 405).await;
}

#[tokio::test]
async fn parameters_are_checked() {
    for (query, word) in [
        ("campaigns?limt=1", "limt"),
        ("campaigns?limit=0", "1 to 1000"),
        ("campaigns?limit=1001", "1 to 1000"),
        ("campaigns?limit=x", "limit"),
        ("campaigns?limit=1&limit=2", "limit"),
        ("campaigns?offset=-1", "offset"),
        ("campaigns/spring?verbose=1", "verbose"),
        ("campaigns/spring/report?a=b", "`a`"),
        ("campaigns/spring/deliveries?state=lost", "delivered"),
        ("campaigns/spring/deliveries?state=sending", "`planned`"),
        ("campaigns/spring/deliveries?cursor=x", "next_cursor"),
        ("contacts/C-1/timeline?limit=0", "1 to 1000"),
        ("contacts/C%00", "control characters"),
        ("contacts/%FF", "UTF-8"),
    ] {
        let detail = problem(ask("GET", &format!("/v1/{query}"), "").await, 400).await;
        assert!(detail.contains(word), "{query}: {detail}");
    }
    problem(ask("GET", &format!("/v1/campaigns/{}", "x".repeat(201)), "").await, 400).await;
}

#[tokio::test]
async fn bodies_are_checked_before_the_store_is_asked() {
    let put = async |body: Body, kind: &str| {
        let request = Request::put("/v1/contacts/C-1").header(header::CONTENT_TYPE, kind).body(body).unwrap();
        without_store().oneshot(request).await.unwrap()
    };
    problem(put("{}".into(), "text/csv").await, 415).await;
    problem(put("{}".into(), "application/json; charset=utf-8").await, 503).await;
    problem(put(" ".repeat(MAX_BODY + 1).into(), "application/json").await, 413).await;
    let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
    problem(put(Body::from_stream(broken), "application/json").await, 400).await;
    let response =
        put(r#"{"addresses": [{"channel": "email", "address": "nope"}]}"#.into(), "application/json").await;
    assert_eq!(response.status(), 422);
    assert_eq!(json_of(response).await["errors"][0]["path"], "$.addresses[0].address");
}
