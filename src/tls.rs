//! TLS as a client of the services around the daemon: whose certificates are trusted, and how we show who we are.
//!
//! By rustls and aws-lc-rs alone, TLS 1.2 and 1.3. Reads files; connects to nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// The files of one account with a service, all in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Certificates of the authorities to trust; the system's without it.
    pub ca: Option<PathBuf>,
    pub identity: Option<Identity>,
}

/// What shows a server that asks for it who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Our certificate, and those that lead from it to the authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    #[error("host `{0}` is neither a name nor an IP address that a certificate can be for")]
    Host(String),
    #[error("cannot read certificates from {}", .path.display())]
    Certificates { path: PathBuf, source: pem::Error },
    #[error("cannot read a private key from {}", .path.display())]
    Key { path: PathBuf, source: pem::Error },
    #[error("no trusted certificates: the system has none, or the file of authorities is empty")]
    NoRoots,
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Checks that the server's certificate is signed by an authority of `files` and is for the host that was dialled.
///
/// # Errors
/// When a file cannot be read, or no authority is trusted.
pub fn verifying(files: &Files) -> Result<ClientConfig, InvalidTls> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    identified(builder.with_root_certificates(roots(files.ca.as_deref())?), files.identity.as_ref())
}

/// Leaves it to `verifier` whom to trust.
///
/// # Errors
/// When a file cannot be read.
pub fn judged_by(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, InvalidTls> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    identified(builder.dangerous().with_custom_certificate_verifier(verifier), identity)
}

/// The cryptography of every connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The authorities in `ca`, without it the system's.
///
/// # Errors
/// When the file cannot be read, or there is none.
pub fn roots(ca: Option<&Path>) -> Result<RootCertStore, InvalidTls> {
    let mut roots = RootCertStore::empty();
    match ca {
        // Single certificates that do not parse are the system's affair, as long as some do.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
    }
    if roots.is_empty() { Err(InvalidTls::NoRoots) } else { Ok(roots) }
}

fn identified(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, InvalidTls> {
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|source| InvalidTls::Key { path: identity.key.clone(), source })?;
    Ok(builder.with_client_auth_cert(certificates(&identity.certificate)?, key)?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let unreadable = |source| InvalidTls::Certificates { path: path.to_owned(), source };
    let read = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    read.map(|certificate| certificate.map_err(unreadable)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (absent, empty) = (folder.path().join("absent.pem"), folder.path().join("empty.pem"));
        std::fs::write(&empty, "").unwrap();
        let error = roots(Some(&absent)).unwrap_err();
        assert!(matches!(&error, InvalidTls::Certificates { path, .. } if *path == absent), "{error}");
        assert!(matches!(roots(Some(&empty)), Err(InvalidTls::NoRoots)));

        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = folder.path().join("client.pem");
        std::fs::write(&certificate, certified.cert.pem()).unwrap();
        let identity = Identity { certificate: certificate.clone(), key: empty.clone() };
        let files = Files { ca: Some(certificate), identity: Some(identity) };
        let error = verifying(&files).unwrap_err();
        assert!(matches!(&error, InvalidTls::Key { path, .. } if *path == empty), "{error}");
    }
}
