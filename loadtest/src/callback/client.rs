//! A client that posts over one kept connection.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Post;

#[derive(Debug, Default)]
pub(super) struct Client {
    /// The authority it leads to, and the connection.
    connection: Option<(String, SendRequest<Full<Bytes>>)>,
}

impl Client {
    /// The status and the content of the answer. After an error a new client is needed.
    pub(super) async fn post(&mut self, post: &Post) -> io::Result<(u16, Bytes)> {
        let mut request = hyper::Request::post(&post.url);
        for (name, value) in &post.headers {
            request = request.header(name, value);
        }
        self.call(request, &post.body).await
    }

    /// The status and the content of what is there.
    pub(super) async fn get(&mut self, url: &str) -> io::Result<(u16, Bytes)> {
        self.call(hyper::Request::get(url), &Bytes::new()).await
    }

    async fn call(&mut self, request: Builder, body: &Bytes) -> io::Result<(u16, Bytes)> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "a URL is http://host:port/path");
        let uri = request.uri_ref().cloned().ok_or_else(invalid)?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(invalid)?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let request = request.uri(target).header(HOST, authority.as_str());
        let request = request.body(Full::new(body.clone())).map_err(io::Error::other)?;
        let sender = self.connect(authority.as_str(), authority.port_u16().unwrap_or(80)).await?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        Ok((status, body))
    }

    /// The connection to `authority`: the kept one while it lives.
    async fn connect(&mut self, authority: &str, port: u16) -> io::Result<&mut SendRequest<Full<Bytes>>> {
        let alive = match &mut self.connection {
            Some((to, sender)) => to == authority && sender.ready().await.is_ok(),
            None => false,
        };
        if !alive {
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
            // It ends with its sender.
            tokio::spawn(connection);
            self.connection = None;
            return Ok(&mut self.connection.insert((authority.to_owned(), sender)).1);
        }
        self.connection.as_mut().map(|(_, sender)| sender).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}
