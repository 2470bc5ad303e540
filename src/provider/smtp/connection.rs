//! From a configuration to a connection that takes mail: TCP, TLS, EHLO, AUTH. Nothing about a message is said here.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::classify::{Stage, detail, refused};
use super::config::{Account, Tls};
use super::reply::Reply;
use super::wire::{Broken, Socket, Wire};
use crate::model::{Outcome, Reason};

/// What the server offers in its answer to EHLO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) pipelining: bool,
    pub(super) eight_bit: bool,
    pub(super) smtputf8: bool,
    /// Offered at all, and the biggest message; 0 says no limit (RFC 1870).
    pub(super) max_size: Option<u64>,
    pub(super) starttls: bool,
    pub(super) auth_plain: bool,
    pub(super) auth_login: bool,
}

impl Extensions {
    /// The first line is the greeting, each further one a keyword and its parameters.
    fn read(text: &str) -> Self {
        let mut found = Extensions::default();
        for line in text.lines().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split([' ', '=']);
            match words.next().unwrap_or_default() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "SIZE" => found.max_size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0)),
                "STARTTLS" => found.starttls = true,
                "AUTH" => {
                    for mechanism in words {
                        found.auth_plain |= mechanism == "PLAIN";
                        found.auth_login |= mechanism == "LOGIN";
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// An open, authenticated connection between two messages.
pub(super) struct Connection {
    pub(super) wire: Wire<Box<dyn Socket>>,
    pub(super) extensions: Extensions,
    /// Messages that were begun.
    pub(super) messages: u32,
    /// A refused envelope left the transaction open.
    pub(super) needs_reset: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("messages", &self.messages).finish_non_exhaustive()
    }
}

fn failed(what: fmt::Arguments<'_>) -> Outcome {
    Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail: what.to_string() }
}

fn broken(error: Broken) -> Outcome {
    failed(format_args!("{error}"))
}

impl Connection {
    /// # Errors
    /// `Retry`, `Throttled` or `AccountRefused`.
    pub(super) async fn open(account: &Account) -> Result<Connection, Outcome> {
        let config = &account.config;
        let host = config.host.trim_matches(['[', ']']);
        let dial = timeout(config.timeouts.connect, TcpStream::connect((host, config.port)));
        let stream = dial
            .await
            .map_err(|_| {
                failed(format_args!("no connection within {} s", config.timeouts.connect.as_secs()))
            })?
            .map_err(|error| failed(format_args!("cannot connect: {error}")))?;
        let setup = |error| failed(format_args!("cannot set up the socket: {error}"));
        stream.set_nodelay(true).map_err(setup)?;
        let local = stream.local_addr().map_err(setup)?.ip();
        let helo = config.helo_name.clone().unwrap_or_else(|| literal(local));
        let command = config.timeouts.command;

        let (wire, extensions) = match config.tls {
            Tls::None => {
                let mut hello = Hello { wire: Wire::new(boxed(stream), false), helo: &helo, wait: command };
                hello.greeting().await?;
                let extensions = hello.ehlo().await?;
                (hello.wire, extensions)
            }
            Tls::Implicit => {
                let stream = boxed(account.encrypt(stream).await?);
                let mut hello = Hello { wire: Wire::new(stream, true), helo: &helo, wait: command };
                hello.greeting().await?;
                let extensions = hello.ehlo().await?;
                (hello.wire, extensions)
            }
            Tls::StartTls => {
                let mut hello = Hello { wire: Wire::new(stream, false), helo: &helo, wait: command };
                hello.greeting().await?;
                let offered = hello.ehlo().await?;
                let stream = boxed(account.encrypt(hello.starttls(&offered).await?).await?);
                // What was offered in clear counts for nothing (RFC 3207 section 4.2).
                let mut hello = Hello { wire: Wire::new(stream, true), helo: &helo, wait: command };
                let extensions = hello.ehlo().await?;
                (hello.wire, extensions)
            }
        };
        let mut connection = Connection { wire, extensions, messages: 0, needs_reset: false };
        if let Some(username) = &config.username {
            let password = config.password.as_deref().unwrap_or_default();
            connection.log_in(username, password, command).await?;
        }
        Ok(connection)
    }

