//! Captured calls are believed, and nothing that differs from them in a byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use campaignd_loadtest::mailhooks::{Call, SendGrid, mailgun, postmark};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::Secret;
use crate::provider::mailhook::mailgun::MailgunHook;
use crate::provider::mailhook::postmark::PostmarkHook;
use crate::provider::mailhook::sendgrid::SendGridHook;
use crate::provider::mailhook::sns::{Envelope, SigningKey};
use crate::provider::mailhook::{OLDEST, YOUNGEST};

/// Accepted by SendGrid's own library, sendgrid 6.12.5 for Python.
const SENDGRID_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/UmzyRA+GI5gUwUiAlND0jZ48M3QdKDLPItu+cE8UdJpWzA9O+azTjKTopdw4m3izwf2V5/95q2gSOsv0ClCvA==";
const SENDGRID_SIGNATURE: &str =
    "MEQCICGi/P7G2TdKzOiykjC21KkyvsBfCdItc47iaGjWVBJ0AiAR0yARWIOYp9dxrSh/jgiiuE8aZyOB+eyk+h0f8WXK3g==";
const SENDGRID_BODY: &[u8] = b"[{\"email\":\"user@example.com\",\"timestamp\":1795219200,\"smtp-id\":\"<x@y>\",\"event\":\"bounce\",\"category\":[\"c1\"],\"sg_event_id\":\"evt1\",\"sg_message_id\":\"msg1.filter\",\"reason\":\"550 5.1.1 unknown\",\"status\":\"5.1.1\",\"type\":\"bounce\"}]\r\n";

/// Made by Python's `cryptography` with the private half.
const RSA_PUBLIC_KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0KWaMCli7CMFKiKXZ4koIPpu/dnvZNdQW4y+kFbSuTSpGmf8tp4ICLOgFCeAUSVYMAlkHnGOKeep87BPGQkXmUB8ljuNPfqH+9EDZnzjBefEvgumpabg/O2xi0W9ghqt43XE6Ic5WiE/Dl1X+BkyQvqfas+QwsfA09lI40eQbVUSyaTaB1nyEt8Y/x5WbxKT73Q9oVfrXLJuA3S/e3gJzELiOxqWcYkJsHJxYXYdhIGj7mlFhdBXtlvCdhCJSG3wgTHgwa5AjilouLpAoI0wSrUFPPQeudlVyxkVafKoQ3i0KIu4aVxaIeJRUKwa2K5s3Un7RKIoHaOZee2sltWdzwIDAQAB";
const SNS_V1: &str = "OUZpZ+JviBfTXBdKFWyRkU2RXHB444F6Van319kiVxsI5X/ZaydMZ2XfOXyPSZWLOrxB78XEmv1jCIgT6mZBjcLJC/pU4TReiW040H3HIs5n6BIW5kKPhJVrYie8ojZte8P3Fd/AfWCqIO81kpBnApb3d6arn15igmsSoDZmwgSv+r18JYsVFFEWVaXISwhF+mfatK1SWJVgaNXWddUrkxlrZP+7Rmxs3519arZC9I5m7WtkbN0qwHsiKDamzYM9rauZ6UXIsiCkiiPpwqdW3GRj9OIMl9ECXXuOyLyhuoWyqxnAShE66fjaWDowDZZLPohlOwx8AFWNtak6AH7r0g==";
const SNS_V2: &str = "XjI7G6dMzvq3x7gA21NpDevrPhzvGsgWgzlYt5vnYvt/UrV1hOLjYMp4AdkuXlIfVBK7XNGf9VgL2td8rW4lTRN0Vxw9HR2RoDN2jEHFfhgvyJ8tl7Hw+KcdD2jzbJKy8as+2CX3+42kuji/Z55A79k7ct7uALeBmoQVPo82oysdUjWLBR8itQBD3E3cEiKTxMga1huFq9Zwsra7sf34r/jZB5WPwog4mz3lTqI3N51ubskOztHE+mZo+Ng/A0L5ajKt7TaXhGLj1UrXtZV7zG9YpAUYEQ15YdkNl3DIROd0zHZvNHxtMqRdrgYlf7zipNiP1NHZYT0834n5ZoR+tw==";

