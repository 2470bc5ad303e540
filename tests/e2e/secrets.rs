//! Secrets and addresses stay where they belong: not in logs, metrics, answers or process arguments, also where every
//! service refuses and the log is as talkative as it gets.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::StatusCode;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::http::{ask, get, post};
use crate::harness::instance::Instance;
use crate::harness::mail::RecordingSink;
use crate::services::database::connect;
use crate::services::wait::eventually;

const MAIL: &str = "anna.surname@example.com";
const PHONE: &str = "+8613812345678";
const OPENID: &str = "oOpenidOfAnna7777777777777";
const DEVICE: &str = "a1b2c3d4e5f60718";
/// Accounts whose service refuses every call. Getui's is configured and waits for its turn after JPush.
const REFUSED: [&str; 6] = ["twilio", "aliyun", "tencent", "bridge", "wechat", "jpush"];

/// A service that refuses everything, and the accounts that called it, by the first part of their paths.
async fn refusing() -> (SocketAddr, Arc<Mutex<BTreeSet<String>>>) {
    let callers = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = callers.clone();
    let refuse = move |request: Request| {
        let account = request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap().insert(account);
        let answer = json!({"errcode": 40001, "errmsg": "invalid credential", "message": "not authenticated",
            "code": 20003, "error": {"code": 1004, "message": "authen failed"}});
        async move { (StatusCode::UNAUTHORIZED, axum::Json(answer)) }
    };
    let router = axum::Router::new().fallback(refuse);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, callers)
}

/// What nobody may see, by the name of its place.
fn secrets() -> Vec<(&'static str, String)> {
    let one = |name: &'static str| (name, format!("hunter2-{name}"));
    let base64 = "aHVudGVyMi1icmlkZ2UtaHVudGVyMi1icmlkZ2U".to_owned();
    let mut all: Vec<_> = [
        "store", "amqp", "relay", "twilio", "aliyun", "tencent", "wechat", "callback", "jpush", "getui",
        "http",
    ]
    .map(one)
    .into();
    all.push(("bridge", base64));
    all
}

fn providers(service: SocketAddr, relay: SocketAddr) -> String {
    let at = |account: &str| format!("http://{service}/{account}");
    format!(
        r#"[log]
level = "trace"
[channels.sms]
providers = ["twilio"]
[channels.wechat]
providers = ["wechat"]
[channels.push]
providers = ["jpush"]
[providers.locked]
kind = "smtp"
channel = "email"
host = "{}"
port = {}
tls = "none"
username = "news"
password = "hunter2-relay"
from = "news@example.com"
[providers.twilio]
kind = "twilio"
account_sid = "AC00000000000000000000000000000000"
auth_token = "hunter2-twilio"
from = "+15005550006"
base_url = "{}"
[providers.aliyun]
kind = "aliyun"
access_key_id = "LTAI000000000000"
access_key_secret = "hunter2-aliyun"
base_url = "{}"
[providers.tencent]
kind = "tencent"
secret_id = "AKID000000000000"
secret_key = "hunter2-tencent"
sdk_app_id = "1400006666"
base_url = "{}"
[providers.bridge]
kind = "webhook"
url = "{}"
secret = "whsec_aHVudGVyMi1icmlkZ2UtaHVudGVyMi1icmlkZ2U="
[providers.wechat]
kind = "wechat"
app_id = "wx1234567890abcdef"
app_secret = "hunter2-wechat"
callback_token = "hunter2-callback"
base_url = "{}"
[providers.jpush]
kind = "jpush"
app_key = "7d431e42dfa6a6d693ac2d04"
master_secret = "hunter2-jpush"
base_url = "{}"
[providers.getui]
kind = "getui"
app_id = "wxgetui"
app_key = "getui-key"
master_secret = "hunter2-getui"
base_url = "{}"
"#,
        relay.ip(),
        relay.port(),
        at("twilio"),
        at("aliyun"),
        at("tencent"),
        at("bridge"),
        at("wechat"),
        at("jpush"),
        at("getui"),
    )
}

const TEMPLATE: &str = r#"[email]
subject = "Hello"
html = "email.html.hbs"
[sms]
text = "【Shop】Hello"
aliyun = {sign_name = "Shop", template_code = "SMS_1", params = {name = "A"}}
tencent = {sign_name = "Shop", template_id = "1110", params = ["A"]}
[wechat]
template_id = "T-1"
data = {first = {value = "Hello"}}
[push]
title = "Hello"
body = "You"
"#;

/// A message to Anna through an account that will be refused.
async fn message(admin: SocketAddr, account: &str, channel: &str, address: &str) {
    let job = json!({"type": "message", "id": account, "campaign": format!("orders-{channel}"), "channel": channel,
        "purpose": "service", "template": "hello", "provider": account, "to": {"address": address}, "data": {"name": "Anna"}});
    let answer = post(admin, "/v1/jobs", &job.to_string()).await.unwrap();
    assert_eq!(answer.status(), 202, "{account}: {}", answer.body());
}

