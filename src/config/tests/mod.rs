//! The configuration as users write it, right and wrong.

mod providers;
mod services;
mod sms;

use super::*;
use crate::model::{Rate, Rates};

pub(super) const LEAST: &str = "[store]\nurl = \"postgres://u:p@localhost/db\"\n";
const RELAY: &str = "[providers.relay]\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nfrom = \"news@example.com\"\n";

fn environment_of<const N: usize>(variables: [(&str, &str); N]) -> Environment {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn parse_with<const N: usize>(text: &str, variables: [(&str, &str); N]) -> Result<Config, Problems> {
    Config::parse(Path::new("config.toml"), text, &environment_of(variables))
}

pub(super) fn parse(text: &str) -> Config {
    parse_with(text, []).unwrap()
}

pub(super) fn problems(text: &str) -> String {
    parse_with(text, []).unwrap_err().to_string()
}

fn smtp(config: &Config) -> &SmtpSettings {
    let ProviderKind::Smtp(settings) = &config.providers["relay"].kind else { panic!() };
    settings
}

#[test]
fn the_file_in_the_repository_needs_no_service_and_says_the_defaults() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::load(&root.join("config.toml"), &Environment::new()).unwrap();
    assert_eq!(config.templates.dir, root.join("templates"));
    assert_eq!(config.store.kind, StoreKind::Sqlite(root.join("data/campaignd.db")));
    assert_eq!(config.tracking.spool, root.join("data/spool"));
    assert!(config.amqp.is_none());
    assert!(config.channels.values().all(|channel| channel.providers == ["sandbox"]));

    let channels = "[channels.email]\n[channels.sms]\n[channels.wechat]\n[channels.push]\n";
    let least = parse(&format!("{LEAST}{channels}"));
    let said = |config: &Config| {
        let mut channels = config.channels.clone();
        channels.values_mut().for_each(|channel| channel.providers.clear());
        // Paths begin at the file's folder.
        let tracking = Tracking { spool: PathBuf::new(), ..config.tracking.clone() };
        let parts = (&config.http, tracking, &config.log, config.drain, config.store.connections);
        format!("{channels:?} {parts:?}")
    };
    assert_eq!(said(&config), said(&least));
}

#[test]
fn the_file_for_the_private_services_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::load(&root.join("scripts/services.toml"), &Environment::new()).unwrap();
    assert!(config.templates.dir.join("spring-sale").is_dir());
    assert_eq!(smtp(&config).port, 25025);
    assert!(matches!(config.store.kind, StoreKind::Postgres(_)));
}

#[test]
fn links_follow_the_listener_unless_told() {
    let bound = "127.0.0.1:4711".parse().unwrap();
    for (given, url) in
        [("", "http://127.0.0.1:4711"), ("public_url = \"https://x.example\"", "https://x.example")]
    {
        let mut http = parse(&format!("{LEAST}[http]\npublic = \"127.0.0.1:0\"\n{given}\n")).http;
        http.public_is(bound);
        assert_eq!((http.public, http.public_url.as_str()), (bound, url));
    }
}

#[test]
fn every_problem_is_found_at_once_with_its_line() {
    let found = problems(
        r#"
[store]
url = "mysql://root:hunter2@localhost/db"
connections = 0
[http]
public = 8080
admin = "0.0.0.0:8081"
trusted_proxies = [
  "10.0.0.0/8",
  "10.0.0.0/64",
  7,
]
[channels.email]
rat = "5/s"
rate = ["5/s", "5/fortnight"]
retry = "soon"
providers = ["realy"]
allow_marketing = true
[channels.emial]
[providers.relay]
kind = "smtp"
channel = "sms"
host = "smtp://127.0.0.1"
tls = "start-tls"
username = "news"
from = "Shop"
[providers.texts]
kind = "pigeon"
"#,
    );
    assert_eq!(
        found,
        "config.toml:3: store.url: is neither `sqlite:FILE` nor `postgres://user:password@host/database`
config.toml:4: store.connections: must be a whole number, at least 1
config.toml:6: http.public: must be text in quotes, not a number
config.toml:10: http.trusted_proxies: `10.0.0.0/64` is not a network, as `10.0.0.0/8`
config.toml:11: http.trusted_proxies: every item must be text in quotes, not a number
config.toml:14: channels.email.rat: unknown key; did you mean `rate`?
config.toml:15: channels.email.rate: `5/fortnight` is not a rate: write N/s, N/m, N/h or N/d, as in `500/s`
config.toml:16: channels.email.retry: `soon` is not a duration: write a whole number and ms, s, m, h or d, as in `30s`
config.toml:17: channels.email.providers: no `[providers.realy]` in this file; did you mean `relay`?
config.toml:18: channels.email.allow_marketing: belongs to `channels.wechat` alone
config.toml:19: channels.emial: `emial` is none of email, sms, wechat, push; did you mean `email`?
config.toml:20: providers.relay.password: missing; `username` needs it beside it
config.toml:22: providers.relay.channel: kind `smtp` carries email, not sms
config.toml:23: providers.relay.host: must be a host name or an IP address, without scheme and port
config.toml:24: providers.relay.tls: `start-tls` is none of none, starttls, implicit; did you mean `starttls`?
config.toml:26: providers.relay.from: not a valid email address: it has no @
config.toml:28: providers.texts.kind: unknown provider kind `pigeon`"
    );
}