fn sendgrid() -> (SendGridHook, Call) {
    let hook = SendGridHook::new("relay", &STANDARD.decode(SENDGRID_KEY).unwrap()).unwrap();
    let headers = vec![
        ("x-twilio-email-event-webhook-signature", SENDGRID_SIGNATURE.to_owned()),
        ("x-twilio-email-event-webhook-timestamp", SIGNED_AT.to_string()),
    ];
    (hook, Call { headers, body: SENDGRID_BODY.to_vec() })
}

#[test]
fn sendgrids_own_call_is_believed_for_a_day() {
    let (hook, call) = sendgrid();
    let request = request(&call);
    for now in [SIGNED_AT, SIGNED_AT - YOUNGEST, SIGNED_AT + OLDEST] {
        assert_eq!(receipts(hook.receive_at(&request, at(now))).len(), 1);
    }
    for now in [SIGNED_AT - YOUNGEST - 1, SIGNED_AT + OLDEST + 1] {
        assert_eq!(refused(hook.receive_at(&request, at(now))), 400);
    }
}

#[test]
fn sendgrid_calls_without_their_signature_are_refused() {
    let (hook, call) = sendgrid();
    for missing in 0..2 {
        let mut headers = call.headers.clone();
        headers.remove(missing);
        assert_eq!(refused(hook.receive_at(&request(&Call { headers, ..call.clone() }), at(SIGNED_AT))), 401);
    }
    let later = vec![call.headers[0].clone(), (call.headers[1].0, (SIGNED_AT + 1).to_string())];
    let later = Call { headers: later, ..call.clone() };
    assert_eq!(refused(hook.receive_at(&request(&later), at(SIGNED_AT))), 401);
    let stranger = SendGrid::new().unwrap().call(SIGNED_AT, &json!([])).unwrap();
    assert_eq!(refused(hook.receive_at(&request(&stranger), at(SIGNED_AT))), 401);
    assert!(SendGridHook::new("relay", &STANDARD.decode(RSA_PUBLIC_KEY).unwrap()).is_none());
    let got = HookRequest { method: Method::GET, ..request(&call) };
    assert_eq!(refused(hook.receive_at(&got, at(SIGNED_AT))), 405);
}

/// The HMAC was made by Python's standard library.
#[test]
fn mailguns_vector_is_believed_once() {
    let hook = MailgunHook::new("relay", &Secret::new("key-test"));
    let call = |event: &str| {
        let body = json!({
            "signature": {
                "timestamp": SIGNED_AT.to_string(),
                "token": "a".repeat(50),
                "signature": "d29e1a196a975568c26e72f3f3004cf24f854aa498b7e63ac511a543ff18025a",
            },
            "event-data": {"id": "e1", "event": event},
        });
        request(&Call { headers: Vec::new(), body: body.to_string().into_bytes() })
    };
    assert_eq!(refused(hook.receive_at(&call("opened"), at(SIGNED_AT + OLDEST + 1))), 406);
    assert_eq!(refused(hook.receive_at(&call("opened"), at(SIGNED_AT - YOUNGEST - 1))), 406);
    for _ in 0..2 {
        assert!(receipts(hook.receive_at(&call("opened"), at(SIGNED_AT))).is_empty());
    }
    // The signature does not cover the event, so that whoever has seen one call could write another.
    assert_eq!(refused(hook.receive_at(&call("complained"), at(SIGNED_AT))), 406);
    let other = MailgunHook::new("relay", &Secret::new("key-tesu"));
    assert_eq!(refused(other.receive_at(&call("opened"), at(SIGNED_AT))), 406);
}

