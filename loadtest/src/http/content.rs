//! An answer's content: whole, or broken off in its middle.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

#[derive(Debug)]
pub(super) struct Content {
    bytes: Bytes,
    length: u64,
    cut: bool,
    flushed: bool,
}

impl Content {
    pub(super) fn new(mut bytes: Bytes, cut: bool) -> Self {
        let length = bytes.len() as u64;
        if cut {
            bytes.truncate(bytes.len() / 2);
        }
        Content { bytes, length, cut, flushed: false }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        // What was written leaves only when there is nothing to write for a moment.
        if self.cut && !self.flushed {
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.cut.then(|| Err(io::ErrorKind::ConnectionAborted.into())))
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && self.bytes.is_empty()
    }

    /// The whole length also where it breaks off: the client is told of what it does not get.
    fn size_hint(&self) -> SizeHint {
        if self.cut {
            SizeHint::with_exact(self.length)
        } else {
            SizeHint::with_exact(self.bytes.len() as u64)
        }
    }
}
