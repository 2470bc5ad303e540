//! SES over a topic that signs by itself: its certificate is fetched once, from nowhere else than the topic's host.

use std::sync::Arc;

use campaignd_loadtest::mailhooks::Sns;
use serde_json::{Value, json};

use super::events::{bounced, news, with};
use super::*;
use crate::config::SesHookSettings;
use crate::model::receipt::{About, Bounce, News};
use crate::model::{Channel, Reason};
use crate::provider::Hook as _;
use crate::provider::certificate::certificate;
use crate::provider::mailhook::ses::SesHook;
use crate::provider::mailhook::{OLDEST, YOUNGEST};

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:mail";

/// A certificate in PEM and its RSA key.
fn signer() -> (String, Vec<u8>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let names = vec!["sns.amazonaws.com".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_der())
}

async fn topic(tls: Option<tokio_rustls::TlsAcceptor>) -> Sns {
    let (pem, key) = signer();
    Sns::start("127.0.0.1:0", TOPIC, pem, &key, tls).await.unwrap()
}

fn settings(sns: &Sns) -> SesHookSettings {
    SesHookSettings {
        topic: TOPIC.to_owned(),
        base_url: sns.server.url(),
        ca_file: None,
        certificate_file: None,
        configuration_set: None,
    }
}

fn hook(settings: &SesHookSettings) -> SesHook {
    SesHook::new("relay", "Shop <news@send.example.com>", settings).unwrap()
}

async fn call(hook: &SesHook, request: &HookRequest) -> Result<HookAnswer, HookRefusal> {
    hook.prepare(request).await?;
    hook.receive(request)
}

fn event(kind: &str, more: &Value) -> Value {
    let mail = json!({
        "timestamp": "2026-11-20T00:00:00.000Z",
        "messageId": "0100-1",
        "destination": ["anna@example.com"],
        "tags": {"ses:configuration-set": ["news"], "campaignd_delivery": ["12-345-0"]},
    });
    with(json!({"eventType": kind, "mail": mail}), more)
}

fn bounce(kind: &str, sub_type: &str, status: &str, words: &str) -> Value {
    let recipient = json!({"emailAddress": "anna@example.com", "status": status, "diagnosticCode": words});
    let bounce = json!({"bounceType": kind, "bounceSubType": sub_type, "bouncedRecipients": [recipient], "timestamp": "2026-11-20T00:01:00.000Z"});
    event("Bounce", &json!({"bounce": bounce}))
}

#[tokio::test]
async fn a_subscription_is_confirmed_and_the_certificate_fetched_once() {
    let (acceptor, ca) = certificate();
    let sns = topic(Some(acceptor)).await;
    let hook = Arc::new(hook(&SesHookSettings { ca_file: Some(ca.path().to_owned()), ..settings(&sns) }));
    call(&hook, &request(&sns.confirmation(&sns.subscribe_url()).unwrap())).await.unwrap();
    for _ in 0..3 {
        let notification = sns.notification(&event("Delivery", &json!({"delivery": {"recipients": ["anna@example.com"], "timestamp": "2026-11-20T00:01:00.000Z"}})).to_string());
        let receipts = receipts(call(&hook, &request(&notification.unwrap())).await);
        assert_eq!(news(&receipts), [News::Delivered]);
        assert_eq!(receipts[0].at, "2026-11-20T00:01:00Z".parse().unwrap());
    }
    let targets: Vec<_> = sns.server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets.len(), 2, "{targets:?}");
    assert!(targets[0].ends_with(".pem") && targets[1].contains("Token=t0ken"), "{targets:?}");
}

#[tokio::test]
async fn what_the_topic_did_not_sign_is_refused() {
    let (sns, stranger) = (topic(None).await, topic(None).await);
    let hook = hook(&settings(&sns));
    let plain = sns.notification("Successfully validated SNS topic.").unwrap();
    assert!(receipts(call(&hook, &request(&plain)).await).is_empty());

    let changed = |from: &str, to: &str| {
        let body = String::from_utf8(plain.body.clone()).unwrap();
        assert!(body.contains(from), "{from}");
        request(&Call { body: body.replace(from, to).into_bytes(), ..plain.clone() })
    };
    for (from, to) in [
        ("Successfully", "successfully"),
        (TOPIC, "arn:aws:sns:eu-west-1:999999999999:mail"),
        (&sns.server.url(), &stranger.server.url()),
        (".pem", ".xml"),
    ] {
        assert_eq!(refused(call(&hook, &changed(from, to)).await), 403, "{from}");
    }
    assert_eq!(refused(call(&hook, &request(&stranger.notification("x").unwrap())).await), 403);
    assert_eq!(refused(call(&hook, &request(&Call::default())).await), 400);
    assert!(stranger.server.requests().is_empty(), "asked a host that is not the topic's");
}

#[tokio::test]
async fn a_call_is_believed_for_a_day_and_not_before_its_time() {
    let sns = topic(None).await;
    let hook = hook(&settings(&sns));
    let call = request(&sns.notification_of(SIGNED_AT, "Successfully validated SNS topic.").unwrap());
    hook.prepare(&call).await.unwrap();
    for now in [SIGNED_AT, SIGNED_AT + OLDEST, SIGNED_AT - YOUNGEST] {
        assert!(receipts(hook.receive_at(&call, at(now))).is_empty());
    }
    for now in [SIGNED_AT + OLDEST + 1, SIGNED_AT - YOUNGEST - 1] {
        assert_eq!(refused(hook.receive_at(&call, at(now))), 403);
    }
}

