//! The settings of each kind of provider, and of what comes back from mail.

use super::*;

#[test]
fn a_sandbox_behaves_as_told() {
    let sandbox = |keys: &str| format!("{LEAST}[providers.play]\nkind = \"sandbox\"\n{keys}");
    let settings = |keys: &str| match parse(&sandbox(keys)).providers.remove("play").unwrap().kind {
        ProviderKind::Sandbox(settings) => settings,
        other => panic!("{other:?}"),
    };
    assert_eq!(format!("{:?}", settings("")), format!("{:?}", SandboxSettings::default()));
    let told =
        settings("latency = \"1s\"\nsoft = 0.25\nhard = 1\ncapacity = 500\nkeep = 0\nreceipts = false\n");
    assert_eq!((told.soft, told.hard, told.keep, told.receipts), (0.25, 1.0, 0, false));
    assert_eq!((told.latency_p99.as_secs(), told.capacity.unwrap().get()), (5, 500));
    assert_eq!(
        problems(&sandbox(
            "soft = 1.5\nhard = \"much\"\nbounced = -0.1\nkeep = 20000\nlatency = \"1s\"\nlatency_p99 = \"1ms\"\n"
        )),
        "config.toml:5: providers.play.soft: must be a number from 0 to 1, as 0.01
config.toml:6: providers.play.hard: must be a number from 0 to 1, as 0.01, not text
config.toml:7: providers.play.bounced: must be a number from 0 to 1, as 0.01
config.toml:8: providers.play.keep: at most 10000: they are held in memory
config.toml:10: providers.play.latency_p99: is below `latency`, which half of the calls exceed"
    );
    let together = problems(&sandbox("soft = 0.6\nno_answer = 0.6\n"));
    assert!(together.starts_with("config.toml:5: providers.play.soft: and `no_answer`"), "{together}");
    let variable = [("CAMPAIGND__PROVIDERS__PLAY__SOFT", "0.5")];
    let ProviderKind::Sandbox(told) = &parse_with(&sandbox(""), variable).unwrap().providers["play"].kind
    else {
        panic!()
    };
    assert_eq!(told.soft, 0.5);
}

#[test]
fn webhooks_have_defaults_and_their_problems_are_named() {
    let bridge = "[providers.bridge]\nkind = \"webhook\"\nurl = \"http://bridge.example/in?shop=1\"\n";
    let secret = "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";
    let config = parse(&format!("{LEAST}{bridge}{secret}[channels.sms]\nproviders = \"bridge\"\n"));
    let provider = &config.providers["bridge"];
    let ProviderKind::Webhook(webhook) = &provider.kind else { panic!() };
    assert_eq!((webhook.batch.get(), webhook.timeout.as_secs(), webhook.idempotent), (100, 30, false));
    assert!(provider.carries(Channel::Sms) && provider.carries(Channel::Push));
    assert!(!provider.kind.takes_idempotency_key());
    assert!(!format!("{config:?}").contains("MfKQ"));
    assert!(config.warnings().iter().any(|warning| warning.starts_with("providers.bridge.url: not https")));
    let idempotent = parse(&format!("{LEAST}{bridge}{secret}idempotent = true\n"));
    assert!(idempotent.providers["bridge"].kind.takes_idempotency_key());
    assert_eq!(
        problems(&format!("{LEAST}[providers.bridge]\nkind = \"webhook\"\nsecret = \"hunter2\"\nbatch = 2000\n")),
        "config.toml:3: providers.bridge.url: missing; where messages are posted to, as `https://example.com/messages`
config.toml:5: providers.bridge.secret: must be `whsec_` and the base64 of 24 to 64 bytes, as `openssl rand -base64 32` makes them
config.toml:6: providers.bridge.batch: must be a whole number from 1 to 1000"
    );
}

