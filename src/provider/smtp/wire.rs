//! The byte stream under a session: replies in, commands out, both at once where the server needs it.
//!
//! Promises to say exactly how many bytes were handed over, so that the caller knows which message is in doubt.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::timeout;

use super::reply::{NoReply, Reply};

/// Unread replies at most; a server that sends more is not read until they are.
const INBOUND: usize = 64 << 10;

pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection broke: {0}")]
    Lost(#[from] io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error(transparent)]
    Nonsense(#[from] NoReply),
}

pub(super) struct Wire<S> {
    stream: S,
    encrypted: bool,
    inbound: BytesMut,
}

impl<S: Socket> Wire<S> {
    pub(super) fn new(stream: S, encrypted: bool) -> Self {
        Wire { stream, encrypted, inbound: BytesMut::with_capacity(4 << 10) }
    }

    /// The stream and whether the server had sent more than was read.
    pub(super) fn into_parts(self) -> (S, bool) {
        (self.stream, !self.inbound.is_empty())
    }

    /// The next reply, waiting at most so long between two reads.
    pub(super) async fn reply(&mut self, wait: Duration) -> Result<Reply, Broken> {
        loop {
            if let Some(reply) = Reply::take(&mut self.inbound)? {
                return Ok(reply);
            }
            self.inbound.reserve(1 << 10);
            let read = timeout(wait, self.stream.read_buf(&mut self.inbound));
            if read.await.map_err(|_| Broken::Silent(wait))?? == 0 {
                return Err(Broken::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// A reply that is already here: what a server said before it broke off.
    pub(super) fn reply_at_hand(&mut self) -> Option<Reply> {
        self.read_at_hand();
        Reply::take(&mut self.inbound).ok().flatten()
    }

    /// Whether the server is still there and silent, as it should be between two messages.
    pub(super) fn is_idle(&mut self) -> bool {
        self.read_at_hand().is_none() && self.inbound.is_empty()
    }

    /// Reads without waiting; none if there is nothing to read yet.
    fn read_at_hand(&mut self) -> Option<io::Result<usize>> {
        self.stream.read_buf(&mut self.inbound).now_or_never()
    }

    /// Writes all bytes, adding to `handed` what the socket took, and reads replies meanwhile: a server that waits
    /// for its replies to be read cannot stall the write. With TLS a failed write counts as handed, since part of
    /// it may have left.
    pub(super) async fn write(
        &mut self,
        bytes: &[u8],
        handed: &mut usize,
        wait: Duration,
    ) -> Result<(), Broken> {
        let mut last = *handed;
        loop {
            let write = poll_fn(|cx| self.poll_write(cx, bytes, handed));
            match timeout(wait, write).await {
                Ok(result) => return Ok(result?),
                // Slow is not silent.
                Err(_) if *handed > last => last = *handed,
                Err(_) => return Err(Broken::Silent(wait)),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8], handed: &mut usize) -> Poll<io::Result<()>> {
        while *handed < bytes.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &bytes[*handed..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => *handed += written,
                Poll::Ready(Err(error)) => {
                    if self.encrypted {
                        *handed = bytes.len();
                    }
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => return self.poll_read(cx),
            }
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.poll_read(cx),
            flushed => flushed,
        }
    }

    /// Reads what is there, up to the limit; ready only with an error.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.inbound.len() < INBOUND {
            let mut read = std::pin::pin!(self.stream.read_buf(&mut self.inbound));
            if ready!(read.as_mut().poll(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Pending
    }
}