    /// RFC 4954, PLAIN before LOGIN.
    async fn log_in(&mut self, username: &str, password: &str, wait: Duration) -> Result<(), Outcome> {
        let reply = if self.extensions.auth_plain {
            let response = STANDARD.encode(format!("\0{username}\0{password}"));
            self.ask(&format!("AUTH PLAIN {response}\r\n"), wait).await?
        } else if self.extensions.auth_login {
            let mut reply = self.ask("AUTH LOGIN\r\n", wait).await?;
            for answer in [username, password] {
                if reply.code == 334 {
                    reply = self.ask(&format!("{}\r\n", STANDARD.encode(answer)), wait).await?;
                }
            }
            reply
        } else {
            let detail =
                "the server offers neither AUTH PLAIN nor AUTH LOGIN; it may offer them with tls only";
            return Err(Outcome::AccountRefused { detail: detail.to_owned() });
        };
        if reply.is_positive() { Ok(()) } else { Err(refused(&reply, Stage::Session)) }
    }

    async fn ask(&mut self, command: &str, wait: Duration) -> Result<Reply, Outcome> {
        self.wire.write(command.as_bytes(), &mut 0, wait).await.map_err(broken)?;
        self.wire.reply(wait).await.map_err(broken)
    }

    /// Says QUIT; the answer is not worth waiting for, a stuck socket not either.
    pub(super) async fn quit(mut self) {
        let _unsaid = self.wire.write(b"QUIT\r\n", &mut 0, Duration::from_secs(1)).await;
    }
}

fn boxed(stream: impl Socket + 'static) -> Box<dyn Socket> {
    Box::new(stream)
}

/// RFC 5321 section 4.1.3: how a client without a name of its own calls itself.
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

/// The words before mail: greeting, EHLO, STARTTLS.
struct Hello<'a, S> {
    wire: Wire<S>,
    helo: &'a str,
    wait: Duration,
}

impl<S: Socket> Hello<'_, S> {
    async fn greeting(&mut self) -> Result<(), Outcome> {
        let reply = self.wire.reply(self.wait).await.map_err(broken)?;
        if reply.code == 220 { Ok(()) } else { Err(refused(&reply, Stage::Session)) }
    }

    /// EHLO, or HELO where the server does not know it.
    async fn ehlo(&mut self) -> Result<Extensions, Outcome> {
        let reply = self.ask("EHLO").await?;
        if reply.is_positive() {
            return Ok(Extensions::read(&reply.text));
        }
        if reply.code / 100 == 4 {
            return Err(refused(&reply, Stage::Session));
        }
        let reply = self.ask("HELO").await?;
        if reply.is_positive() { Ok(Extensions::default()) } else { Err(refused(&reply, Stage::Session)) }
    }

    async fn ask(&mut self, verb: &str) -> Result<Reply, Outcome> {
        let command = format!("{verb} {}\r\n", self.helo);
        self.wire.write(command.as_bytes(), &mut 0, self.wait).await.map_err(broken)?;
        self.wire.reply(self.wait).await.map_err(broken)
    }

    /// The stream, ready for the handshake. Never goes on in clear.
    async fn starttls(mut self, offered: &Extensions) -> Result<S, Outcome> {
        if !offered.starttls {
            let detail = "the server does not offer STARTTLS; nothing was sent in clear. Set tls = \"implicit\" or \
                          \"none\" if that is what it speaks";
            return Err(Outcome::AccountRefused { detail: detail.to_owned() });
        }
        self.wire.write(b"STARTTLS\r\n", &mut 0, self.wait).await.map_err(broken)?;
        let reply = self.wire.reply(self.wait).await.map_err(broken)?;
        if reply.code != 220 {
            return Err(failed(format_args!("the server refuses STARTTLS: {}", detail(&reply))));
        }
        match self.wire.into_parts() {
            (stream, false) => Ok(stream),
            // Someone in between put words into the server's mouth that would be taken as spoken inside TLS.
            (_, true) => Err(failed(format_args!("the server spoke in clear after its answer to STARTTLS"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_in_any_case_and_order() {
        let found =
            Extensions::read("mx.example greets\npipelining\nSIZE 1000\nAUTH=LOGIN\nAUTH XOAUTH2 PLAIN\nDSN");
        let wanted = Extensions {
            pipelining: true,
            max_size: Some(1000),
            auth_plain: true,
            auth_login: true,
            ..Extensions::default()
        };
        assert_eq!(found, wanted);
        assert_eq!(Extensions::read("PIPELINING"), Extensions::default());
        assert_eq!(Extensions::read("mx\nSIZE").max_size, Some(0));
    }

    #[test]
    fn clients_without_a_name_give_their_address() {
        assert_eq!(literal("127.0.0.1".parse().unwrap()), "[127.0.0.1]");
        assert_eq!(literal("::1".parse().unwrap()), "[IPv6:::1]");
    }
}