#[test]
fn what_is_missing_or_misplaced_is_named() {
    assert_eq!(
        problems("[stor]\n[providers.a]\nkind = \"stmp\"\n[providers.b]\n"),
        "config.toml: store.url: missing; where the ledger lives, as `sqlite:data/campaignd.db` or `postgres://user:password@host/database`
config.toml:1: stor: unknown key; did you mean `store`?
config.toml:3: providers.a.kind: unknown provider kind `stmp`; did you mean `smtp`?
config.toml:4: providers.b.kind: missing; this version has: smtp, sandbox, webhook, smpp, jpush, getui, fcm, apns, wechat, aliyun, tencent, twilio"
    );
    assert_eq!(
        problems("store = \"postgres://u@h/d\"\n"),
        "config.toml:1: store: must be a table, not text
config.toml:1: store.url: missing; where the ledger lives, as `sqlite:data/campaignd.db` or `postgres://user:password@host/database`"
    );
    assert_eq!(
        problems("[store]\nurl = \"sqlite:\"\npool = 3\n"),
        "config.toml:2: store.url: needs a file, as `sqlite:data/campaignd.db`
config.toml:3: store.pool: unknown key; known here: connections, url, url_file"
    );
}

#[test]
fn what_is_not_toml_is_said_once_a_line_and_shows_no_content() {
    let found = problems("[store]\nurl = postgres://u:hunter2@h/d\n[http\npublic = \"127.0.0.1:1\"\n");
    let places: Vec<&str> =
        found.lines().filter_map(|line| line.split_once(" not TOML: ")).map(|(p, _)| p).collect();
    assert_eq!(places, ["config.toml:2:", "config.toml:3:"], "{found}");
    assert!(!found.contains("hunter2"));
    assert!(problems(&format!("{LEAST}url = \"x\"\n")).starts_with("config.toml:3: not TOML: duplicate key"));
    let absent = Config::load(Path::new("no/such.toml"), &Environment::new()).unwrap_err();
    assert!(absent.to_string().starts_with("no/such.toml: cannot be read: "), "{absent}");
}

#[test]
fn variables_fill_in_texts_of_any_type() {
    let text =
        format!("{LEAST}{RELAY}port = \"${{PORT}}\"\nusername = \"news\"\npassword = \"a${{PASS}}c\"\n");
    let config = parse_with(&text, [("PORT", "2525"), ("PASS", "${b}")]).unwrap();
    assert_eq!(smtp(&config).port, 2525);
    assert_eq!(smtp(&config).password.as_ref().unwrap().reveal(), "a${b}c");
    assert_eq!(
        parse_with(&text, [("PASS", "")]).unwrap_err().to_string(),
        "config.toml:7: providers.relay.port: the environment variable `PORT` is not set"
    );
    assert_eq!(problems("[store]\nurl = \"${URL\"\n"), "config.toml:2: store.url: `${` without its `}`");
}

