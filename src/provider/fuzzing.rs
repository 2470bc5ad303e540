//! What must hold of every call of the public listener in a provider's name.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::sms::pairs;
use super::{Hook, HookRequest, aliyun, mailhook, tencent, twilio, webhook, wechat};
use crate::config::{Config, Environment, ProviderConfig, ProviderKind};
use crate::fuzzing::assert_kept;
use crate::model::Receipt;
use crate::model::receipt::About;

const PUBLIC_URL: &str = "https://track.example";
const SECRET_PATH: &str = "0123456789abcdef-secret";
const SIGNING_KEY: [u8; 32] = [7; 32];
const MAILGUN_KEY: &str = "mailgun-signing-key";
const TWILIO_TOKEN: &str = "twilio-auth-token";

/// One account of each kind that is called.
pub(crate) struct Accounts(Vec<(ProviderConfig, Arc<dyn Hook>)>);

impl Accounts {
    pub(crate) fn new() -> Self {
        let text = configuration();
        let config = Config::parse(Path::new("config.toml"), &text, &Environment::new());
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        Accounts(config.providers.into_values().map(|account| (account.clone(), hook(&account))).collect())
    }

    /// A call as text: its account, method and target in the first line, then headers, an empty line, the body.
    pub(crate) fn called(&self, input: &[u8]) {
        let Some((account, request)) = read(input) else { return };
        let Some((settings, hook)) = self.0.iter().find(|(settings, _)| settings.name == account) else {
            return;
        };
        let refusal = hook.receive(&request).expect_err("nobody signed it");
        // A certificate of SES's would have to be fetched first.
        assert!(refusal.status.is_client_error() || account == "ses", "{refusal:?}");
        assert_says_no_secret(&refusal.detail, input);

        let Some(signed) = signed(settings, request) else { return };
        match (hook.receive(&signed), hook.receive(&signed)) {
            (Ok(first), Ok(again)) => {
                let ids =
                    |receipts: &[Receipt]| receipts.iter().map(|receipt| receipt.id).collect::<Vec<_>>();
                assert_eq!(ids(&first.receipts), ids(&again.receipts), "repeats have the same ids");
                first.receipts.iter().for_each(|receipt| assert_told(account, receipt));
            }
            (Err(refusal), Err(_)) => {
                assert!(refusal.status.is_client_error(), "{refusal:?}");
                assert_says_no_secret(&refusal.detail, input);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn configuration() -> String {
    let sendgrid = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/UmzyRA+GI5gUwUiAlND0jZ48M3QdKDLPItu+cE8UdJpWzA9O+azTjKTopdw4m3izwf2V5/95q2gSOsv0ClCvA==";
    let relay = "kind = \"smtp\"\nhost = \"mx.example\"\nfrom = \"news@shop.example\"\n";
    format!(
        "[store]\nurl = \"sqlite:x.db\"
[providers.bridge]\nkind = \"webhook\"\nurl = \"https://bridge.example/in\"\nsecret = \"whsec_{webhook}\"
[providers.twilio]\nkind = \"twilio\"\naccount_sid = \"AC1\"\nauth_token = \"{TWILIO_TOKEN}\"\nfrom = \"+15005550006\"
[providers.aliyun]\nkind = \"aliyun\"\naccess_key_id = \"k\"\naccess_key_secret = \"s\"\nhook_secret = \"{SECRET_PATH}\"
[providers.tencent]\nkind = \"tencent\"\nsecret_id = \"i\"\nsecret_key = \"k\"\nsdk_app_id = \"1400006666\"\nhook_secret = \"{SECRET_PATH}\"
[providers.wechat]\nkind = \"wechat\"\napp_id = \"wx1\"\napp_secret = \"s\"\ncallback_token = \"a-callback-token\"
[providers.mailgun]\n{relay}[providers.mailgun.hook]\nkind = \"mailgun\"\nsigning_key = \"{MAILGUN_KEY}\"
[providers.postmark]\n{relay}[providers.postmark.hook]\nkind = \"postmark\"\nsecret = \"{SECRET_PATH}\"
[providers.sendgrid]\n{relay}[providers.sendgrid.hook]\nkind = \"sendgrid\"\npublic_key = \"{sendgrid}\"
[providers.ses]\n{relay}[providers.ses.hook]\nkind = \"ses\"\ntopic = \"arn:aws:sns:eu-west-1:123456789012:mail\"\n",
        webhook = STANDARD.encode(SIGNING_KEY),
    )
}

fn hook(account: &ProviderConfig) -> Arc<dyn Hook> {
    let name = account.name.as_str();
    let hook = match &account.kind {
        ProviderKind::Webhook(settings) => Some(webhook::hook(name, settings)),
        ProviderKind::Twilio(settings) => Some(twilio::hook(name, settings, PUBLIC_URL)),
        ProviderKind::Aliyun(settings) => aliyun::hook(name, settings),
        ProviderKind::Tencent(settings) => tencent::hook(name, settings),
        ProviderKind::Wechat(settings) => wechat::hook(name, settings),
        ProviderKind::Smtp(smtp) => {
            smtp.hook.as_ref().map(|hook| mailhook::hook(name, &smtp.from, hook).expect("good settings"))
        }
        other => panic!("{other:?}"),
    };
    hook.expect("an account that is called")
}

fn read(input: &[u8]) -> Option<(&str, HookRequest)> {
    let end = memchr::memmem::find(input, b"\n\n").unwrap_or(input.len());
    let (head, body) = input.split_at(end);
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let mut first = lines.next()?.splitn(3, ' ');
    let (account, method, target) = (first.next()?, first.next()?, first.next().unwrap_or_default());
    let (tail, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?);
    }
    let request = HookRequest {
        method: method.parse().unwrap_or(Method::POST),
        tail: tail.to_owned(),
        query: query.to_owned(),
        headers,
        body: Bytes::copy_from_slice(body.get(2..).unwrap_or_default()),
        peer: [127, 0, 0, 1].into(),
    };
    Some((account, request))
}

/// The call as the provider itself would make it; `None` where that takes a key that is nobody's.
fn signed(account: &ProviderConfig, mut request: HookRequest) -> Option<HookRequest> {
    let now = Timestamp::now().as_second().to_string();
    match account.name.as_str() {
        "bridge" => {
            let text = [b"msg_1.", now.as_bytes(), b".", &request.body].concat();
            let mac = sign(&Key::new(HMAC_SHA256, &SIGNING_KEY), &text);
            put(&mut request, "webhook-id", "msg_1");
            put(&mut request, "webhook-timestamp", &now);
            put(&mut request, "webhook-signature", &format!("v1,{}", STANDARD.encode(mac)));
        }
        "twilio" => {
            let mut fields = pairs(std::str::from_utf8(&request.body).ok()?)?;
            fields.sort_unstable();
            fields.dedup();
            let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
            let fields: String = fields.into_iter().map(|(key, value)| key + &value).collect();
            let text = format!("{PUBLIC_URL}/hooks/twilio{query}{fields}");
            let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, TWILIO_TOKEN.as_bytes());
            put(&mut request, "x-twilio-signature", &STANDARD.encode(sign(&key, text.as_bytes())));
        }
        "mailgun" => {
            let mut call: Value = serde_json::from_slice(&request.body).ok()?;
            let token = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &request.body));
            let mac =
                sign(&Key::new(HMAC_SHA256, MAILGUN_KEY.as_bytes()), format!("{now}{token}").as_bytes());
            let signature = json!({"timestamp": now, "token": token, "signature": hex::encode(mac)});
            call.as_object_mut()?.insert("signature".to_owned(), signature);
            request.body = serde_json::to_vec(&call).ok()?.into();
        }
        "aliyun" | "tencent" | "postmark" => SECRET_PATH.clone_into(&mut request.tail),
        _ => return None,
    }
    Some(request)
}

fn put(request: &mut HookRequest, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("a header's value");
    request.headers.insert(HeaderName::from_static(name), value);
}

fn assert_told(account: &str, receipt: &Receipt) {
    match &receipt.about {
        About::Reference { provider, reference } => assert!(provider == account && !reference.is_empty()),
        About::Address { address, .. } => assert!(!address.is_empty()),
        About::Delivery(_) => {}
    }
    let latest = Timestamp::now() + SignedDuration::from_secs(1);
    assert!(receipt.at <= latest, "what has been told has happened: {receipt:?}");
    assert_kept(receipt);
}

/// But to those who wrote it themselves.
fn assert_says_no_secret(detail: &str, input: &[u8]) {
    for secret in [SECRET_PATH, MAILGUN_KEY, TWILIO_TOKEN] {
        let known = memchr::memmem::find(input, secret.as_bytes()).is_some();
        assert!(known || !detail.contains(secret), "{detail}");
    }
}
