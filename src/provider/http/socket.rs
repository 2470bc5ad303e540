//! The byte stream under a connection: it counts what was handed over, since hyper does not say.

use std::io::{self, IoSlice};
use std::net::TcpStream as Probe;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

pub(in crate::provider) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// A second handle on the socket, to look at it without reading.
pub(in crate::provider) fn probe(stream: &TcpStream) -> io::Result<Probe> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

/// Whether the server is still there and silent. Asks the kernel, since the runtime may not have heard yet.
pub(in crate::provider) fn is_silent(probe: &Probe) -> bool {
    probe.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Whether the server has ended the connection, as far as the kernel has heard.
pub(in crate::provider) fn is_closed(probe: &Probe) -> bool {
    match probe.peek(&mut [0]) {
        Ok(waiting) => waiting == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Counts every byte that the stream below took, and tells whoever waits for them to leave.
pub(in crate::provider) struct Counted {
    stream: Box<dyn Socket>,
    encrypted: bool,
    handed: Arc<watch::Sender<u64>>,
}

impl Counted {
    pub(in crate::provider) fn new(
        stream: Box<dyn Socket>,
        encrypted: bool,
        handed: Arc<watch::Sender<u64>>,
    ) -> Self {
        Counted { stream, encrypted, handed }
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let handed = match &written {
            Poll::Ready(Ok(written)) => *written as u64,
            // Part of what was encrypted may have left.
            Poll::Ready(Err(_)) => u64::from(self.encrypted),
            Poll::Pending => 0,
        };
        if handed > 0 {
            self.handed.send_modify(|sum| *sum += handed);
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
