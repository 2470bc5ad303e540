//! One connection of HTTP/2: requests side by side, and a goodbye that says which of them were taken.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Duration, sleep};

use super::frames::{Frames, Injector, goaway};
use super::{Answer, Handler, Reply, Request, Shared};

/// A connection that has said goodbye and answered everything stays so long for what is still on the wire.
const LINGER: Duration = Duration::from_millis(100);

type Incoming = (hyper::Request<RecvStream>, SendResponse<Bytes>);

pub(super) async fn serve<H: Handler, S>(stream: S, number: u64, shared: &Shared<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = &shared.options.http2;
    let (frames, injector) = Frames::new(stream);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(options.streams);
    let Ok(Ok(mut connection)) = tokio::time::timeout(shared.options.idle, builder.handshake(frames)).await
    else {
        return;
    };
    let mut goodbyes = shared.seen.goodbyes.subscribe();
    let mut taken = Taken { requests: 0, last_stream: 0, injector, away: false };
    let mut answers = FuturesUnordered::new();
    // They were not taken: they stay without an answer until the connection ends.
    let mut ignored = Vec::new();
    loop {
        let patience = if taken.away { LINGER } else { shared.options.idle };
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok(incoming)) = accepted else { return };
                if taken.away {
                    ignored.push(incoming);
                    continue;
                }
                taken.requests += 1;
                taken.last_stream = incoming.1.stream_id().into();
                answers.push(answer(incoming, number, shared));
                if options.requests == Some(taken.requests) {
                    taken.goodbye(&options.goodbye);
                }
            }
            Some(answered) = answers.next() => {
                if answered.is_err() {
                    return;
                }
            }
            _ = goodbyes.changed(), if !taken.away => taken.goodbye(&options.goodbye),
            () = sleep(patience), if answers.is_empty() => return,
        }
    }
}

/// What a connection took, and whether it takes more.
struct Taken {
    requests: u64,
    last_stream: u32,
    injector: Injector,
    away: bool,
}

impl Taken {
    fn goodbye(&mut self, reason: &[u8]) {
        self.away = true;
        self.injector.inject(goaway(self.last_stream, reason));
    }
}

/// The connection is to end at once.
struct CutNow;

async fn answer<H: Handler>(
    (request, mut respond): Incoming,
    connection: u64,
    shared: &Shared<H>,
) -> Result<(), CutNow> {
    let reply = match whole(request, connection, shared.options.max_body).await {
        Ok(request) => shared.handle(request).await,
        Err(Some(status)) => Answer::status(status).into(),
        // The client took the request back.
        Err(None) => return Ok(()),
    };
    let (answer, cut) = match reply {
        Reply::Cut => return Err(CutNow),
        Reply::Answer(answer) => (answer, false),
        Reply::CutInAnswer(answer) => (answer, true),
    };
    let mut head = hyper::Response::new(());
    *head.status_mut() = answer.status;
    *head.headers_mut() = answer.headers;
    // A client that broke off gets no answer, and that is its own affair.
    if let Ok(mut content) = respond.send_response(head, answer.body.is_empty() && !cut) {
        if cut {
            content.send_reset(Reason::INTERNAL_ERROR);
        } else if !answer.body.is_empty() {
            let _broken_off = content.send_data(answer.body, true);
        }
    }
    Ok(())
}

/// The request with its body; else the status that refuses it, or nothing where its stream broke.
async fn whole(
    request: hyper::Request<RecvStream>,
    connection: u64,
    max_body: usize,
) -> Result<Request, Option<StatusCode>> {
    let (head, mut stream) = request.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data.map_err(|_| None)?;
        if body.len() + data.len() > max_body {
            return Err(Some(StatusCode::PAYLOAD_TOO_LARGE));
        }
        body.extend_from_slice(&data);
        stream.flow_control().release_capacity(data.len()).map_err(|_| None)?;
    }
    Ok(Request {
        connection,
        number: 0,
        method: head.method,
        target: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
        headers: head.headers,
        body: body.freeze(),
    })
}
