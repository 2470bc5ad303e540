//! The services around the daemon and the listeners: files of TLS, limits, and what is warned of.

use std::path::Path;
use std::time::Duration;

use super::{LEAST, parse, problems};
use crate::config::StoreKind;
use crate::model::rate::{Period, Rate};
use crate::postgres_url::SslMode;
use crate::tls::Identity;

const NONE: [&str; 0] = [];

fn on(url: &str, more: &str) -> String {
    format!("[store]\nurl = \"{url}\"\n{more}")
}

#[test]
fn files_of_tls_begin_in_the_configurations_folder() {
    let config = parse(&on(
        "postgres://news:hunter2@db.example/ledger?sslmode=verify-full&sslrootcert=ca.pem",
        "[amqp]\nurl = \"amqps://news:hunter2@mq.example/%2f\"\nca_file = \"mq.pem\"\ncert_file = \"c.pem\"\nkey_file = \"c.key\"\n",
    ));
    let folder = Path::new("");
    let StoreKind::Postgres(url) = &config.store.kind else { panic!("is PostgreSQL") };
    assert_eq!((url.mode, url.files.ca.clone()), (SslMode::VerifyFull, Some(folder.join("ca.pem"))));
    let amqp = config.amqp.as_ref().unwrap();
    assert_eq!(amqp.tls.ca, Some(folder.join("mq.pem")));
    let identity = Identity { certificate: folder.join("c.pem"), key: folder.join("c.key") };
    assert_eq!(amqp.tls.identity, Some(identity));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_is_wrong_with_tls_is_named() {
    assert_eq!(
        problems(&on("postgres://news:hunter2@db.example/ledger?sslmode=allow", "")),
        "config.toml:2: store.url: has an `sslmode` that is none of disable, prefer, require, verify-ca and verify-full"
    );
    let half = "[amqp]\nurl = \"amqps://mq.example/%2f\"\ncert_file = \"c.pem\"\n";
    assert_eq!(
        problems(&format!("{LEAST}{half}")),
        "config.toml:3: amqp.key_file: missing; `cert_file` needs it beside it"
    );
}

#[test]
fn services_of_other_machines_are_to_be_reached_by_tls_that_checks() {
    let warned = |text: &str| -> Vec<String> {
        let warnings = parse(text).warnings();
        warnings.into_iter().filter(|line| line.starts_with("store.") || line.starts_with("amqp.")).collect()
    };
    for (mode, risk) in [
        ("", "may go in the clear"),
        ("?sslmode=disable", "may go in the clear"),
        ("?sslmode=require", "poses as the server"),
        ("?sslmode=verify-ca", "any server with a certificate of that authority"),
    ] {
        let [warning] = warned(&on(&format!("postgres://n:p@db.example/l{mode}"), "")).try_into().unwrap();
        assert!(warning.starts_with("store.url: ") && warning.contains(risk), "{warning}");
    }
    for safe in [
        "postgres://n:p@db.example/l?sslmode=verify-full",
        "postgres://n:p@127.0.0.1/l",
        "postgres://n:p@%2Fvar%2Frun%2Fpostgresql/l",
    ] {
        assert_eq!(warned(&on(safe, "")), NONE, "{safe}");
    }
    let amqp = |url: &str| warned(&format!("{LEAST}[amqp]\nurl = \"{url}\"\n"));
    assert!(amqp("amqp://n:p@mq.example/%2f")[0].contains("use amqps://"));
    assert_eq!(amqp("amqps://n:p@mq.example/%2f"), NONE);
    assert_eq!(amqp("amqp://n:p@localhost/%2f"), NONE);
}

#[test]
fn limits_have_defaults_and_an_off() {
    let limits = parse(LEAST).http.limits;
    let a_second = |count| Some(Rate { count, period: Period::Second });
    assert_eq!((limits.connections, limits.connections_per_address), (4_096, Some(512)));
    assert_eq!(limits.requests_per_address, a_second(1_000));
    assert_eq!(limits.refused_calls_per_address, a_second(10));

    let limits = parse(&format!(
        "{LEAST}[http.limits]\nconnections_per_address = \"off\"\nrequests_per_address = \"50/s\"\n\
         refused_calls_per_address = \"off\"\nhead_within = \"3s\"\n"
    ))
    .http
    .limits;
    assert_eq!((limits.connections_per_address, limits.refused_calls_per_address), (None, None));
    assert_eq!(limits.requests_per_address, a_second(50));
    assert_eq!(limits.head_within, Duration::from_secs(3));

    let wrong = "[http.limits]\nconnections = 0\nrequests_per_address = \"fast\"\nper_peer = 1\n";
    let found = problems(&format!("{LEAST}{wrong}"));
    for key in ["http.limits.connections: ", "http.limits.requests_per_address: ", "http.limits.per_peer: "] {
        assert!(found.contains(key), "{found}");
    }
}
