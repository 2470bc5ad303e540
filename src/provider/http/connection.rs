//! One connection: a request out, its answer in, and whether another may follow.
//!
//! The caller's task drives it: no task of its own, so a call that is dropped leaves nothing running.

use std::future::{Future, poll_fn};
use std::net::TcpStream as Probe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::endpoint::{Dialled, failed};
use super::socket::{Counted, is_silent};
use super::{MAX_ANSWER, NoAnswer};
use crate::model::{Outcome, Reason};

/// How long an idle connection is trusted where the server does not say: many servers close after 5 s, and a request
/// that meets the close on its way is in doubt.
const IDLE: Duration = Duration::from_secs(4);

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Counted>, Full<Bytes>>,
    /// The driver has finished and must not be polled again.
    ended: bool,
    handed: Arc<watch::Sender<u64>>,
    probe: Probe,
    trusted_until: Instant,
}

impl Connection {
    /// # Errors
    /// `Retry`.
    pub(super) async fn open(dialled: Dialled) -> Result<Connection, Outcome> {
        let Dialled { stream, encrypted, probe } = dialled;
        let handed = Arc::new(watch::Sender::new(0));
        let socket = TokioIo::new(Counted::new(stream, encrypted, Arc::clone(&handed)));
        let (sender, driver) = http1::handshake(socket)
            .await
            .map_err(|error| failed(format!("cannot speak HTTP over the connection: {error}")))?;
        Ok(Connection { sender, driver, ended: false, handed, probe, trusted_until: Instant::now() + IDLE })
    }

    /// Whether a request can go out and the server has neither closed nor said anything.
    pub(super) async fn is_idle(&mut self) -> bool {
        if Instant::now() >= self.trusted_until {
            return false;
        }
        // What the probe sees may be for TLS alone, such as a session ticket: it is gone once the driver has read.
        for _ in 0..2 {
            if poll_fn(|cx| Poll::Ready(self.drive(cx))).await {
                return false;
            }
            if is_silent(&self.probe) {
                return self.sender.is_ready();
            }
            tokio::task::yield_now().await;
        }
        false
    }

    /// Calls `left` when the request's first byte is with the socket. After an error the connection is of no use.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        wait: Duration,
        left: &mut (dyn FnMut() + Send),
    ) -> Result<Response<Bytes>, NoAnswer> {
        let before = *self.handed.borrow();
        let sent = self.sender.send_request(request);
        let mut answer = pin!(async {
            let (head, body) = sent.await.map_err(broken)?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(unreadable)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        });
        let mut gone = false;
        let exchange = poll_fn(|cx| {
            if let Poll::Ready(result) = answer.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            self.drive(cx);
            if !gone && *self.handed.borrow() > before {
                gone = true;
                left();
            }
            answer.as_mut().poll(cx)
        });
        let result = match timeout(wait, exchange).await {
            Ok(result) => result,
            Err(_) => Err((Reason::NoAnswer, format!("no answer within {} s", wait.as_secs_f32()))),
        };
        match result {
            Ok(response) => {
                self.trusted_until = Instant::now() + idle(response.headers());
                Ok(response)
            }
            Err((reason, detail)) if gone => Err(NoAnswer::InDoubt { reason, detail }),
            Err((_, detail)) => Err(NoAnswer::NotSent(failed(detail))),
        }
    }

    /// Reads and writes what can be. Returns whether the connection has ended; how, hears the request under way.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        self.ended = self.ended || Pin::new(&mut self.driver).poll(cx).is_ready();
        self.ended
    }
}

fn broken(error: hyper::Error) -> (Reason, String) {
    if error.is_parse() {
        (Reason::NoAnswer, format!("the answer is not HTTP: {error}"))
    } else {
        (Reason::ConnectionLost, format!("the connection broke: {error}"))
    }
}

fn unreadable(error: Box<dyn std::error::Error + Send + Sync>) -> (Reason, String) {
    if error.is::<LengthLimitError>() {
        return (Reason::NoAnswer, format!("the answer is longer than {MAX_ANSWER} bytes"));
    }
    match error.downcast::<hyper::Error>() {
        Ok(error) => broken(*error),
        Err(error) => (Reason::NoAnswer, format!("the answer cannot be read: {error}")),
    }
}

/// How long the connection may be idle: a second less than `Keep-Alive: timeout=5` promises.
fn idle(headers: &HeaderMap) -> Duration {
    let value = headers.get("keep-alive").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.parse::<u32>().ok());
    seconds.map_or(IDLE, |seconds| Duration::from_secs(seconds.saturating_sub(1).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_how_long_a_connection_stays_open() {
        for (value, seconds) in
            [("timeout=5", 4), ("max=100, timeout=60", 59), ("timeout=0", 0), ("timeout=x", 4)]
        {
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static("keep-alive"), value.parse().unwrap())]);
            assert_eq!(idle(&headers), Duration::from_secs(seconds), "{value}");
        }
        assert_eq!(idle(&HeaderMap::new()), IDLE);
    }
}
