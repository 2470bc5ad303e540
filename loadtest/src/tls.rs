//! An authority of the simulators' own, for providers that are reached over TLS alone.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto, pki_types};

/// An acceptor for `localhost`, `127.0.0.1` and `::1` that offers these protocols, and the PEM of the authority that a
/// client must trust. The keys are new and kept nowhere.
///
/// # Errors
/// When no key can be made.
pub fn own_authority(protocols: &[&str]) -> io::Result<(TlsAcceptor, String)> {
    let (certificate, key, authority) = certificate().map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok((TlsAcceptor::from(Arc::new(config)), authority))
}

type Certificate = (pki_types::CertificateDer<'static>, pki_types::PrivateKeyDer<'static>, String);

fn certificate() -> Result<Certificate, rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let certificate = CertificateParams::new(names.to_vec())?.signed_by(&key, &issuer)?;
    let key = pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Ok((certificate.der().clone(), key, pem))
}
