//! Mail: RFC 5321 with PIPELINING, for a client that keeps to it. Says yes to everything.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Counter, listen};

const END: &[u8] = b"\r\n.\r\n";
const EHLO: &[u8] = b"250-sink greets you\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 67108864\r\n";

/// Sees each message's content, with dot-stuffing, when its final dot is read. Called on the sink's thread: it must not
/// block.
pub type Watch = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// How the sink behaves.
#[derive(Clone, Default)]
pub struct Options {
    /// From each final dot to its answer. The connection's next command waits, too.
    pub delay: Duration,
    pub watch: Option<Watch>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("delay", &self.delay).finish_non_exhaustive()
    }
}

/// Takes mail until it is dropped.
pub async fn run(listener: TcpListener, options: Options, counter: Arc<Counter>) {
    let serving = Arc::clone(&counter);
    listen(listener, counter, move |stream| serve(stream, options.clone(), Arc::clone(&serving))).await;
}

async fn serve(mut stream: TcpStream, options: Options, counter: Arc<Counter>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = Session::default();
    let mut input = BytesMut::with_capacity(64 << 10);
    session.output.extend_from_slice(b"220 sink ESMTP\r\n");
    loop {
        match session.step(&mut input, &options, &counter) {
            Step::Next => {}
            Step::Taken => {
                if !options.delay.is_zero() {
                    session.flush(&mut stream).await?;
                    tokio::time::sleep(options.delay).await;
                }
                session.output.extend_from_slice(b"250 2.0.0 ok\r\n");
            }
            Step::Starved => {
                session.flush(&mut stream).await?;
                input.reserve(32 << 10);
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(());
                }
            }
            Step::End => return session.flush(&mut stream).await,
        }
    }
}

enum Step {
    Next,
    /// A message is complete: its answer is due.
    Taken,
    /// More must be read.
    Starved,
    End,
}

#[derive(Default)]
struct Session {
    output: Vec<u8>,
    in_content: bool,
    /// So much of the input holds no end of the content.
    searched: usize,
}

impl Session {
    fn step(&mut self, input: &mut BytesMut, options: &Options, counter: &Counter) -> Step {
        if self.in_content {
            return self.content(input, options, counter);
        }
        let Some(end) = memchr::memchr(b'\n', input) else { return Step::Starved };
        let line = input.split_to(end + 1);
        let answer: &[u8] =
            match line.first_chunk().map(|verb: &[u8; 4]| verb.to_ascii_uppercase()).as_deref() {
                Some(b"DATA") => {
                    self.in_content = true;
                    b"354 go ahead\r\n"
                }
                Some(b"EHLO") => EHLO,
                Some(b"QUIT") => {
                    self.output.extend_from_slice(b"221 2.0.0 bye\r\n");
                    return Step::End;
                }
                Some(b"MAIL" | b"RCPT" | b"RSET" | b"NOOP" | b"HELO") => b"250 2.0.0 ok\r\n",
                _ => b"502 5.5.1 unknown command\r\n",
            };
        self.output.extend_from_slice(answer);
        Step::Next
    }

    fn content(&mut self, input: &mut BytesMut, options: &Options, counter: &Counter) -> Step {
        // An empty message is a lone dot: the CRLF before it ended the DATA command.
        let length = if self.searched == 0 && input.starts_with(&END[2..]) {
            0
        } else if let Some(at) = memchr::memmem::find(&input[self.searched..], END) {
            self.searched + at + 2
        } else {
            self.searched = input.len().saturating_sub(END.len() - 1);
            return Step::Starved;
        };
        counter.took(1, length);
        if let Some(watch) = &options.watch {
            watch(&input[..length]);
        }
        input.advance(length + 3);
        self.searched = 0;
        self.in_content = false;
        Step::Taken
    }

    async fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// What is answered and what is seen where the input comes in pieces of so many bytes.
    async fn talk(input: &[u8], piece: usize) -> (String, Vec<String>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let watch: Watch =
            Arc::new(move |content| log.lock().unwrap().push(String::from_utf8_lossy(content).into_owned()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counter = Arc::new(Counter::default());
        let options = Options { watch: Some(watch), ..Options::default() };
        let sink = tokio::spawn(run(listener, options, Arc::clone(&counter)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in input.chunks(piece) {
            stream.write_all(piece).await.unwrap();
        }
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        sink.abort();
        let seen = seen.lock().unwrap().clone();
        assert_eq!(counter.counts().messages, seen.len() as u64);
        (answers, seen)
    }

    #[tokio::test]
    async fn pipelined_messages_are_told_apart_wherever_the_input_is_cut() {
        let input = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhello\r\n..\r\nworld\r\n.\r\n\
            MAIL FROM:<a@b>\r\nRCPT TO:<e@f>\r\nDATA\r\n.\r\nQUIT\r\n";
        let (whole, seen) = talk(input, input.len()).await;
        assert_eq!(whole.matches("354 ").count(), 2);
        assert!(whole.ends_with("354 go ahead\r\n250 2.0.0 ok\r\n221 2.0.0 bye\r\n"), "{whole}");
        assert_eq!(seen, ["hello\r\n..\r\nworld\r\n", ""]);
        for piece in 1..7 {
            assert_eq!(talk(input, piece).await, (whole.clone(), seen.clone()), "pieces of {piece}");
        }
    }
}
