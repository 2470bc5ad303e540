//! HTTP/1.1 out: the client that providers with an HTTP interface share.
//!
//! A [`Client`] is one connection at a time, kept alive between requests, as a session is. It says of each request
//! that got no answer whether it certainly or possibly left. Follows no redirect, repeats nothing that may have
//! arrived, knows no provider.

mod connection;
mod endpoint;
pub(super) mod socket;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;

use self::connection::Connection;
pub(super) use self::endpoint::{Dialled, failed};
pub use self::endpoint::{Endpoint, InvalidEndpoint, Timeouts};
pub use self::status::{retry_after, wait};
use crate::model::{Outcome, Reason};

/// An answer's body at most; a longer one is not read.
pub const MAX_ANSWER: usize = 1 << 20;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Certainly not sent; the outcome is `Retry` or `AccountRefused`.
    NotSent(Outcome),
    /// The request left, or part of it.
    InDoubt { reason: Reason, detail: String },
}

impl From<NoAnswer> for Outcome {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::NotSent(outcome) => outcome,
            NoAnswer::InDoubt { reason, detail } => Outcome::Unknown { reason, detail },
        }
    }
}

/// One keep-alive connection to an [`Endpoint`]; it dials when it is needed.
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

    /// Makes sure of a connection that the server has not closed.
    ///
    /// # Errors
    /// `Retry` or `AccountRefused`.
    pub async fn ready(&mut self) -> Result<(), Outcome> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_idle().await
        {
            self.connection = Some(connection);
            return Ok(());
        }
        self.connection = Some(Connection::open(self.endpoint.dial().await?).await?);
        Ok(())
    }

    /// One request and its whole answer, whatever its status. `path_and_query` begins with a slash and follows the
    /// endpoint's own path. `left` is called once, as soon as the request's first byte is with the socket.
    ///
    /// A connection that turns out closed before a byte was written is replaced once.
    ///
    /// # Errors
    /// Where no answer came that can be read, up to [`MAX_ANSWER`] and in the endpoint's time.
    pub async fn request(
        &mut self,
        method: Method,
        path_and_query: &str,
        mut headers: HeaderMap,
        body: Bytes,
        mut left: impl FnMut() + Send,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let uri = self.endpoint.uri(path_and_query).map_err(NoAnswer::NotSent)?;
        headers.insert(header::HOST, self.endpoint.authority());
        headers
            .entry(header::USER_AGENT)
            .or_insert(const { HeaderValue::from_static(concat!("campaignd/", env!("CARGO_PKG_VERSION"))) });
        let mut again = true;
        loop {
            self.ready().await.map_err(NoAnswer::NotSent)?;
            let Some(mut connection) = self.connection.take() else { continue };
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            match connection.exchange(request, self.endpoint.timeouts().answer, &mut left).await {
                Ok(response) => {
                    self.connection = Some(connection);
                    return Ok(response);
                }
                Err(NoAnswer::NotSent(_)) if again => again = false,
                Err(no_answer) => return Err(no_answer),
            }
        }
    }

    /// Closes the connection; the protocol has no word for it.
    pub fn close(&mut self) {
        self.connection = None;
    }
}
