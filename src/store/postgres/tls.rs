//! TLS to PostgreSQL: what each `sslmode` checks of the server, and what ties the password's proof to the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use deadpool_postgres::PoolError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::postgres_url::{PostgresUrl, SslMode};
use crate::tls::{self, InvalidTls};

/// What all connections of a store share.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// # Errors
    /// When a file of the URL cannot be read, or no authority is trusted.
    pub(super) fn new(url: &PostgresUrl) -> Result<Self, InvalidTls> {
        let identity = url.files.identity.as_ref();
        let roots = || tls::roots(url.files.ca.as_deref());
        let config = match url.mode {
            SslMode::Disable => tls::judged_by(AnyName::of(None), None),
            SslMode::Prefer | SslMode::Require => tls::judged_by(AnyName::of(None), identity),
            SslMode::VerifyCa => tls::judged_by(AnyName::of(Some(roots()?)), identity),
            SslMode::VerifyFull => tls::verifying(&url.files),
        }?;
        Ok(Tls(Arc::new(config)))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = InvalidTls;

    /// Asked for in the clear and for Unix sockets, too, where it does not come to a handshake.
    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, InvalidTls> {
        Ok(Handshake { connector: TlsConnector::from(self.0.clone()), domain: domain.to_owned() })
    }
}

/// What the server's own words, or those of TLS, do not say.
#[derive(Debug, thiserror::Error)]
pub(super) enum Advised {
    #[error(
        "PostgreSQL refused a connection in the clear; if it wants TLS, set `sslmode=verify-full` in store.url instead of \
         `sslmode=disable`"
    )]
    InTheClear(#[source] PoolError),
    #[error(
        "no TLS with PostgreSQL; check `sslrootcert` in store.url, which has to hold the authority that signed the server's \
         certificate, and that this is for the host in the URL"
    )]
    Handshake(#[source] PoolError),
}

/// What to set where a connection was refused for the sake of TLS.
pub(super) fn advice(error: &PoolError, mode: SslMode) -> Option<fn(PoolError) -> Advised> {
    let PoolError::Backend(refused) = error else { return None };
    let failed = std::error::Error::source(refused).and_then(|cause| cause.downcast_ref::<io::Error>());
    if failed.and_then(io::Error::get_ref).is_some_and(|cause| cause.is::<rustls::Error>()) {
        return Some(Advised::Handshake);
    }
    // No line of its `pg_hba.conf` lets us in as we came.
    let unwelcome = refused.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    (unwelcome && mode == SslMode::Disable).then_some(Advised::InTheClear)
}

pub(super) struct Handshake {
    connector: TlsConnector,
    domain: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, Self::Error>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let Handshake { connector, domain } = self;
            let name = ServerName::try_from(domain.clone()).map_err(|_| InvalidTls::Host(domain))?;
            Ok(Encrypted(connector.connect(name, stream).await?))
        })
    }
}

pub(super) struct Encrypted(tokio_rustls::client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    /// So that whoever stands between cannot pass our proof of the password on (RFC 5802, section 6).
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.0.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        match certificate.and_then(|certificate| end_point(certificate)) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Takes a certificate for whatever name: signed by one of the authorities, or anybody's where there are none.
#[derive(Debug)]
struct AnyName {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyName {
    fn of(roots: Option<RootCertStore>) -> Arc<Self> {
        Arc::new(AnyName { roots, algorithms: tls::provider().signature_verification_algorithms })
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// `tls-server-end-point`: the certificate's hash, by the hash of its signature, or SHA-256 where that is MD5 or SHA-1
/// (RFC 5929, section 4.1). `None` where the signature has no single hash of its own.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    const SEQUENCE: u8 = 0x30;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let (parts, _) = element(certificate, SEQUENCE)?;
    let (_to_be_signed, parts) = element(parts, SEQUENCE)?;
    let (algorithm, _) = element(parts, SEQUENCE)?;
    let (identifier, _) = element(algorithm, OBJECT_IDENTIFIER)?;
    // 1.2.840.113549.1.1.x is RSA's (RFC 8017, appendix C), 1.2.840.10045.4.x ECDSA's (RFC 5758, section 3.2).
    match identifier {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4 | 5 | 11]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Some(Sha256::digest(certificate).to_vec()),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => {
            Some(Sha384::digest(certificate).to_vec())
        }
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => {
            Some(Sha512::digest(certificate).to_vec())
        }
        _ => None,
    }
}

/// The content of the DER element at the beginning, which must have this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // More than four bytes of length no certificate has.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    if *found == tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_point_is_hashed_as_the_certificate_is_signed() {
        for (algorithm, bytes) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
            (&rcgen::PKCS_ED25519, None),
        ] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
            let hash = end_point(certificate.der());
            assert_eq!(hash.as_ref().map(Vec::len), bytes, "{algorithm:?}");
            let expected = match bytes {
                Some(32) => Some(Sha256::digest(certificate.der()).to_vec()),
                Some(_) => Some(Sha384::digest(certificate.der()).to_vec()),
                None => None,
            };
            assert_eq!(hash, expected);
        }
    }

    proptest! {
        #[test]
        fn noise_has_no_end_point(noise: Vec<u8>) {
            let nested = [&[0x30, 0x82, 0xff, 0xff, 0x30][..], &noise].concat();
            prop_assert_eq!(end_point(&nested), None);
            end_point(&noise);
        }
    }
}
