//! One connection of the sink: RFC 5321 with PIPELINING, read in bulk, answered in bulk.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Action, Event, Keep, Received, Shared};

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// Why a session gives its stream back.
enum End {
    Closed,
    StartTls,
}

pub(super) async fn serve(stream: TcpStream, number: u64, shared: Arc<Shared>) {
    // A client that breaks off is not the server's trouble: the test looks at what was received.
    let _broken: io::Result<()> = async {
        stream.set_nodelay(true)?;
        let options = &shared.options;
        match &options.tls {
            Some(tls) if options.implicit_tls => {
                let stream = tls.accept(stream).await?;
                Session::new(stream, number, &shared, true).run(true).await?;
            }
            _ => {
                let mut session = Session::new(stream, number, &shared, false);
                if let (End::StartTls, Some(tls)) = (session.run(true).await?, &options.tls) {
                    let stream = tls.accept(session.stream).await?;
                    Session::new(stream, number, &shared, true).run(false).await?;
                }
            }
        }
        Ok(())
    }
    .await;
}

struct Session<'a, S> {
    stream: S,
    number: u64,
    shared: &'a Shared,
    encrypted: bool,
    authenticated: bool,
    input: BytesMut,
    output: Vec<u8>,
    from: Option<String>,
    to: Vec<String>,
    taken: u64,
}

/// What the next command does to the conversation.
enum Step {
    Next,
    Content,
    ContentCut,
    End(End),
}

impl<'a, S: Socket> Session<'a, S> {
    fn new(stream: S, number: u64, shared: &'a Shared, encrypted: bool) -> Self {
        Session {
            stream,
            number,
            shared,
            encrypted,
            authenticated: shared.options.account.is_none(),
            input: BytesMut::with_capacity(64 << 10),
            output: Vec::with_capacity(4 << 10),
            from: None,
            to: Vec::new(),
            taken: 0,
        }
    }

    async fn run(&mut self, greet: bool) -> io::Result<End> {
        if greet && !self.answer(Event::Connect, "220 sink ESMTP").await? {
            self.flush().await?;
            return Ok(End::Closed);
        }
        loop {
            let Some(line) = self.line().await? else { return Ok(End::Closed) };
            if self.hides("PIPELINING") && !self.input.is_empty() {
                return self.say_and_end("421 5.5.0 improper pipelining").await;
            }
            let step = self.command(&line).await?;
            let end = match step {
                Step::Next => continue,
                Step::Content => self.content().await?,
                Step::ContentCut => {
                    self.flush().await?;
                    self.fill().await?;
                    Some(End::Closed)
                }
                Step::End(end) => Some(end),
            };
            if let Some(end) = end {
                self.flush().await?;
                return Ok(end);
            }
        }
    }

    fn hides(&self, keyword: &str) -> bool {
        self.shared.options.without.contains(&keyword)
    }

