//! TLS to a real PostgreSQL and a real RabbitMQ, with a private authority: what works, and what is refused in words that
//! say what to do.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use campaignd::amqp::{Broker, BrokerError};
use campaignd::model::CampaignStatus;
use campaignd::store::Admin as _;
use campaignd::store::postgres::PgStore;
use campaignd::tls::{Files, Identity};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::instance::Instance;
use crate::harness::mail::RecordingSink;
use crate::harness::shop::{Shop, campaign};
use crate::services::wait::eventually;

/// A folder with the certificate of an authority, and of a server and a client that it vouches for.
struct Certificates(TempDir);

impl Certificates {
    /// Two authorities of one name would be told apart by their keys alone.
    fn issue(name: &str) -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = named(&format!("authority {name}"), Vec::new());
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
        let authority = Issuer::new(authority, key);
        for (who, name) in [("server", "127.0.0.1"), ("client", "campaignd")] {
            let key = KeyPair::generate().unwrap();
            let certificate = named(who, vec![name.to_owned()]).signed_by(&key, &authority).unwrap();
            fs::write(folder.path().join(format!("{who}.pem")), certificate.pem()).unwrap();
            fs::write(folder.path().join(format!("{who}.key")), key.serialize_pem()).unwrap();
        }
        Certificates(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn trusted(&self) -> Files {
        Files { ca: Some(self.file("ca.pem")), identity: None }
    }
}

/// OpenSSL takes a certificate whose names of subject and issuer are the same for one that signed itself.
fn named(subject: &str, names: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, subject);
    params
}

/// An error with all that is behind it.
fn told(error: &dyn Error) -> String {
    let mut all = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        all = format!("{all}: {source}");
        next = source.source();
    }
    all
}

/// Connects and brings the schema up to date; else what the store says.
async fn store(url: &str) -> Result<(), String> {
    let store = PgStore::new(url, 1).map_err(|error| told(&error))?;
    store.migrate().await.map(drop).map_err(|error| told(&error))
}

#[tokio::test]
async fn postgres_is_reached_as_far_as_the_mode_trusts_it() {
    let (certificates, strange) = (Certificates::issue("ours"), Certificates::issue("strange"));
    let instance = Instance::with_tls(certificates.0.path()).await;
    let url = |password: &str, host: &str, parameters: &str| {
        format!("postgres://campaignd:{password}@{host}:{}/campaignd?{parameters}", instance.pg_port())
    };
    let full = |ca: &Path| format!("sslmode=verify-full&sslrootcert={}", ca.display());
    let (ca, other) = (certificates.file("ca.pem"), strange.file("ca.pem"));
    let client = format!(
        "{}&sslcert={}&sslkey={}",
        full(&ca),
        certificates.file("client.pem").display(),
        certificates.file("client.key").display()
    );
    for (host, parameters) in [
        ("127.0.0.1", full(&ca)),
        ("127.0.0.1", format!("{}&channel_binding=require", full(&ca))),
        ("127.0.0.1", client),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={}", ca.display())),
        ("localhost", "sslmode=require".to_owned()),
        ("localhost", "sslmode=prefer".to_owned()),
        ("localhost", String::new()),
    ] {
        assert_eq!(store(&url("campaignd", host, &parameters)).await, Ok(()), "{host} {parameters}");
    }
    for (host, parameters, words) in [
        ("127.0.0.1", full(&other), "UnknownIssuer"),
        ("127.0.0.1", full(&other), "check `sslrootcert`"),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={}", other.display()), "UnknownIssuer"),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={}", other.display()), "UnknownIssuer"),
        ("127.0.0.1", "sslmode=verify-full".to_owned(), "UnknownIssuer"),
        ("localhost", full(&ca), "not valid for name"),
        ("127.0.0.1", "sslmode=disable".to_owned(), "set `sslmode=verify-full` in store.url"),
        ("127.0.0.1", full(Path::new("/nowhere/ca.pem")), "/nowhere/ca.pem"),
    ] {
        let refused = store(&url("hunter2", host, &parameters)).await.unwrap_err();
        assert!(refused.contains(words), "{host} {parameters}: {refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[tokio::test]
async fn rabbitmq_is_reached_where_its_certificate_is_trusted_and_its_own() {
    let (certificates, strange) = (Certificates::issue("ours"), Certificates::issue("strange"));
    let instance = Instance::with_tls(certificates.0.path()).await;
    let broker = |scheme: &str, host: &str, port: u16, files: &Files| {
        Broker::new(&format!("{scheme}://guest:guest@{host}:{port}/%2f"), files).unwrap()
    };
    let identity =
        Identity { certificate: certificates.file("client.pem"), key: certificates.file("client.key") };
    let with_client = Files { identity: Some(identity), ..certificates.trusted() };
    for files in [certificates.trusted(), with_client] {
        let connection =
            broker("amqps", "127.0.0.1", instance.amqps_port(), &files).dial("test").await.unwrap();
        connection.create_channel().await.unwrap();
    }
    for (host, port, files, words) in [
        ("127.0.0.1", instance.amqps_port(), strange.trusted(), "UnknownIssuer"),
        ("127.0.0.1", instance.amqps_port(), Files::default(), "UnknownIssuer"),
        ("localhost", instance.amqps_port(), certificates.trusted(), "not valid for name"),
        ("127.0.0.1", instance.amqp_port(), certificates.trusted(), "as a rule 5671"),
    ] {
        let refused = broker("amqps", host, port, &files).dial("test").await.unwrap_err();
        assert!(matches!(refused, BrokerError::Handshake { .. }), "{}", told(&refused));
        assert!(told(&refused).contains(words), "{}", told(&refused));
        assert!(!told(&refused).contains("guest"), "{}", told(&refused));
    }
    let plain = broker("amqp", "127.0.0.1", instance.amqps_port(), &Files::default());
    let refused = told(&plain.dial("test").await.unwrap_err());
    assert!(refused.contains("write amqps:// in amqp.url"), "{refused}");
}

#[tokio::test]
async fn a_campaign_runs_over_tls_and_a_strange_authority_is_named_in_the_log() {
    let (certificates, strange) = (Certificates::issue("ours"), Certificates::issue("strange"));
    let instance = Instance::with_tls(certificates.0.path()).await;
    let sink = RecordingSink::start().await;
    let setup = Setup::on(&instance, sink.address(), "");
    setup.configure("amqp", &format!("ca_file = \"{}\"", certificates.file("ca.pem").display()));
    let mut shop = Shop::with(setup, sink).await;
    shop.people(2).await;
    shop.setup.write("spring.json", &campaign("spring", json!({})).to_string());
    let enqueued = shop.setup.cli(&["enqueue", "spring.json"]).await;
    assert!(enqueued.status.success(), "{}", String::from_utf8_lossy(&enqueued.stderr));
    shop.mails(2).await;
    eventually("the campaign's end", async || {
        (shop.books.status("spring").await == Some(CampaignStatus::Finished)).then_some(())
    })
    .await;
    shop.books.assert_balanced("spring").await;
    shop.daemon.process.sigterm();
    assert!(shop.daemon.process.ended().await.success(), "{}", shop.daemon.process.log());

    fs::copy(strange.file("ca.pem"), certificates.file("ca.pem")).unwrap();
    let stranger = Daemon::begin(&shop.setup);
    eventually("a word about the certificate", async || {
        stranger.process.log().contains("UnknownIssuer").then_some(())
    })
    .await;
    for secret in ["campaignd:campaignd", "guest:guest"] {
        assert!(!stranger.process.log().contains(secret), "{}", stranger.process.log());
    }
}