#[test]
fn variables_override_any_key() {
    let config = parse_with(
        &format!("{LEAST}{RELAY}[channels.email]\nproviders = []\n"),
        [
            ("CAMPAIGND__STORE__CONNECTIONS", "3"),
            ("CAMPAIGND__CHANNELS__EMAIL__PROVIDERS", "relay"),
            ("CAMPAIGND__CHANNELS__EMAIL__RATE", "100/s, 5000/h"),
            ("CAMPAIGND__PROVIDERS__Relay__PASSWORD", "0123"),
            ("CAMPAIGND__PROVIDERS__RELAY__USERNAME", "news"),
            ("CAMPAIGND__TRACKING__MACHINE_ADDRESSES", "off"),
            ("CAMPAIGND__AMQP__URL", "amqp://broker/%2f"),
            ("CAMPAIGND_CONFIG", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!(config.store.connections, 3);
    assert_eq!(config.channels[&Channel::Email].providers, ["relay"]);
    let rates: Vec<Rate> = ["100/s", "5000/h"].iter().map(|rate| rate.parse().unwrap()).collect();
    assert_eq!(config.channels[&Channel::Email].rate, Rates(rates));
    assert_eq!(smtp(&config).password.as_ref().unwrap().reveal(), "0123");
    assert_eq!(config.tracking.machine_addresses, None);
    assert_eq!(config.amqp.unwrap().url.reveal(), "amqp://broker/%2f");
}

#[test]
fn a_problem_of_a_variable_names_the_variable() {
    let found = parse_with(
        LEAST,
        [
            ("CAMPAIGND__HTTP__PUBLIC", "8080"),
            ("CAMPAIGND__STORE__CONNECTIONS", "many"),
            ("CAMPAIGND__STORE__URL__HOST", "db"),
            ("CAMPAIGND__STORE__CONECTIONS", "3"),
            ("CAMPAIGND__CHANNELS__EMIAL__RATE", "1/s"),
        ],
    );
    assert_eq!(
        found.unwrap_err().to_string(),
        "CAMPAIGND__CHANNELS__EMIAL__RATE: channels.emial: `emial` is none of email, sms, wechat, push; did you mean `email`?
CAMPAIGND__HTTP__PUBLIC: http.public: `8080` is not an address and a port, as `127.0.0.1:8080`
CAMPAIGND__STORE__CONECTIONS: store.conections: unknown key; did you mean `connections`?
CAMPAIGND__STORE__CONNECTIONS: store.connections: must be a whole number, at least 1
CAMPAIGND__STORE__URL__HOST: store.url: must be text in quotes, not a table"
    );
}

#[test]
fn secrets_come_from_files_too_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("smtp"), "hunter2\n").unwrap();
    let path = folder.path().join("config.toml");
    let text = format!("{LEAST}{RELAY}username = \"news\"\npassword_file = \"smtp\"\n");
    let config = Config::parse(&path, &text, &Environment::new()).unwrap();
    assert_eq!(smtp(&config).password.as_ref().unwrap().reveal(), "hunter2");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("u:p@"), "{shown}");

    assert_eq!(
        problems(&format!("{text}password = \"x\"\n")),
        "config.toml:8: providers.relay.password_file: the file cannot be read: No such file or directory (os error 2)
config.toml:8: providers.relay.password_file: stands beside `password`; keep one of the two"
    );
}

#[test]
fn ports_follow_tls() {
    for (tls, port) in [("none", 25), ("starttls", 587), ("implicit", 465)] {
        assert_eq!(smtp(&parse(&format!("{LEAST}{RELAY}tls = \"{tls}\"\n"))).port, port);
    }
    assert_eq!(smtp(&parse(&format!("{LEAST}{RELAY}"))).tls, Tls::StartTls);
}

#[test]
fn providers_of_text_messages_need_little_and_hide_their_secrets() {
    let config = parse(&format!(
        "{LEAST}[providers.ali]\nkind = \"aliyun\"\naccess_key_id = \"id\"\naccess_key_secret = \"hunter2\"\n\
         [providers.qq]\nkind = \"tencent\"\nsecret_id = \"id\"\nsecret_key = \"hunter2\"\nsdk_app_id = \"1400\"\n\
         hook_secret = \"hunter2-hunter2-\"\n\
         [providers.tw]\nkind = \"twilio\"\naccount_sid = \"AC1\"\nauth_token = \"hunter2\"\nfrom = \"+15557122661\"\n"
    ));
    assert!(!format!("{config:?}").contains("hunter2"));
    let kind = |name: &str| &config.providers[name].kind;
    let ProviderKind::Aliyun(aliyun) = kind("ali") else { panic!() };
    assert_eq!((&*aliyun.base_url, aliyun.single), ("https://dysmsapi.aliyuncs.com", true));
    assert!(aliyun.hook_secret.is_none());
    let ProviderKind::Tencent(tencent) = kind("qq") else { panic!() };
    assert_eq!((&*tencent.base_url, &*tencent.region), ("https://sms.tencentcloudapi.com", "ap-guangzhou"));
    assert!(tencent.hook_secret.is_some());
    let ProviderKind::Twilio(twilio) = kind("tw") else { panic!() };
    assert_eq!(twilio.sender, Sender::From("+15557122661".to_owned()));
    assert_eq!((&*twilio.base_url, twilio.timeout.as_secs()), ("https://api.twilio.com", 15));
    for provider in config.providers.values() {
        assert_eq!(provider.channel, Some(Channel::Sms));
        assert!(!provider.kind.takes_idempotency_key());
    }
    let clear = "[providers.tw]\nkind = \"twilio\"\naccount_sid = \"A\"\nauth_token = \"x\"\nfrom = \"A\"\nbase_url = \"http://proxy.example\"\n";
    let warnings = parse(&format!("{LEAST}{clear}")).warnings();
    assert!(warnings.iter().any(|warning| warning.starts_with("providers.tw.base_url: not https")));
    assert_eq!(
        problems(&format!(
            "{LEAST}[providers.ali]\nkind = \"aliyun\"\naccess_key_id = \"id\"\nhook_secret = \"short\"\n\
             [providers.tw]\nkind = \"twilio\"\naccount_sid = \"AC/1\"\nauth_token = \"x\"\nfrom = \"A\"\n\
             messaging_service_sid = \"MG1\"\n"
        )),
        "config.toml:3: providers.ali.access_key_secret: missing; the AccessKey's secret
config.toml:6: providers.ali.hook_secret: must be 16 to 128 letters, digits, `-`, `.`, `_` or `~`, as `openssl rand -hex 16` makes them
config.toml:9: providers.tw.account_sid: must be a SID, as Twilio's console shows it: letters and digits alone
config.toml:12: providers.tw.messaging_service_sid: stands beside `from`; keep one of the two"
    );
}