#[test]
fn the_service_behind_a_relay_is_named_with_what_it_is_believed_by() {
    let hooked = |hook: &str| format!("{LEAST}{RELAY}[providers.relay.hook]\n{hook}");
    let hook = |text: &str| smtp(&parse(&hooked(text))).hook.clone().unwrap();
    assert!(smtp(&parse(&format!("{LEAST}{RELAY}"))).hook.is_none());
    let topic = "arn:aws:sns:eu-west-1:123456789012:mail";
    let MailHookSettings::Ses(ses) = hook(&format!("kind = \"ses\"\ntopic = \"{topic}\"\n")) else {
        panic!()
    };
    assert_eq!((&*ses.topic, &*ses.base_url), (topic, "https://sns.eu-west-1.amazonaws.com"));
    assert!(matches!(
        hook("kind = \"sendgrid\"\npublic_key = \"AQID\"\n"),
        MailHookSettings::SendGrid { public_key } if public_key == [1, 2, 3]
    ));
    assert!(!format!("{:?}", hook("kind = \"mailgun\"\nsigning_key = \"k3y\"\n")).contains("k3y"));
    let both = "username = \"u\"\npassword = \"p\"\nsecret = \"0123456789abcdef\"\n";
    assert!(matches!(
        hook(&format!("kind = \"postmark\"\n{both}")),
        MailHookSettings::Postmark { login: Some(_), path: Some(_) }
    ));
    for (hook, problem) in [
        ("", "hook.kind: missing; the e-mail service"),
        ("kind = \"sendgird\"\n", "hook.kind: `sendgird` is none of"),
        ("kind = \"ses\"\n", "hook.topic: missing; the ARN"),
        ("kind = \"ses\"\ntopic = \"mail\"\n", "hook.topic: must be a topic's ARN"),
        ("kind = \"sendgrid\"\n", "hook.public_key: missing; "),
        ("kind = \"sendgrid\"\npublic_key = \"?\"\n", "hook.public_key: must be the key in base64"),
        ("kind = \"mailgun\"\n", "hook.signing_key: missing; "),
        ("kind = \"mailgun\"\nsigning_key = \"k\"\ntopic = \"x\"\n", "hook.topic: unknown key"),
        ("kind = \"postmark\"\n", "hook.secret: missing; Postmark signs nothing"),
        ("kind = \"postmark\"\nsecret = \"short\"\n", "hook.secret: must be at least 16"),
        ("kind = \"postmark\"\nusername = \"u\"\n", "hook.password: missing; "),
        ("kind = \"postmark\"\nusername = \"a:b\"\npassword = \"p\"\n", "hook.username: has a colon"),
    ] {
        let found = problems(&hooked(hook));
        assert_eq!(found.lines().count(), 1, "{found}");
        assert!(found.contains(&format!("providers.relay.{problem}")), "{found}");
    }
}

#[test]
fn an_smsc_has_defaults_and_its_problems_are_named() {
    let smsc = "[providers.smsc]\nkind = \"smpp\"\nhost = \"smsc.example\"\nsystem_id = \"shop\"\n";
    let config = parse(&format!("{LEAST}{smsc}password = \"hunter2\"\n"));
    let provider = &config.providers["smsc"];
    let ProviderKind::Smpp(smpp) = &provider.kind else { panic!() };
    assert_eq!((smpp.port, smpp.window.get(), smpp.binds.get(), smpp.hex_ids), (2775, 50, 1, false));
    assert_eq!((smpp.enquire.as_secs(), smpp.timeout.as_secs()), (20, 30));
    assert!(provider.carries(Channel::Sms) && !provider.carries(Channel::Push));
    assert!(!provider.kind.takes_idempotency_key());
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(config.warnings().iter().any(|warning| warning.starts_with("providers.smsc.tls: ")));
    assert_eq!(
        problems(&format!(
            "{LEAST}[providers.smsc]\nkind = \"smpp\"\nsystem_id = \"0123456789abcdef\"\nwindow = 2000\nbinds = 0\nfrom_ton = 256\nfrom = \"Flower Shop 1\"\n"
        )),
        "config.toml:3: providers.smsc.host: missing; the SMSC's host name or IP address
config.toml:3: providers.smsc.password: missing; the account's password at the provider
config.toml:5: providers.smsc.system_id: has at most 15 ASCII characters
config.toml:6: providers.smsc.window: must be a whole number from 1 to 1000
config.toml:7: providers.smsc.binds: must be a whole number from 1 to 64
config.toml:8: providers.smsc.from_ton: must be a whole number from 0 to 255
config.toml:9: providers.smsc.from: has at most 11 ASCII characters"
    );
}