    async fn command(&mut self, line: &str) -> io::Result<Step> {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" if self.hides("EHLO") => self.say("502 5.5.1 unknown command"),
            "EHLO" => self.ehlo(),
            "HELO" => self.say("250 sink"),
            "STARTTLS" if self.shared.options.tls.is_some() && !self.encrypted => {
                self.say("220 2.0.0 go ahead");
                return Ok(Step::End(End::StartTls));
            }
            "AUTH" => return self.auth(line).await,
            "MAIL" => return self.mail(line).await,
            "RCPT" => return self.rcpt(line).await,
            "DATA" => return self.data().await,
            "RSET" => {
                self.reset();
                self.say("250 2.0.0 reset");
            }
            "NOOP" => self.say("250 2.0.0 ok"),
            "QUIT" => {
                self.say("221 2.0.0 bye");
                return Ok(Step::End(End::Closed));
            }
            _ => self.say("502 5.5.1 unknown command"),
        }
        Ok(Step::Next)
    }

    fn ehlo(&mut self) {
        let options = &self.shared.options;
        let size = format!("SIZE {}", options.max_size);
        let auth = options.account.as_ref().map(|account| format!("AUTH {}", account.mechanisms));
        let starttls = (options.tls.is_some() && !self.encrypted).then_some("STARTTLS");
        let keywords = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", &size]
            .into_iter()
            .chain(starttls)
            .chain(auth.as_deref())
            .filter(|keyword| !options.without.iter().any(|hidden| keyword.starts_with(hidden)));
        self.output.extend_from_slice(b"250-sink greets you\r\n");
        for keyword in keywords {
            self.output.extend_from_slice(b"250-");
            self.output.extend_from_slice(keyword.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
        self.say("250 HELP");
    }

    async fn auth(&mut self, line: &str) -> io::Result<Step> {
        let mut words = line.split_whitespace().skip(1);
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let Some(account) = self.shared.options.account.clone() else {
            self.say("502 5.5.1 unknown command");
            return Ok(Step::Next);
        };
        let given = match (mechanism.as_str(), words.next()) {
            ("PLAIN", Some(response)) => response.to_owned(),
            ("LOGIN", None) => {
                let username = self.ask("334 VXNlcm5hbWU6").await?;
                let password = self.ask("334 UGFzc3dvcmQ6").await?;
                format!("{username} {password}")
            }
            _ => String::new(),
        };
        let (username, password) = (&account.username, &account.password);
        let wanted = match mechanism.as_str() {
            "PLAIN" => STANDARD.encode(format!("\0{username}\0{password}")),
            _ => format!("{} {}", STANDARD.encode(username), STANDARD.encode(password)),
        };
        self.authenticated = account.mechanisms.contains(&mechanism) && given == wanted;
        self.say(if self.authenticated { "235 2.7.0 welcome" } else { "535 5.7.8 authentication failed" });
        Ok(Step::Next)
    }

    async fn ask(&mut self, question: &str) -> io::Result<String> {
        self.say(question);
        Ok(self.line().await?.unwrap_or_default())
    }

    async fn mail(&mut self, line: &str) -> io::Result<Step> {
        if !self.authenticated {
            self.say("530 5.7.0 authentication required");
            return Ok(Step::Next);
        }
        if self.shared.options.messages_per_connection.is_some_and(|most| self.taken >= most) {
            self.say("421 4.7.0 too many messages in this connection");
            return Ok(Step::End(End::Closed));
        }
        if self.from.is_some() {
            self.say("503 5.5.1 nested MAIL");
            return Ok(Step::Next);
        }
        let from = path(line);
        if !self.answer(Event::Mail { from: &from }, "250 2.1.0 ok").await? {
            return Ok(Step::End(End::Closed));
        }
        self.from = self.said_yes().then_some(from);
        Ok(Step::Next)
    }

    async fn rcpt(&mut self, line: &str) -> io::Result<Step> {
        let Some(from) = self.from.clone() else {
            self.say("503 5.5.1 MAIL first");
            return Ok(Step::Next);
        };
        let to = path(line);
        if !self.answer(Event::Rcpt { from: &from, to: &to }, "250 2.1.5 ok").await? {
            return Ok(Step::End(End::Closed));
        }
        if self.said_yes() {
            self.to.push(to);
        }
        Ok(Step::Next)
    }

    async fn data(&mut self) -> io::Result<Step> {
        let from = self.from.clone().unwrap_or_default();
        let to = self.to.clone();
        let action = (self.shared.options.script)(Event::Data { from: &from, to: &to });
        if to.is_empty() && !matches!(&action, Action::Reply(line) if line.starts_with("354")) {
            self.say("503 5.5.1 no valid recipients");
            return Ok(Step::Next);
        }
        if action == Action::CutInContent {
            self.say("354 go ahead");
            return Ok(Step::ContentCut);
        }
        if !self.act(action, "354 go ahead").await? {
            return Ok(Step::End(End::Closed));
        }
        Ok(if self.last_reply().starts_with(b"354") { Step::Content } else { Step::Next })
    }

    /// Reads up to the final dot and answers it.
    async fn content(&mut self) -> io::Result<Option<End>> {
        const END: &[u8] = b"\r\n.\r\n";
        let mut searched = 0;
        let length = loop {
            // An empty message is a lone dot: the CRLF before it ended the DATA command.
            if self.input.starts_with(b".\r\n") {
                break None;
            }
            if let Some(at) = memchr::memmem::find(&self.input[searched..], END) {
                break Some(searched + at + 2);
            }
            searched = self.input.len().saturating_sub(END.len());
            self.flush().await?;
            if !self.fill().await? {
                return Ok(Some(End::Closed));
            }
        };
        let content = self.input.split_to(length.unwrap_or(0));
        self.input.advance(3);
        let content = unstuffed(content.freeze());
        let from = self.from.take().unwrap_or_default();
        let to = std::mem::take(&mut self.to);
        if content.len() > self.shared.options.max_size {
            self.say("552 5.3.4 message too big");
            return Ok(None);
        }
        let action = (self.shared.options.script)(Event::End { from: &from, to: &to, content: &content });
        let at = Instant::now();
        let refused =
            matches!(&action, Action::Reply(line) | Action::ReplyAndCut(line) if !line.starts_with('2'));
        if !refused {
            let size = content.len();
            let content = (self.shared.options.keep == Keep::Content).then_some(content);
            self.shared.record(Received { connection: self.number, from, to, at, size, content });
            self.taken += 1;
        }
        let queued = format!("250 2.0.0 Ok: queued as {:X}S{:X}", self.number, self.taken);
        Ok((!self.act(action, &queued).await?).then_some(End::Closed))
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    async fn answer(&mut self, event: Event<'_>, usual: &str) -> io::Result<bool> {
        let action = (self.shared.options.script)(event);
        self.act(action, usual).await
    }

    /// Whether the connection goes on.
    async fn act(&mut self, action: Action, usual: &str) -> io::Result<bool> {
        match action {
            Action::Go | Action::CutInContent => self.say(usual),
            Action::Wait(time) => {
                self.flush().await?;
                tokio::time::sleep(time).await;
                self.say(usual);
            }
            Action::Reply(line) => self.say(&line),
            Action::ReplyAndCut(line) => {
                self.say(&line);
                return Ok(false);
            }
            Action::Cut => return Ok(false),
        }
        Ok(true)
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    async fn say_and_end(&mut self, line: &str) -> io::Result<End> {
        self.say(line);
        self.flush().await?;
        Ok(End::Closed)
    }

    fn last_reply(&self) -> &[u8] {
        let lines = self.output.strip_suffix(b"\r\n").unwrap_or(&self.output);
        memchr::memrchr(b'\n', lines).map_or(lines, |at| &lines[at + 1..])
    }

    fn said_yes(&self) -> bool {
        self.last_reply().starts_with(b"2")
    }

    /// The next command without its line end; none at the end of the stream.
    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                let line = self.input.split_to(end + 1);
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            self.flush().await?;
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    async fn fill(&mut self) -> io::Result<bool> {
        self.input.reserve(32 << 10);
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            self.output.clear();
            self.shared.log().counts.answers += 1;
        }
        Ok(())
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
    inner.unwrap_or_default().to_owned()
}

/// RFC 5321 section 4.5.2: the first of the dots that begin a line is not part of it.
fn unstuffed(content: Bytes) -> Bytes {
    if !content.starts_with(b".") && memchr::memmem::find(&content, b"\r\n.").is_none() {
        return content;
    }
    let mut plain = Vec::with_capacity(content.len());
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        plain.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffing_is_taken_off() {
        assert_eq!(unstuffed(Bytes::from_static(b"..a\r\nb.\r\n..\r\n")), b".a\r\nb.\r\n.\r\n".as_slice());
        assert_eq!(unstuffed(Bytes::from_static(b"a\r\n")), b"a\r\n".as_slice());
    }

    #[test]
    fn paths_are_read_from_commands() {
        assert_eq!(path("MAIL FROM:<a@b.example> SIZE=10"), "a@b.example");
        assert_eq!(path("MAIL FROM:<>"), "");
    }
}
