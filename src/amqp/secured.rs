//! `amqps://`: a connection to the broker that begins with our own TLS, below lapin.
//!
//! Checks the broker's certificate and its host name, always. lapin's own TLS would trust the system's authorities beside
//! those of the configuration, and bring crates for certificates that nothing else here needs.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::{AsyncRead, AsyncWrite, Stream};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use crate::tls::{self, Files, InvalidTls};

/// How one broker is reached by TLS.
#[derive(Clone)]
pub(super) struct Secured {
    connector: TlsConnector,
    host: ServerName<'static>,
}

impl Secured {
    /// # Errors
    /// When a file cannot be read, or no certificate can be for `host`.
    pub(super) fn new(host: &str, files: &Files) -> Result<Self, InvalidTls> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| InvalidTls::Host(host.to_owned()))?;
        let connector = TlsConnector::from(Arc::new(tls::verifying(files)?));
        Ok(Secured { connector, host: name })
    }

    /// For lapin: tasks and time of tokio, connections of ours.
    pub(super) fn runtime(&self) -> Runtime<RuntimeParts<Tokio, Dialler>> {
        let tokio = Tokio::current();
        Runtime::new(RuntimeParts::new(tokio.clone(), Dialler { tokio, secured: self.clone() }))
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Tokio's reactor but for what it connects.
#[derive(Debug, Clone)]
pub(super) struct Dialler {
    tokio: Tokio,
    secured: Secured,
}

impl Reactor for Dialler {
    type TcpStream = Compat<TlsStream<TcpStream>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// lapin registers nothing.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _handle: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.tokio.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.tokio.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let Secured { connector, host } = self.secured.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(connector.connect(host, stream).await?.compat())
        }
    }
}
