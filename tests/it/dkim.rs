//! Our signatures, verified by a program that shares no line with ours.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use campaignd::dispatch::{EmailSender, Format, Labels, ReturnPath, compose};
use campaignd::model::content::EmailContent;
use campaignd::model::{CampaignNo, ContactNo, Content, DeliveryKey, Purpose};
use campaignd::provider::Body;
use campaignd::render::dkim::Signer;
use campaignd::token::{Key, Keyring};
use jiff::Timestamp;

/// Keys of both kinds, and their public halves as the name service has them.
struct Keys {
    signers: Arc<[Signer]>,
    records: [String; 2],
}

fn keys() -> Keys {
    let rsa = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let signer = |selector: &str, der: &[u8]| {
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
        Signer::new("shop.example".to_owned(), selector.to_owned(), &pem).unwrap()
    };
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(rsa.public_key()).unwrap();
    let records = [("r1", public.as_ref()), ("e1", ed25519.public_key().as_ref())];
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
    Keys {
        signers: [signer("r1", private.as_ref()), signer("e1", ed25519.to_pkcs8v1().unwrap().as_ref())]
            .into(),
        records: records.map(|(selector, key)| {
            format!("{selector}._domainkey.shop.example=v=DKIM1; p={}", STANDARD.encode(key))
        }),
    }
}

/// A message as it would travel.
fn signed(keys: &Keys, content: EmailContent) -> Vec<u8> {
    let sender = EmailSender {
        from: "Späti <news@shop.example>".parse().unwrap(),
        reply_to: None,
        return_path: ReturnPath::From,
        list_id: Some("news.shop.example".to_owned()),
        unsubscribe_mailto: None,
        label: None,
        dkim: keys.signers.clone(),
    };
    let labels = Labels {
        delivery: DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(2), occurrence: 0 },
        campaign: &"spring".into(),
        purpose: Purpose::Marketing,
        attempt: 1,
        at: Timestamp::now(),
        to: "anna@example.com",
        unsubscribe: Some(
            "https://mail.shop.example/u/a-long-token-that-makes-the-header-fold-somewhere-0123456789",
        ),
        keyring: &Keyring::new(Key::new(0, &[7; 32]), Vec::new()),
    };
    let message = compose(Content::Email(content), &Format::Mime(Arc::new(sender)), labels).unwrap();
    let Body::Email(email) = message.body else { panic!("no mail") };
    email.content.to_vec()
}

/// What `tests/python/dkim.py` says of the message; without it, or without Python, the test fails.
fn verified(keys: &Keys, message: &[u8]) -> Result<String, String> {
    let mut python = Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/dkim.py"))
        .args(&keys.records)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3, which scripts/setup installs");
    python.stdin.take().unwrap().write_all(message).unwrap();
    let output = python.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn content(text: &str) -> EmailContent {
    EmailContent {
        subject: "Frühling  is here".to_owned(),
        html: Some(format!("<p>{text}</p>\n\n")),
        text: format!("{text}  \n\ttabs\t and  blanks \n\n\n"),
        ..EmailContent::default()
    }
}

#[test]
fn another_program_finds_our_signatures_good() {
    let keys = keys();
    let message = signed(&keys, content("Grüße an Anna"));
    let headers = "from:to:subject:date:message-id:mime-version:content-type:list-id:list-unsubscribe:\
                   list-unsubscribe-post:feedback-id:from";
    assert_eq!(
        verified(&keys, &message).unwrap(),
        format!("shop.example rsa-sha256 {headers}\nshop.example ed25519-sha256 {headers}\n")
    );
}

#[test]
fn what_is_changed_on_the_way_is_found() {
    let keys = keys();
    let message = String::from_utf8(signed(&keys, content("Hello Anna"))).unwrap();
    for (from, to) in [
        ("Hello Anna", "Hello Emma"),
        ("To: <anna@", "To: <emma@"),
        ("List-Unsubscribe=One-Click", "List-Unsubscribe=Two-Clicks"),
        ("https://mail.shop.example/u/a", "https://mail.shop.example/u/b"),
        ("\r\nFrom: ", "\r\nFrom: <boss@shop.example>\r\nFrom: "),
    ] {
        let changed = message.replacen(from, to, 1);
        assert_ne!(changed, message, "{from}");
        let complaint = verified(&keys, changed.as_bytes()).unwrap_err();
        assert!(complaint.contains("AssertionError"), "{from}: {complaint}");
    }
}
