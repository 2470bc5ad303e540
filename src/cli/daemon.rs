//! Asking a daemon over HTTP: one connection a request, no redirects, answers of a bounded size.

use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 16 << 20;

/// Hands in a job; answers with the status and what the daemon says in JSON.
///
/// # Errors
/// When nobody answers there.
pub(super) async fn post_job(admin: SocketAddr, job: impl Into<Bytes>) -> Result<(StatusCode, Value)> {
    let request =
        Request::post("/v1/jobs").header(CONTENT_TYPE, "application/json").body(Full::new(job.into()))?;
    let answer = ask(admin, request).await?;
    Ok((answer.status(), serde_json::from_slice(answer.body()).unwrap_or_default()))
}

/// Sends a request whose URI is a path.
///
/// # Errors
/// When nobody answers there, or with too much.
pub(super) async fn ask(daemon: SocketAddr, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
    let stream = TcpStream::connect(daemon).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    request.headers_mut().insert(HOST, HeaderValue::try_from(daemon.to_string())?);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| anyhow!(error))?.to_bytes();
    driver.abort();
    Ok(Response::from_parts(head, body))
}
