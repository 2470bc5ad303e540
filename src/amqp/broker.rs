//! Where RabbitMQ is and how it is dialled: with a time limit, a heartbeat, TLS where the URL is `amqps://`, and no
//! recovery behind our back.

use std::fmt;
use std::io;
use std::time::Duration;

use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};

use super::secured::Secured;
use crate::tls::{Files, InvalidTls};

/// Seconds between heartbeats where the URL names none: a frozen broker is noticed within twice that.
const HEARTBEAT: u16 = 10;
/// For the whole handshake; [`BrokerError::Timeout`] says it in words.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A session that lasts this long is no part of a series of failures.
const STEADY: Duration = Duration::from_secs(10);

/// A broker's address. Holds the password: `Debug` and errors name host, port and vhost only.
#[derive(Clone)]
pub struct Broker {
    uri: AMQPUri,
    secured: Option<Secured>,
}

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the AMQP address is not of the form amqp://user:password@host:5672/vhost (`/` is written %2f)")]
    Url,
    #[error("TLS to RabbitMQ cannot be used")]
    Tls(#[from] InvalidTls),
    #[error("RabbitMQ at {0} did not answer within 10 s")]
    Timeout(String),
    #[error("RabbitMQ at {broker} refused the connection")]
    Dial { broker: String, source: lapin::Error },
    #[error(
        "no TLS with RabbitMQ at {broker}; check that its certificate is for this host, that `ca_file` in [amqp] has the \
         authority that signed it, and that the port is one for TLS (as a rule 5671)"
    )]
    Handshake { broker: String, source: lapin::Error },
    #[error(
        "what answers at {broker} broke off without a word of AMQP; if that port is for TLS, write amqps:// in amqp.url"
    )]
    NotAmqp { broker: String, source: lapin::Error },
    #[error("RabbitMQ broke off")]
    Broken(#[from] lapin::Error),
    #[error("RabbitMQ has no queue `{0}`: start the daemon once, it declares its queues")]
    NoQueue(String),
    #[error(
        "RabbitMQ did not take the message for `{0}`: the queue is full or out of service; try again later"
    )]
    NotTaken(String),
}

/// How a session with the broker ended; a label of `amqp_sessions_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// It never began: the broker is away, or refused us.
    NotConnected,
    /// The connection or a channel was lost.
    Lost,
    /// The broker cancelled a consumer: its queue was deleted, or its node left.
    Cancelled,
    Shutdown,
}

impl SessionEnd {
    pub fn as_str(self) -> &'static str {
        match self {
            SessionEnd::NotConnected => "not_connected",
            SessionEnd::Lost => "lost",
            SessionEnd::Cancelled => "cancelled",
            SessionEnd::Shutdown => "shutdown",
        }
    }
}

/// Told how the link to the broker fares: readiness and `amqp_connected`, `amqp_sessions_total`.
pub trait Observe: Send + Sync {
    fn connected(&self, connected: bool);
    fn session_ended(&self, end: SessionEnd);
}

impl Broker {
    /// # Errors
    /// As of [`Broker::new`].
    pub fn parse(url: &str) -> Result<Self, BrokerError> {
        Broker::new(url, &Files::default())
    }

    /// `files` count where the URL is `amqps://`.
    ///
    /// # Errors
    /// [`BrokerError::Url`], without the URL: it may hold a password. [`BrokerError::Tls`] where a file cannot be read.
    pub fn new(url: &str, files: &Files) -> Result<Self, BrokerError> {
        let mut uri: AMQPUri = url.parse().map_err(|_| BrokerError::Url)?;
        let secured = match uri.scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => Some(Secured::new(&uri.authority.host, files)?),
        };
        // TLS is ours: to lapin it is a stream like any other.
        uri.scheme = AMQPScheme::AMQP;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        // Bounds the blocking connect of lapin's own thread, which our time limit cannot stop.
        uri.query.connection_timeout.get_or_insert(DIAL_TIMEOUT.as_secs() * 1000);
        Ok(Broker { uri, secured })
    }

    /// A fresh connection, named so that an operator finds it in RabbitMQ's own lists.
    ///
    /// # Errors
    /// [`BrokerError::Timeout`], [`BrokerError::Handshake`], [`BrokerError::NotAmqp`] or [`BrokerError::Dial`].
    pub async fn dial(&self, name: &str) -> Result<Connection, BrokerError> {
        // Auto-recovery stays off: it delivers again behind our back, and hangs for good once its budget is
        // spent.
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let uri = self.uri.clone();
        let connecting = async {
            match &self.secured {
                None => Connection::connect_uri(uri, properties).await,
                Some(secured) => {
                    Connection::connect_uri_with_runtime(uri, properties, secured.runtime()).await
                }
            }
        };
        match tokio::time::timeout(DIAL_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(source)) => Err(self.refused(source)),
            Err(_) => Err(BrokerError::Timeout(self.to_string())),
        }
    }

    fn refused(&self, source: lapin::Error) -> BrokerError {
        let broker = self.to_string();
        match source.kind() {
            ErrorKind::IOError(error) if error.get_ref().is_some_and(|error| error.is::<rustls::Error>()) => {
                BrokerError::Handshake { broker, source }
            }
            ErrorKind::ParsingError(_) if self.secured.is_none() => BrokerError::NotAmqp { broker, source },
            ErrorKind::IOError(error) if self.secured.is_none() && broke_off(error.kind()) => {
                BrokerError::NotAmqp { broker, source }
            }
            _ => BrokerError::Dial { broker, source },
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}, vhost `{}`", self.uri.authority.host, self.uri.authority.port, self.uri.vhost)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({self})")
    }
}

