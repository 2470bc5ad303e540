//! HTTP/2 out (RFC 9113): many requests at once over one connection.
//!
//! A [`Client`] is one connection, as a session is. It says of each request that got no answer whether it certainly or
//! possibly left; one that the server surely did not take, by GOAWAY or REFUSED_STREAM, goes again by itself. Repeats
//! nothing that may have arrived, follows no redirect, knows no provider.

mod connection;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};

use self::connection::{Connection, Lost};
use super::http::{Endpoint, NoAnswer, failed};
use crate::model::Outcome;

/// A POST request.
#[derive(Debug, Clone)]
pub struct Post {
    /// Begins with a slash and follows the endpoint's own path.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// One connection to an [`Endpoint`]; it dials when it is needed.
pub struct Client {
    endpoint: Arc<Endpoint>,
    /// Taken out while in use: a call that is dropped halfway leaves none behind.
    connection: Option<Connection>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        Client { endpoint, connection: None }
    }

    /// Makes sure of a connection that takes requests.
    ///
    /// # Errors
    /// `Retry` or `AccountRefused`.
    pub async fn ready(&mut self) -> Result<(), Outcome> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_open().await
        {
            self.connection = Some(connection);
            return Ok(());
        }
        self.connection = Some(Connection::open(self.endpoint.dial().await?).await?);
        Ok(())
    }

    /// All requests at once, as far as the server allows; their answers in the requests' order, whatever their status.
    /// `left` is called with a request's position as soon as its first byte is with the socket.
    ///
    /// What the server surely did not take is sent again, on a new connection where the old one takes no more: once,
    /// and for as long as every round brings an answer.
    pub async fn post(
        &mut self,
        posts: &[Post],
        left: &(dyn Fn(usize) + Sync),
    ) -> Vec<Result<Response<Bytes>, NoAnswer>> {
        let never = || NoAnswer::NotSent(failed("the request was not sent".to_owned()));
        let mut answers: Vec<_> = posts.iter().map(|_| Err(never())).collect();
        let mut open: Vec<usize> = (0..posts.len()).collect();
        let mut spare = true;
        while !open.is_empty() {
            if let Err(outcome) = self.ready().await {
                open.iter().for_each(|n| answers[*n] = Err(NoAnswer::NotSent(outcome.clone())));
                break;
            }
            let Some(mut connection) = self.connection.take() else { continue };
            let requests = open.iter().map(|n| (*n, self.request(&posts[*n]))).collect();
            let round = connection.exchange(requests, self.endpoint.timeouts().answer, left).await;
            self.connection = Some(connection).filter(|connection| !connection.is_silent());
            let asked = open.len();
            open.clear();
            for (n, answer) in round {
                answers[n] = answer.map_err(|lost| match lost {
                    Lost::Invalid(outcome) => NoAnswer::NotSent(outcome),
                    Lost::NotTaken(detail) => {
                        open.push(n);
                        NoAnswer::NotSent(failed(detail))
                    }
                    Lost::InDoubt { reason, detail } => NoAnswer::InDoubt { reason, detail },
                });
            }
            if open.len() == asked && !std::mem::take(&mut spare) {
                break;
            }
        }
        answers
    }

    fn request(&self, post: &Post) -> Result<Request<Bytes>, Outcome> {
        let mut request = Request::new(post.body.clone());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.absolute_uri(&post.path)?;
        *request.headers_mut() = post.headers.clone();
        request
            .headers_mut()
            .entry(header::USER_AGENT)
            .or_insert(const { HeaderValue::from_static(concat!("campaignd/", env!("CARGO_PKG_VERSION"))) });
        Ok(request)
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.connection = None;
    }
}
