//! A way to say GOAWAY as providers do: with a last stream that is not the last one that came, and with a reason.
//!
//! The library's own GOAWAY can do neither. So the frame is written past it, between two of its frames.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// RFC 9113, section 4.1: three bytes of length, type, flags, four bytes of stream.
const HEAD: usize = 9;
const GOAWAY: u8 = 7;

/// A GOAWAY frame (RFC 9113, section 6.8) without an error.
pub(super) fn goaway(last_stream: u32, reason: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_uint(reason.len() as u64 + 8, 3);
    frame.put_u8(GOAWAY);
    frame.put_u8(0);
    frame.put_u32(0);
    frame.put_u32(last_stream);
    frame.put_u32(0);
    frame.put_slice(reason);
    frame.freeze()
}

/// Takes a frame to be written as soon as the one before it is complete.
#[derive(Debug, Clone, Default)]
pub(super) struct Injector(Arc<Mutex<Bytes>>);

impl Injector {
    pub(super) fn inject(&self, frame: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = frame;
    }
}

/// The connection's bytes; what is written is followed frame by frame.
pub(super) struct Frames<S> {
    stream: S,
    injector: Injector,
    /// What of the injected frame is not written yet.
    injected: Bytes,
    head: BytesMut,
    /// Bytes left of the frame whose head has passed.
    left: usize,
}

impl<S> Frames<S> {
    pub(super) fn new(stream: S) -> (Self, Injector) {
        let injector = Injector::default();
        let frames = Frames {
            stream,
            injector: injector.clone(),
            injected: Bytes::new(),
            head: BytesMut::with_capacity(HEAD),
            left: 0,
        };
        (frames, injector)
    }

    fn follow(&mut self, mut written: &[u8]) {
        while !written.is_empty() {
            let passed = self.left.min(written.len());
            self.left -= passed;
            written = &written[passed..];
            let wanted = (HEAD - self.head.len()).min(written.len());
            self.head.put_slice(&written[..wanted]);
            written = &written[wanted..];
            if self.head.len() == HEAD {
                self.left = usize::try_from((&self.head[..3]).get_uint(3)).unwrap_or(usize::MAX);
                self.head.clear();
            }
        }
    }

    /// Where a write stops at the latest, so that a frame can come between: the end of the frame that has begun.
    fn stop(&self) -> usize {
        if self.left > 0 { self.left } else { usize::MAX }
    }
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    /// Writes what was injected, where a frame may begin.
    fn poll_inject(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.injected.is_empty() && self.left == 0 && self.head.is_empty() {
            self.injected =
                std::mem::take(&mut *self.injector.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
        while !self.injected.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.injected))?;
            self.injected.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_inject(context))?;
        let bytes = &bytes[..bytes.len().min(self.stop())];
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.follow(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_inject(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let mut frame = BytesMut::new();
        frame.put_uint(length as u64, 3);
        frame.put_bytes(1, HEAD - 3 + length);
        frame.to_vec()
    }

    proptest! {
        #[test]
        fn frames_are_followed_however_they_are_cut(
            lengths in prop::collection::vec(0_usize..40, 1..6),
            cut in 1_usize..20,
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| frame(*length)).collect();
            let (mut frames, _) = Frames::new(());
            for piece in bytes.chunks(cut) {
                frames.follow(piece);
            }
            prop_assert_eq!((frames.left, frames.head.len()), (0, 0));
            frames.follow(&frame(40)[..20]);
            prop_assert_eq!(frames.left, 29);
        }
    }

    #[test]
    fn a_goodbye_is_a_frame_of_the_standard() {
        let frame = goaway(5, b"{}");
        assert_eq!(frame, [0, 0, 10, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, b'{', b'}'].as_slice());
    }
}