#[tokio::test]
async fn a_confirmation_leads_nowhere_else() {
    let (sns, stranger) = (topic(None).await, topic(None).await);
    let hook = hook(&settings(&sns));
    for url in
        [stranger.subscribe_url(), sns.certificate_url(), format!("{}.evil.example/", sns.server.url())]
    {
        assert_eq!(refused(call(&hook, &request(&sns.confirmation(&url).unwrap())).await), 403, "{url}");
    }
    assert!(stranger.server.requests().is_empty());
    assert!(sns.server.requests().iter().all(|request| request.target.ends_with(".pem")));
}

#[tokio::test]
async fn sns_is_asked_again_while_the_certificate_cannot_be_had() {
    let sns = topic(None).await;
    let hook = hook(&settings(&sns));
    let notification = sns.notification("x").unwrap();
    let body = String::from_utf8(notification.body.clone()).unwrap();
    let absent = body.replace("SimpleNotificationService-", "SimpleNotificationService-f");
    let absent = request(&Call { body: absent.into_bytes(), ..notification.clone() });
    assert_eq!(refused(call(&hook, &absent).await), 503);
    assert_eq!(refused(hook.receive(&request(&notification))), 503);
    sns.server.stop().await;
    assert_eq!(refused(call(&hook, &request(&notification)).await), 503);
}

#[tokio::test]
async fn a_certificate_in_a_file_needs_no_network() {
    let (pem, key) = signer();
    let sns = Sns::start("127.0.0.1:0", TOPIC, String::new(), &key, None).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let pinned = SesHookSettings { certificate_file: Some(file.path().to_owned()), ..settings(&sns) };
    let pinned_hook = hook(&pinned);
    assert!(receipts(call(&pinned_hook, &request(&sns.notification("x").unwrap())).await).is_empty());
    assert!(sns.server.requests().is_empty());
    std::fs::write(file.path(), "no certificate").unwrap();
    let error = SesHook::new("relay", "news@send.example.com", &pinned).unwrap_err().to_string();
    assert!(error.starts_with("certificate_file "), "{error}");
}

#[tokio::test]
async fn the_events_of_ses() {
    let sns = topic(None).await;
    let hook = hook(&settings(&sns));
    let complaint = |kind: Value| {
        let complaint = json!({"complainedRecipients": [{"emailAddress": "anna@example.com"}], "complaintFeedbackType": kind});
        event("Complaint", &json!({"complaint": complaint}))
    };
    let preferences = |all: bool| json!({"subscription": {"newTopicPreferences": {"unsubscribeAll": all}}});
    let dead = || bounced(Bounce::Hard, Reason::UnknownRecipient);
    for (event, wanted) in [
        (event("Send", &json!({"send": {}})), vec![News::Accepted]),
        (event("DeliveryDelay", &json!({"deliveryDelay": {}})), vec![News::Accepted]),
        (event("Open", &json!({"open": {}})), vec![]),
        (event("Click", &json!({"click": {}})), vec![]),
        (
            event("Reject", &json!({"reject": {"reason": "Bad content"}})),
            vec![bounced(Bounce::Block, Reason::MessageRefused)],
        ),
        (event("Subscription", &preferences(true)), vec![News::Unsubscribed]),
        (event("Subscription", &preferences(false)), vec![]),
        (complaint(json!("abuse")), vec![News::Complained]),
        (complaint(Value::Null), vec![News::Complained]),
        (complaint(json!("not-spam")), vec![]),
        (bounce("Permanent", "General", "5.1.1", "smtp; 550 5.1.1 user unknown"), vec![dead()]),
        (bounce("Permanent", "NoEmail", "", ""), vec![dead()]),
        (bounce("Permanent", "Suppressed", "5.1.1", "Amazon SES has suppressed sending"), vec![dead()]),
        (
            bounce("Permanent", "General", "5.7.1", "smtp; 550 5.7.1 blocked"),
            vec![bounced(Bounce::Block, Reason::PolicyRefused)],
        ),
        (bounce("Transient", "MailboxFull", "", ""), vec![bounced(Bounce::Soft, Reason::MailboxFull)]),
        (bounce("Transient", "General", "4.4.7", ""), vec![bounced(Bounce::Soft, Reason::RecipientRefused)]),
        (
            bounce("Transient", "ContentRejected", "", ""),
            vec![bounced(Bounce::Block, Reason::MessageRefused)],
        ),
        (
            bounce("Undetermined", "Undetermined", "", ""),
            vec![bounced(Bounce::Soft, Reason::RecipientRefused)],
        ),
    ] {
        let call = call(&hook, &request(&sns.notification(&event.to_string()).unwrap())).await;
        let receipts = receipts(call);
        assert_eq!(news(&receipts), wanted, "{event}");
        assert!(receipts.iter().all(|receipt| receipt.about == About::Delivery("12-345-0".parse().unwrap())));
    }
}

#[tokio::test]
async fn older_notifications_name_the_delivery_by_their_headers_or_only_the_address() {
    let sns = topic(None).await;
    let hook = hook(&settings(&sns));
    let mut notification = bounce("Permanent", "General", "5.1.1", "smtp; 550 5.1.1 unknown");
    let event = notification.as_object_mut().unwrap();
    let kind = event.remove("eventType").unwrap();
    event.insert("notificationType".to_owned(), kind);
    event["mail"]["tags"] = json!({});
    let anna = About::Address { channel: Channel::Email, address: "anna@example.com".to_owned() };
    for (message_id, wanted) in [
        ("<12.345.0@send.example.com>", About::Delivery("12-345-0".parse().unwrap())),
        ("<12.345.0@other.example>", anna.clone()),
        ("", anna),
    ] {
        notification["mail"]["headers"] = json!([{"name": "Message-ID", "value": message_id}]);
        let call = call(&hook, &request(&sns.notification(&notification.to_string()).unwrap())).await;
        let receipts = receipts(call);
        assert_eq!((receipts.len(), &receipts[0].about), (1, &wanted));
    }
}
