//! The API in this process, on a fresh store.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, header};
use axum::{Extension, Router};
use campaignd::admin;
use campaignd::model::access::Caller;
use serde_json::Value;
use tower::ServiceExt;

use super::schema::faults;
use crate::store::Bed;

pub(super) struct Api {
    pub(super) bed: Bed,
    router: Router,
    document: Value,
}

/// One answer, read whole.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    /// The body as JSON; `null` where it is empty.
    pub(super) fn json(&self) -> Value {
        if self.text.is_empty() { Value::Null } else { serde_json::from_str(&self.text).unwrap() }
    }

    async fn read(response: Response<Body>) -> Answer {
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: head.status.as_u16(), headers: head.headers, text }
    }
}

impl Api {
    pub(super) async fn start() -> Api {
        let bed = Bed::postgres().await;
        let router = admin::router(Arc::clone(&bed.store)).layer(Extension(Caller::loopback()));
        let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
        let document = Answer::read(router.clone().oneshot(request).await.unwrap()).await.json();
        Api { bed, router, document }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// The body of an answer that must be 200.
    pub(super) async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    /// Asks, and holds the answer against the document.
    pub(super) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let answer = Answer::read(self.router.clone().oneshot(request).await.unwrap()).await;
        self.check(method, path, &answer);
        answer
    }

    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let context = format!("{method} {path} -> {}: {}", answer.status, answer.text);
        let item = self.item(path).unwrap_or_else(|| panic!("no path in the document for {context}"));
        let mut response = &item[method.to_lowercase()]["responses"][answer.status.to_string()];
        if let Some(reference) = response["$ref"].as_str() {
            response = self.document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        }
        assert!(response.is_object(), "the document has no such answer: {context}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{context}");
        let Some(contents) = response["content"].as_object() else {
            assert!(answer.text.is_empty(), "the document has no body: {context}");
            return;
        };
        let kind = answer.headers[header::CONTENT_TYPE].to_str().unwrap().split(';').next().unwrap();
        let content = contents.get(kind).unwrap_or_else(|| panic!("the document has no {kind}: {context}"));
        if kind.ends_with("json") {
            let faults = faults(&self.document, &content["schema"], &answer.json(), "$");
            assert!(faults.is_empty(), "{}\n{context}", faults.join("\n"));
        }
    }

    /// The path of the document that a request's path is one of.
    fn item(&self, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap();
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let names: Vec<&str> = template.split('/').collect();
            names.len() == parts.len()
                && names.iter().zip(&parts).all(|(name, part)| name.starts_with('{') || name == part)
        };
        let paths = self.document["paths"].as_object().unwrap();
        paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item)
    }
}