#[tokio::test]
async fn nothing_that_is_secret_is_told() {
    let instance = Instance::start().await;
    let change = "ALTER ROLE campaignd PASSWORD 'hunter2-store'";
    connect(&instance.store_url()).await.batch_execute(change).await.unwrap();
    let (service, callers) = refusing().await;
    let sink = RecordingSink::start().await;
    let setup = Setup::on(&instance, sink.address(), &providers(service, sink.address()));
    let config = fs::read_to_string(setup.path().join("config.toml")).unwrap();
    let config = config.replacen("campaignd:campaignd@", "campaignd:hunter2-store@", 1);
    let config = config.replacen("guest:guest@", "guest:hunter2-amqp@", 1);
    assert!(config.contains("hunter2-store@") && config.contains("hunter2-amqp@"), "{config}");
    setup.write("config.toml", &config);
    setup.configure("http", "token = \"hunter2-http\"");
    setup.write("templates/hello/template.toml", TEMPLATE);
    setup.write("templates/hello/email.html.hbs", "<p>Hello</p>");
    let mut daemon = Daemon::begin(&setup);
    let process = &daemon.process;
    eventually("the daemon", async || process.log().contains("campaignd runs").then_some(())).await;

    let addresses = [("email", MAIL), ("sms", PHONE), ("wechat", OPENID), ("push", DEVICE)];
    for (account, channel) in [
        ("locked", "email"),
        ("twilio", "sms"),
        ("aliyun", "sms"),
        ("tencent", "sms"),
        ("bridge", "sms"),
        ("wechat", "wechat"),
        ("jpush", "push"),
    ] {
        let (_, address) = addresses.iter().find(|(of, _)| *of == channel).unwrap();
        message(setup.admin, account, channel, address).await;
    }
    eventually("a call of every account", async || {
        REFUSED.iter().all(|account| callers.lock().unwrap().contains(*account)).then_some(())
    })
    .await;
    eventually("the refused relay and broker", async || {
        let metrics = get(setup.admin, "/metrics").await.unwrap().into_body();
        let relay = metrics.lines().any(|line| line.contains("provider=\"locked\"") && !line.ends_with(" 0"));
        (relay && process.log().contains("no session with RabbitMQ")).then_some(())
    })
    .await;

    let mut told = answers(&setup).await;
    told.push((
        "/proc/PID/cmdline".into(),
        fs::read_to_string(format!("/proc/{}/cmdline", process.id())).unwrap(),
    ));
    daemon.process.sigterm();
    daemon.process.ended().await;
    told.push(("the log".into(), daemon.process.log()));
    assert!(daemon.process.log().contains("TRACE"), "it was talkative");
    for (place, text) in &told {
        for (name, secret) in secrets() {
            assert!(!text.contains(&secret), "{place} tells the secret of {name}:\n{text}");
        }
        for (_, address) in addresses {
            assert!(!text.contains(address), "{place} tells {address}:\n{text}");
        }
    }
}

/// What the daemon and its commands answer to questions that are wrong in every way.
async fn answers(setup: &Setup) -> Vec<(String, String)> {
    let mut told = Vec::new();
    let bearer = [("authorization", "Bearer hunter2-http")];
    for (method, path, headers, body) in [
        (Method::GET, "/metrics", &[][..], String::new()),
        (Method::GET, "/readyz", &[], String::new()),
        (Method::GET, "/openapi.json", &[], String::new()),
        (Method::GET, "/v1/campaigns", &bearer, String::new()),
        (Method::GET, "/v1/campaigns?limit=0", &[], String::new()),
        (Method::GET, "/v1/contacts/nobody", &[], String::new()),
        (
            Method::PUT,
            "/v1/contacts/C-1",
            &[],
            json!({"addresses": [{"channel": "email", "address": format!("{MAIL} ")},
            {"channel": "sms", "address": "12"}]})
            .to_string(),
        ),
        (
            Method::POST,
            "/v1/jobs",
            &[],
            json!({"type": "message", "to": {"address": MAIL, "external_id": PHONE}}).to_string(),
        ),
        (Method::GET, "/", &[("host", "hunter2.evil.example")], String::new()),
    ] {
        let answer = ask(setup.admin, method.clone(), path, headers, &body).await.unwrap();
        told.push((format!("{method} {path}"), answer.into_body()));
    }
    for hook in REFUSED {
        let body = json!({"MessageSid": PHONE, "To": PHONE}).to_string();
        let answer = post(setup.public, &format!("/hooks/{hook}"), &body).await.unwrap();
        told.push((format!("/hooks/{hook}"), answer.into_body()));
    }
    for arguments in
        [&["check"][..], &["dead", "list"], &["tokens", "list"], &["audit"], &["contacts", "show", MAIL]]
    {
        let output = setup.cli(arguments).await;
        // What was asked for is printed; what is told beside it is for everybody.
        told.push((arguments.join(" "), String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let value: Value = serde_json::from_str(&told[3].1).unwrap();
    assert_eq!(value["status"], 401, "a token is looked at on loopback, too");
    told
}
