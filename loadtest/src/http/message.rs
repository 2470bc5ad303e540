//! Requests as they came and replies as they leave.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

/// A request, whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// Connections and requests of a server are each numbered from 1.
    pub connection: u64,
    pub number: u64,
    pub method: Method,
    /// Path and query as they came, still encoded.
    pub target: String,
    /// Names are lower-cased; repeated ones keep their order.
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    /// The target up to the question mark.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// What follows the question mark, still encoded.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The header's first value; none where it is absent or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// An answer with its content.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// Without content.
    pub fn status(status: StatusCode) -> Self {
        Answer { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// As `application/json`.
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Answer::status(status).content("application/json", body.to_string())
    }

    /// 200 with plain text.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Answer::status(StatusCode::OK).content("text/plain; charset=utf-8", body)
    }

    #[must_use]
    pub fn content(mut self, kind: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

/// What the client gets.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer(Answer),
    /// The connection ends without a word.
    Cut,
    /// The connection ends after the head and half of the content.
    CutInAnswer(Answer),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Reply::Answer(answer)
    }
}