#[test]
fn a_public_address_needs_a_url_to_link_to() {
    let public = |more: &str| format!("{LEAST}[http]\npublic = \"0.0.0.0:80\"\n{more}");
    assert!(problems(&public("")).starts_with("config.toml:3: http.public_url: missing; "));
    assert_eq!(parse(&public("public_url = \"https://x.example/\"\n")).http.public_url, "https://x.example");
    assert_eq!(parse(LEAST).http.public_url, "http://127.0.0.1:8080");
    assert!(
        problems(&format!("{LEAST}[http]\nadmin = \"127.0.0.1:8080\"\n")).contains("http.admin: is the same")
    );
}

#[test]
fn the_admin_listener_may_be_reached_and_called_by_name() {
    let config = parse(&format!(
        "{LEAST}[http]\nadmin = \"0.0.0.0:8081\"\nadmin_hosts = \"campaigns.internal\"\ntoken = \"cmpd_hunter2\"\n"
    ));
    assert_eq!(config.http.admin_hosts, ["campaigns.internal"]);
    assert_eq!(config.http.token.as_ref().unwrap().reveal(), "cmpd_hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(config.warnings().iter().any(|warning| warning.starts_with("http.admin: ")));
    assert_eq!(
        problems(&format!("{LEAST}[http]\nadmin_hosts = [\"https://x.example\"]\ntoken = \"\"\n")),
        "config.toml:4: http.admin_hosts: must be a host name or an IP address, without scheme and port
config.toml:5: http.token: is empty"
    );
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let warned = |text: &str| -> Vec<String> {
        let keys = parse(text).warnings();
        keys.iter().filter_map(|line| line.split_once(':')).map(|(key, _)| key.to_owned()).collect()
    };
    let https = "[http]\npublic_url = \"https://x.example\"\n";
    let listed = format!("{LEAST}{https}{RELAY}[channels.email]\nproviders = [\"relay\"]\n");
    assert!(warned(&listed).is_empty());
    assert_eq!(warned(LEAST), ["http.public_url", "channels"]);
    assert_eq!(
        warned(&format!("{LEAST}{https}{RELAY}[channels.email]\n")),
        ["channels.email.providers", "providers.relay"]
    );
    assert_eq!(warned(&format!("{listed}on_unknown = \"resend\"\n")), ["channels.email.on_unknown"]);
    let exposed = RELAY.replace("127.0.0.1", "mx.example.com");
    let login = "tls = \"none\"\nusername = \"news\"\npassword = \"x\"\n";
    let clear = format!("{LEAST}{https}{exposed}{login}[channels.email]\nproviders = \"relay\"\n");
    assert_eq!(warned(&clear), ["providers.relay.tls"]);
}

#[test]
fn every_key_of_the_file_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let (file, docs) = (read("config.toml"), read("docs/configuration.md"));
    let keys = file.lines().filter_map(|line| line.trim_start_matches("# ").split_once(" = "));
    let undocumented: Vec<&str> =
        keys.map(|(key, _)| key).filter(|key| !docs.contains(&format!("`{key}`"))).collect();
    assert_eq!(undocumented, Vec::<&str>::new());
}