/// The connection was there, and ended in its first words.
fn broke_off(error: io::ErrorKind) -> bool {
    matches!(
        error,
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
    )
}

/// Closes in order, so that everything written before is processed. A connection that is already lost needs
/// no goodbye.
pub(crate) async fn close(connection: Connection) {
    if let Err(error) = connection.close(200, ShortString::from("goodbye")).await {
        tracing::debug!(%error, "the connection was gone before it was closed");
    }
}

/// Pauses that double from the first to the longest, each cut by up to half at random, so that many daemons
/// do not come back in step.
#[derive(Debug)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Pauses { first, longest, next: first }
    }

    /// Between two attempts to reach the broker.
    pub(crate) fn redial() -> Self {
        Pauses::new(Duration::from_millis(500), Duration::from_secs(30))
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Starts over after a session that lasted. One that breaks at once does not count: each break costs
    /// every job that was held one of its deliveries.
    pub(crate) fn reset_after(&mut self, session: Duration) {
        if session >= STEADY {
            self.reset();
        }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(1.0 - fastrand::f64() / 2.0);
        self.next = (self.next * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_a_heartbeat_unless_it_names_one() {
        let heartbeat = |url: &str| Broker::parse(url).unwrap().uri.query.heartbeat;
        assert_eq!(heartbeat("amqp://localhost/%2f"), Some(HEARTBEAT));
        assert_eq!(heartbeat("amqp://localhost/%2f?heartbeat=4"), Some(4));
    }

    #[test]
    fn secrets_stay_inside() {
        let broker = Broker::parse("amqp://news:hush@mq.example:5673/shop").unwrap();
        assert_eq!(format!("{broker:?}"), "Broker(mq.example:5673, vhost `shop`)");
        let error = Broker::parse("amqp://news:hush@mq.example:port/shop").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hush"));
    }

    #[test]
    fn a_url_with_tls_gets_its_port_and_its_files_are_read() {
        let certified = rcgen::generate_simple_self_signed(vec!["mq.example".to_owned()]).unwrap();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), certified.cert.pem()).unwrap();
        let files = Files { ca: Some(ca.path().to_owned()), identity: None };
        let broker = Broker::new("amqps://news:hush@mq.example/shop", &files).unwrap();
        assert_eq!(broker.to_string(), "mq.example:5671, vhost `shop`");
        assert!(broker.secured.is_some());

        let files = Files { ca: Some("/nowhere.pem".into()), identity: None };
        let error = Broker::new("amqps://news:hush@mq.example/shop", &files).unwrap_err();
        assert!(matches!(error, BrokerError::Tls(_)), "{error}");
    }

    #[test]
    fn pauses_grow_to_the_longest_and_start_over() {
        let mut pauses = Pauses::new(Duration::from_millis(500), Duration::from_secs(30));
        for full in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let pause = pauses.next();
            assert!(
                pause <= Duration::from_millis(full) && pause >= Duration::from_millis(full / 2),
                "{pause:?}"
            );
        }
        pauses.reset_after(Duration::from_secs(1));
        assert!(pauses.next() >= Duration::from_secs(15));
        pauses.reset_after(STEADY);
        assert!(pauses.next() <= Duration::from_millis(500));
    }
}