#[test]
fn push_accounts_have_defaults_and_their_problems_are_named() {
    let account = |kind: &str, keys: &str| {
        format!(
            "{LEAST}[providers.app]\nkind = \"{kind}\"\napp_key = \"k\"\nmaster_secret = \"hunter2\"\n{keys}"
        )
    };
    let config = parse(&account("jpush", ""));
    let provider = &config.providers["app"];
    let ProviderKind::Jpush(jpush) = &provider.kind else { panic!() };
    assert_eq!((jpush.base_url.as_str(), jpush.ttl.as_secs()), ("https://api.jpush.cn", 86_400));
    assert!(!jpush.batch && jpush.apns_production && !format!("{config:?}").contains("hunter2"));
    assert!(provider.carries(Channel::Push) && !provider.carries(Channel::Sms));
    assert!(!provider.kind.takes_idempotency_key());
    let derived = parse(&account("jpush", "cid = \"derived\"\n"));
    assert!(derived.providers["app"].kind.takes_idempotency_key());

    let config = parse(&account("getui", "app_id = \"a1\"\nbase_url = \"http://127.0.0.1:9/v2/\"\n"));
    let provider = &config.providers["app"];
    let ProviderKind::Getui(getui) = &provider.kind else { panic!() };
    assert_eq!((getui.base_url.as_str(), getui.batch.get()), ("http://127.0.0.1:9/v2", 200));
    assert!(provider.kind.takes_idempotency_key() && getui.vendor_channels);
    assert_eq!(
        problems(&account("getui", "app_id = \"a/1\"\nbatch = 201\nttl = \"4d\"\n")),
        "config.toml:7: providers.app.app_id: must be letters and digits, as Getui's console shows it
config.toml:8: providers.app.batch: must be a whole number from 1 to 200
config.toml:9: providers.app.ttl: is above Getui's limit of three days"
    );
    assert_eq!(
        problems(&format!("{LEAST}[providers.app]\nkind = \"jpush\"\nttl = \"11d\"\ncid = \"mine\"\n")),
        "config.toml:3: providers.app.app_key: missing; the app's AppKey, from JPush's console
config.toml:3: providers.app.master_secret: missing; the app's Master Secret, from JPush's console
config.toml:5: providers.app.ttl: is above JPush's limit of ten days
config.toml:6: providers.app.cid: `mine` is none of fetched, derived"
    );
}

#[test]
fn bounces_and_signatures_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    std::fs::write(dir.path().join("dkim.pem"), key).unwrap();
    let read = |text: &str| Config::parse(&dir.path().join("config.toml"), text, &Environment::new());
    let relay = format!("{LEAST}{RELAY}verp_domain = \"B.example.com\"\n");
    let dkim =
        "[[providers.relay.dkim]]\ndomain = \"example.com\"\nselector = \"s1\"\nkey_file = \"dkim.pem\"\n";
    let bounces = "[bounces]\nlmtp = \"127.0.0.1:2424\"\nmaildir = \"bounces\"\n";
    let config = read(&format!("{relay}{dkim}{bounces}")).unwrap();
    assert_eq!(smtp(&config).verp_domain.as_deref(), Some("b.example.com"));
    let [signer] = smtp(&config).dkim.as_slice() else { panic!() };
    assert_eq!((signer.domain.as_str(), signer.selector.as_str()), ("example.com", "s1"));
    assert_eq!(signer.key.reveal(), key.trim_end());
    assert!(!format!("{config:?}").contains("c2VjcmV0"));
    assert_eq!(config.bounces.maildir, Some(dir.path().join("bounces")));
    assert!(config.bounces.lmtp.is_some() && !config.bounces.message_ids);
    assert!(config.warnings().iter().all(|warning| !warning.contains("verp_domain")));
    let unread = read(&relay).unwrap().warnings();
    assert!(unread.iter().any(|warning| warning.starts_with("providers.relay.verp_domain: ")), "{unread:?}");

    let found = problems(&format!(
        "{relay}return_path = \"bounces@example.com\"\ndkim = {{ domain = \"nodot\", key = \"x\" }}\n"
    ));
    for part in [
        "relay.verp_domain: stands beside `return_path`",
        "relay.dkim.selector: missing",
        "relay.dkim.domain: must be a domain",
        "relay.dkim.key: is no private key in PEM",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
}
