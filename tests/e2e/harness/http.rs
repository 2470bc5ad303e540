//! A small HTTP/1.1 client that follows no redirects: a connection a request, or one kept.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub async fn get(server: SocketAddr, path: &str) -> io::Result<Response<String>> {
    request(server, Method::GET, path, "", "").await
}

/// Posts JSON.
pub async fn post(server: SocketAddr, path: &str, body: &str) -> io::Result<Response<String>> {
    request(server, Method::POST, path, "application/json", body).await
}

/// Posts a form, as a mail program that unsubscribes with one click (RFC 8058).
pub async fn post_form(server: SocketAddr, path: &str, body: &str) -> io::Result<Response<String>> {
    request(server, Method::POST, path, "application/x-www-form-urlencoded", body).await
}

/// A peer that keeps its connection for as long as the server does.
#[derive(Debug)]
pub struct KeptAlive {
    server: SocketAddr,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl KeptAlive {
    pub fn to(server: SocketAddr) -> KeptAlive {
        KeptAlive { server, sender: None }
    }

    /// Sends a request without a body; the answer's body is read to its end.
    ///
    /// # Errors
    /// No connection, or it broke before the answer.
    pub async fn send(&mut self, method: Method, path: &str) -> io::Result<Response<Bytes>> {
        let ready = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let mut sender = match ready {
            Some(sender) => sender,
            None => dial(self.server).await?,
        };
        let request = Request::builder().method(method).uri(path).header("host", self.server.to_string());
        let request = request.body(Empty::new()).expect("a path that is a URI");
        let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        self.sender = Some(sender);
        Ok(Response::from_parts(head, body))
    }
}

async fn dial<B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static>(
    server: SocketAddr,
) -> io::Result<SendRequest<B>> {
    let stream = TcpStream::connect(server).await?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn request(
    server: SocketAddr,
    method: Method,
    path: &str,
    content_type: &str,
    body: &str,
) -> io::Result<Response<String>> {
    ask(server, method, path, &[("content-type", content_type)], body).await
}

/// Any request; without a `host` among its headers it names the server's address.
pub async fn ask(
    server: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Response<String>> {
    let mut sender = dial(server).await?;
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", server.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a path that is a URI");
    let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Response::from_parts(head, String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use axum::routing::{get as on_get, post as on_post};

    use super::*;

    #[tokio::test]
    async fn requests_and_answers_pass_whole() {
        let router = axum::Router::new()
            .route("/hello", on_get(|| async { ([("x-who", "you")], "hello") }))
            .route("/echo", on_post(|body: String| async { (hyper::StatusCode::ACCEPTED, body) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        let hello = get(server, "/hello").await.unwrap();
        assert_eq!(
            (hello.status().as_u16(), &hello.headers()["x-who"], hello.body().as_str()),
            (200, &"you".parse().unwrap(), "hello")
        );
        let echo = post(server, "/echo", "{\"name\": \"上海\"}").await.unwrap();
        assert_eq!((echo.status().as_u16(), echo.body().as_str()), (202, "{\"name\": \"上海\"}"));
    }

    #[tokio::test]
    async fn nobody_there_is_an_error() {
        assert!(get(super::super::free_address(), "/").await.is_err());
    }
}