#[test]
fn postmark_is_believed_by_each_secret_that_is_configured() {
    let (login, path) = (("hooks".to_owned(), Secret::new("s3cret")), Secret::new("0123456789abcdef"));
    let event = json!({"RecordType": "Delivery", "MessageID": "m1", "Recipient": "a@example.com"});
    let call = |login, tail: &str| {
        let request = request(&postmark(login, &event));
        HookRequest { tail: tail.to_owned(), ..request }
    };
    let right = Some(("hooks", "s3cret"));
    for (hook, login, tail, refusal) in [
        (PostmarkHook::new("relay", Some(&login), None), right, "", None),
        (PostmarkHook::new("relay", Some(&login), None), None, "", Some(401)),
        (PostmarkHook::new("relay", Some(&login), None), Some(("hooks", "s3cres")), "", Some(401)),
        (PostmarkHook::new("relay", None, Some(&path)), None, "0123456789abcdef", None),
        (PostmarkHook::new("relay", None, Some(&path)), right, "0123456789abcdee", Some(404)),
        (PostmarkHook::new("relay", None, Some(&path)), None, "", Some(404)),
        (PostmarkHook::new("relay", Some(&login), Some(&path)), right, "0123456789abcdef", None),
        (PostmarkHook::new("relay", Some(&login), Some(&path)), right, "", Some(404)),
        (PostmarkHook::new("relay", Some(&login), Some(&path)), None, "0123456789abcdef", Some(401)),
    ] {
        let answer = hook.receive_at(&call(login, tail), at(SIGNED_AT));
        assert_eq!(answer.err().map(|refusal| refusal.status.as_u16()), refusal, "{login:?} {tail}");
        assert!(!format!("{hook:?}").contains("s3cret") && !format!("{hook:?}").contains("0123"));
    }
}

fn envelope(version: &str, signature: &str, message: &str) -> Envelope {
    let body = json!({
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:us-west-2:123456789012:ses",
        "Message": message,
        "Timestamp": "2026-11-21T00:00:00.000Z",
        "SignatureVersion": version,
        "Signature": signature,
        "SigningCertURL": "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem",
    });
    serde_json::from_value(body).unwrap()
}

#[test]
fn both_versions_of_sns_signatures_are_checked() {
    const MESSAGE: &str = r#"{"notificationType":"Bounce"}"#;
    let key = SigningKey::of_public_key(&STANDARD.decode(RSA_PUBLIC_KEY).unwrap()).unwrap();
    assert!(key.signed(&envelope("1", SNS_V1, MESSAGE)) && key.signed(&envelope("2", SNS_V2, MESSAGE)));
    for (version, signature) in [("1", SNS_V2), ("2", SNS_V1), ("3", SNS_V2), ("2", ""), ("2", "AAAA")] {
        assert!(!key.signed(&envelope(version, signature, MESSAGE)), "{version}");
    }
    let with_subject = Envelope { subject: Some("x".to_owned()), ..envelope("2", SNS_V2, MESSAGE) };
    assert!(!key.signed(&with_subject));
}

proptest! {
    #[test]
    fn one_changed_byte_is_noticed(byte: prop::sample::Index, bit in 0..7u8) {
        let (hook, mut call) = sendgrid();
        let place = byte.index(call.body.len());
        call.body[place] ^= 1 << bit;
        prop_assert_eq!(refused(hook.receive_at(&request(&call), at(SIGNED_AT))), 401);

        let key = SigningKey::of_public_key(&STANDARD.decode(RSA_PUBLIC_KEY).unwrap()).unwrap();
        let mut message = br#"{"notificationType":"Bounce"}"#.to_vec();
        let place = byte.index(message.len());
        message[place] ^= 1 << bit;
        let message = String::from_utf8(message).unwrap();
        prop_assert!(!key.signed(&envelope("1", SNS_V1, &message)));
        prop_assert!(!key.signed(&envelope("2", SNS_V2, &message)));
    }

    #[test]
    fn no_body_breaks_the_readers(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let call = Call { headers: Vec::new(), body };
        let hook = MailgunHook::new("relay", &Secret::new("key-test"));
        prop_assert!(hook.receive_at(&request(&call), at(SIGNED_AT)).is_err());
        let hook = PostmarkHook::new("relay", None, Some(&Secret::new("")));
        prop_assert!(hook.receive_at(&request(&call), at(SIGNED_AT)).is_err());
    }

    #[test]
    fn mailguns_signature_covers_timestamp_and_token(key in "[a-z]{1,80}", token in "[a-z0-9]{50}") {
        let hook = MailgunHook::new("relay", &Secret::new(&*key));
        let call = mailgun(&key, SIGNED_AT, &token, &json!({"id": "e", "event": "opened"}));
        prop_assert!(hook.receive_at(&request(&call), at(SIGNED_AT)).is_ok());
        let text = String::from_utf8(call.body).unwrap();
        let later = text.replace(&SIGNED_AT.to_string(), &(SIGNED_AT + 1).to_string());
        let later = Call { headers: Vec::new(), body: later.into_bytes() };
        prop_assert_eq!(refused(hook.receive_at(&request(&later), at(SIGNED_AT))), 406);
    }
}
