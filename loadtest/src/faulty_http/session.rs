//! One connection to the scripted server: head, body, answer, and again.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Action, Answer, Event, Request, Shared};

/// The longest head that is read.
const MAX_HEAD: usize = 64 << 10;

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

pub(super) async fn serve(stream: TcpStream, number: u64, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if (shared.options.script)(Event::Connect) == Action::Cut {
        return Ok(());
    }
    let mut socket: Box<dyn Socket> = match &shared.options.tls {
        None => Box::new(stream),
        Some(acceptor) => Box::new(acceptor.accept(stream).await?),
    };
    let mut inbound = BytesMut::new();
    while converse(&mut *socket, &mut inbound, number, shared).await? {}
    socket.shutdown().await
}

/// One request and its answer. Returns whether the connection stays open.
async fn converse(
    socket: &mut dyn Socket,
    inbound: &mut BytesMut,
    number: u64,
    shared: &Shared,
) -> io::Result<bool> {
    let Some(end) = read_head(socket, inbound).await? else { return Ok(false) };
    let head = inbound.split_to(end);
    inbound.advance(4);
    let mut request = parse(&head, number)?;
    let mut action = (shared.options.script)(Event::Head(&request));
    if action == Action::Go {
        request.body = read_body(socket, inbound, &request, shared.options.max_body).await?;
        action = (shared.options.script)(Event::Request(&request));
        shared.record(request);
    }
    let (answer, length, stays) = match action {
        Action::Go => (Answer::new(200, ""), usize::MAX, true),
        Action::Answer(answer) => (answer, usize::MAX, true),
        Action::Late(wait, answer) => {
            tokio::time::sleep(wait).await;
            (answer, usize::MAX, true)
        }
        Action::AnswerAndCut(answer) => (answer, usize::MAX, false),
        Action::CutInAnswer(length, answer) => (answer, length, false),
        Action::Cut => return Ok(false),
    };
    let bytes = written(&answer);
    socket.write_all(&bytes[..length.min(bytes.len())]).await?;
    socket.flush().await?;
    Ok(stays)
}

/// Where the head ends; none where the client left between two requests.
async fn read_head(socket: &mut dyn Socket, inbound: &mut BytesMut) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = memchr::memmem::find(inbound, b"\r\n\r\n") {
            return Ok(Some(end));
        }
        if inbound.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if socket.read_buf(inbound).await? == 0 {
            return if inbound.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

fn parse(head: &[u8], connection: u64) -> io::Result<Request> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let text = std::str::from_utf8(head).map_err(|_| invalid())?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = words.next().zip(words.next()).ok_or_else(invalid)?;
    if words.next().as_deref() != Some("HTTP/1.1") {
        return Err(invalid());
    }
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let headers = headers.collect::<Option<_>>().ok_or_else(invalid)?;
    Ok(Request { connection, method, target, headers, body: Bytes::new() })
}

async fn read_body(
    socket: &mut dyn Socket,
    inbound: &mut BytesMut,
    request: &Request,
    max: usize,
) -> io::Result<Bytes> {
    let length = request.header("content-length").map_or(Ok(0), str::parse::<usize>);
    let length = length.ok().filter(|length| *length <= max).ok_or(io::ErrorKind::InvalidData)?;
    while inbound.len() < length {
        if socket.read_buf(inbound).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(inbound.split_to(length).freeze())
}

fn written(answer: &Answer) -> Vec<u8> {
    let mut head =
        format!("HTTP/1.1 {} scripted\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&answer.body);
    bytes
}
