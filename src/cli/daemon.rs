//! Asking a daemon over HTTP: one connection a request, no redirects, answers of a bounded size.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::config::{Config, Secret};

/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 16 << 20;

/// Where the token of a command stands, so that no argument shows it to every user of the machine.
const TOKEN: &str = "CAMPAIGND_TOKEN";

/// What the daemon is shown: the environment's token, or the configuration's.
pub(super) fn token(config: &Config) -> Option<Secret> {
    let given = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
    given.map(Secret::new).or_else(|| config.http.token.clone())
}

/// Where a daemon of this machine is reached that listens on every address.
pub(super) fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}

/// Hands in a job; answers with the status and what the daemon says in JSON.
///
/// # Errors
/// When nobody answers there.
pub(super) async fn post_job(
    admin: SocketAddr,
    token: Option<&Secret>,
    job: impl Into<Bytes>,
) -> Result<(StatusCode, Value)> {
    let mut request =
        Request::post("/v1/jobs").header(CONTENT_TYPE, "application/json").body(Full::new(job.into()))?;
    if let Some(token) = token {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
            .map_err(|_| anyhow!("the API token has characters that no token has"))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);
    }
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
