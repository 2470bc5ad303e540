//! One connection: requests out as the server allows them, their answers in, and what became of those without one.
//!
//! A task of its own drives it, so that the server's pings are answered between requests; it ends with the connection.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::net::TcpStream as Probe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, Reason as Code};
use http::{Request, Response};
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::model::{Outcome, Reason};
use crate::provider::http::socket::{Counted, is_closed};
use crate::provider::http::{Dialled, MAX_ANSWER, failed};

/// How often the server is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(60);

pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    /// Bytes that the socket took.
    handed: Arc<watch::Sender<u64>>,
    probe: Probe,
    silent: bool,
}

/// Why a request has no answer.
pub(super) enum Lost {
    /// It can never be sent.
    Invalid(Outcome),
    /// The server surely did nothing with it.
    NotTaken(String),
    InDoubt {
        reason: Reason,
        detail: String,
    },
}

/// What broke.
enum Fault {
    Http2(h2::Error),
    TooLong,
}

impl From<h2::Error> for Fault {
    fn from(error: h2::Error) -> Self {
        Fault::Http2(error)
    }
}

impl Connection {
    /// # Errors
    /// `Retry`.
    pub(super) async fn open(dialled: Dialled) -> Result<Connection, Outcome> {
        let Dialled { stream, encrypted, probe } = dialled;
        let handed = Arc::new(watch::Sender::new(0));
        let socket = Counted::new(stream, encrypted, Arc::clone(&handed));
        let (sender, connection) = h2::client::Builder::new()
            .enable_push(false)
            // Requests wait until the server has said how many it takes: what exceeds that comes back refused.
            .initial_max_send_streams(0)
            .handshake(socket)
            .await
            .map_err(|error| failed(format!("cannot speak HTTP/2 over the connection: {error}")))?;
        Ok(Connection { sender, driver: tokio::spawn(drive(connection)), handed, probe, silent: false })
    }

    /// Whether requests can go out.
    pub(super) async fn is_open(&mut self) -> bool {
        // What the server said meanwhile is with the driver once it had its turn.
        yield_now().await;
        let ended =
            poll_fn(|cx| Poll::Ready(matches!(self.sender.poll_ready(cx), Poll::Ready(Err(_))))).await;
        !ended && !self.driver.is_finished() && !is_closed(&self.probe)
    }

    /// Whether a request got no answer in time, so that nobody knows whether the server is there.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Sends all requests, each as soon as the server takes one more, and hears all their answers; `wait` for each.
    pub(super) async fn exchange(
        &mut self,
        requests: Vec<(usize, Result<Request<Bytes>, Outcome>)>,
        wait: Duration,
        left: &(dyn Fn(usize) + Sync),
    ) -> Vec<(usize, Result<Response<Bytes>, Lost>)> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut waiting = requests.into_iter();
        let mut under_way = FuturesUnordered::new();
        let mut turn_until = Instant::now() + wait;
        loop {
            let more = waiting.len() > 0;
            let turn = poll_fn(|cx| self.sender.poll_ready(cx));
            let not_taken = tokio::select! {
                biased;
                Some(answer) = under_way.next() => {
                    answers.push(answer);
                    continue;
                }
                turn = turn, if more => match turn {
                    Ok(()) => {
                        match waiting.next() {
                            Some((n, Ok(request))) => under_way.push(self.start(n, request, wait, left)),
                            Some((n, Err(outcome))) => answers.push((n, Err(Lost::Invalid(outcome)))),
                            None => {}
                        }
                        turn_until = Instant::now() + wait;
                        continue;
                    }
                    Err(error) => format!("the connection ended: {error}"),
                },
                () = sleep_until(turn_until), if more => {
                    self.silent = true;
                    format!("the server took no request within {} s", wait.as_secs_f32())
                }
                else => break,
            };
            answers.extend(waiting.by_ref().map(|(n, _)| (n, Err(Lost::NotTaken(not_taken.clone())))));
        }
        self.silent |= answers
            .iter()
            .any(|(_, answer)| matches!(answer, Err(Lost::InDoubt { reason: Reason::NoAnswer, .. })));
        answers
    }

    /// Hands a request to the driver. The future is its answer.
    fn start<'l>(
        &mut self,
        n: usize,
        request: Request<Bytes>,
        wait: Duration,
        left: &'l (dyn Fn(usize) + Sync),
    ) -> impl Future<Output = (usize, Result<Response<Bytes>, Lost>)> + use<'l> {
        let mut handed = self.handed.subscribe();
        let before = *handed.borrow_and_update();
        let started = self.queue(request);
        async move {
            let answer = async { read(started?).await };
            let mut progress = handed.clone();
            let leaving = async {
                // An error says that the connection is gone, which the answer says better.
                if progress.wait_for(|sum| *sum > before).await.is_ok() {
                    left(n);
                }
                pending::<Infallible>().await
            };
            let answer = tokio::select! {
                biased;
                answer = timeout(wait, answer) => answer,
                never = leaving => match never {},
            };
            let gone = *handed.borrow() > before;
            if gone {
                left(n);
            }
            (
                n,
                match answer {
                    Ok(answer) => answer.map_err(|fault| lost(&fault, gone)),
                    Err(_) => {
                        let detail = format!("no answer within {} s", wait.as_secs_f32());
                        Err(if gone {
                            Lost::InDoubt { reason: Reason::NoAnswer, detail }
                        } else {
                            Lost::NotTaken(detail)
                        })
                    }
                },
            )
        }
    }

    fn queue(&mut self, request: Request<Bytes>) -> Result<ResponseFuture, h2::Error> {
        let (head, body) = request.into_parts();
        let (response, mut stream) =
            self.sender.send_request(Request::from_parts(head, ()), body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body, true)?;
        }
        Ok(response)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Reads and writes until the connection ends, and ends one whose server no longer answers.
async fn drive(mut connection: h2::client::Connection<Counted, Bytes>) {
    let pings = connection.ping_pong();
    let beat = async {
        let Some(mut pings) = pings else { return pending().await };
        loop {
            sleep(PING).await;
            if !matches!(timeout(PING, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
                return;
            }
        }
    };
    tokio::select! {
        // The requests under way hear how it ended.
        _ = connection => {}
        () = beat => {}
    }
}

async fn read(response: ResponseFuture) -> Result<Response<Bytes>, Fault> {
    let (head, mut body) = response.await?.into_parts();
    let mut whole = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        if whole.len() + part.len() > MAX_ANSWER {
            return Err(Fault::TooLong);
        }
        whole.extend_from_slice(&part);
    }
    Ok(Response::from_parts(head, whole.freeze()))
}

/// RFC 9113: the server did nothing with streams above the last one that its GOAWAY names (section 6.8), which alone
/// hear of it by that error, and with those that it refuses (section 8.7).
fn lost(fault: &Fault, gone: bool) -> Lost {
    let error = match fault {
        Fault::TooLong => {
            let detail = format!("the answer is longer than {MAX_ANSWER} bytes");
            return Lost::InDoubt { reason: Reason::NoAnswer, detail };
        }
        Fault::Http2(error) => error,
    };
    let refused = error.is_reset() && error.reason() == Some(Code::REFUSED_STREAM);
    let above = error.is_go_away();
    let detail = format!("the connection broke: {error}");
    if (error.is_remote() && (refused || above)) || !gone {
        Lost::NotTaken(detail)
    } else {
        Lost::InDoubt { reason: Reason::ConnectionLost, detail }
    }
}
