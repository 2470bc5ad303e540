//! What each event of SendGrid, Mailgun and Postmark is worth.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use campaignd_loadtest::mailhooks::{SendGrid, mailgun, postmark};
use serde_json::{Value, json};

use super::*;
use crate::config::Secret;
use crate::model::receipt::{About, Bounce, News};
use crate::model::{Channel, Reason};
use crate::provider::mailhook::mailgun::MailgunHook;
use crate::provider::mailhook::postmark::PostmarkHook;
use crate::provider::mailhook::sendgrid::SendGridHook;

pub(super) fn bounced(bounce: Bounce, reason: Reason) -> News {
    News::Bounced { bounce, reason }
}

fn dead() -> News {
    bounced(Bounce::Hard, Reason::UnknownRecipient)
}

fn blocked(reason: Reason) -> News {
    bounced(Bounce::Block, reason)
}

fn soft() -> News {
    bounced(Bounce::Soft, Reason::RecipientRefused)
}

/// `event` with `more` over it.
pub(super) fn with(mut event: Value, more: &Value) -> Value {
    let (Some(event_keys), Some(more)) = (event.as_object_mut(), more.as_object()) else {
        panic!("no objects")
    };
    event_keys.extend(more.clone());
    event
}

pub(super) fn news(receipts: &[Receipt]) -> Vec<News> {
    receipts.iter().map(|receipt| receipt.news.clone()).collect()
}

fn sent_by_sendgrid(events: &Value) -> Vec<Receipt> {
    let service = SendGrid::new().unwrap();
    let key = STANDARD.decode(service.public_key().unwrap()).unwrap();
    let hook = SendGridHook::new("relay", &key).unwrap();
    receipts(hook.receive_at(&request(&service.call(SIGNED_AT, events).unwrap()), at(SIGNED_AT)))
}

fn sendgrid_event(more: &Value) -> Value {
    let event = json!({
        "email": "anna@example.com", "timestamp": SIGNED_AT - 60, "sg_event_id": "e1",
        "sg_message_id": "m1", "campaignd_delivery": "12-345-0",
    });
    with(event, more)
}

#[test]
fn sendgrids_events() {
    let bounce = |more: &Value| with(json!({"event": "bounce", "type": "bounce"}), more);
    let dropped = |reason: &str| json!({"event": "dropped", "reason": reason});
    let left = || blocked(Reason::RecipientRefused);
    for (event, wanted) in [
        (json!({"event": "processed"}), vec![News::Accepted]),
        (json!({"event": "deferred", "response": "421 later"}), vec![News::Accepted]),
        (json!({"event": "delivered"}), vec![News::Delivered]),
        (json!({"event": "spamreport"}), vec![News::Complained]),
        (json!({"event": "unsubscribe"}), vec![News::Unsubscribed]),
        (json!({"event": "group_unsubscribe", "asm_group_id": 1}), vec![News::Unsubscribed]),
        (json!({"event": "group_resubscribe", "asm_group_id": 1}), vec![]),
        (json!({"event": "open"}), vec![]),
        (json!({"event": "click"}), vec![]),
        (json!({"event": "something_new"}), vec![]),
        (bounce(&json!({"status": "5.1.1", "reason": "550 5.1.1 unknown"})), vec![dead()]),
        (bounce(&json!({"reason": "550 5.7.1 spam"})), vec![blocked(Reason::PolicyRefused)]),
        (bounce(&json!({"bounce_classification": "Invalid Address"})), vec![dead()]),
        (bounce(&json!({"bounce_classification": "Reputation"})), vec![blocked(Reason::PolicyRefused)]),
        (bounce(&json!({"bounce_classification": "Mailbox Unavailable"})), vec![soft()]),
        (
            bounce(&json!({"status": "5.2.2", "reason": "552 full"})),
            vec![bounced(Bounce::Soft, Reason::MailboxFull)],
        ),
        (bounce(&json!({"type": "blocked", "status": "5.1.1"})), vec![blocked(Reason::PolicyRefused)]),
        (dropped("Bounced Address"), vec![dead()]),
        (dropped("Invalid"), vec![dead()]),
        (dropped("Unsubscribed Address"), vec![left(), News::Unsubscribed]),
        (dropped("Spam Reporting Address"), vec![left(), News::Complained]),
        (dropped("Spam Content"), vec![blocked(Reason::MessageRefused)]),
        (dropped("Recipient List over Package Quota"), vec![blocked(Reason::PolicyRefused)]),
    ] {
        let receipts = sent_by_sendgrid(&json!([sendgrid_event(&event)]));
        assert_eq!(news(&receipts), wanted, "{event}");
        assert!(receipts.iter().all(|receipt| receipt.about == About::Delivery("12-345-0".parse().unwrap())));
        assert!(receipts.iter().all(|receipt| receipt.at == at(SIGNED_AT - 60)));
    }
}

#[test]
fn an_event_of_sendgrid_that_is_not_understood_holds_no_other_up() {
    let one = sendgrid_event(&json!({"event": "delivered"}));
    let other = with(one.clone(), &json!({"sg_event_id": "e2"}));
    let receipts = sent_by_sendgrid(&json!([{"event": 7}, one, "x", other, one]));
    let ids: Vec<_> = receipts.iter().map(|receipt| receipt.id).collect();
    assert_eq!(receipts.len(), 3);
    assert!(ids[0] != ids[1] && ids[0] == ids[2], "repeats have the same id, others another");
}

#[test]
fn mailguns_events() {
    let failed = |more: &Value| with(json!({"event": "failed", "severity": "permanent"}), more);
    let status = |code: u16, message: &str| json!({"delivery-status": {"code": code, "message": message}});
    let left = || blocked(Reason::RecipientRefused);
    for (number, (event, wanted)) in [
        (json!({"event": "accepted"}), vec![News::Accepted]),
        (json!({"event": "delivered"}), vec![News::Delivered]),
        (json!({"event": "rejected"}), vec![blocked(Reason::MessageRefused)]),
        (json!({"event": "complained"}), vec![News::Complained]),
        (json!({"event": "unsubscribed"}), vec![News::Unsubscribed]),
        (json!({"event": "opened"}), vec![]),
        (json!({"event": "clicked"}), vec![]),
        (failed(&status(550, "5.1.1 The account does not exist")), vec![dead()]),
        (failed(&status(550, "5.7.1 blocked")), vec![blocked(Reason::PolicyRefused)]),
        (failed(&status(552, "5.2.2 full")), vec![bounced(Bounce::Soft, Reason::MailboxFull)]),
        (failed(&json!({"reason": "suppress-bounce", "delivery-status": {"code": 605}})), vec![dead()]),
        (failed(&json!({"reason": "suppress-unsubscribe"})), vec![left(), News::Unsubscribed]),
        (failed(&json!({"reason": "suppress-complaint"})), vec![left(), News::Complained]),
        (
            failed(&with(json!({"reason": "espblock"}), &status(550, "no"))),
            vec![blocked(Reason::PolicyRefused)],
        ),
        (failed(&json!({"reason": "generic", "delivery-status": {"code": 498}})), vec![soft()]),
        (
            json!({"event": "failed", "severity": "temporary", "delivery-status": {"code": 421}}),
            vec![News::Accepted],
        ),
        (json!({"event": "failed", "severity": "temporary", "reason": "old"}), vec![soft()]),
    ]
    .into_iter()
    .enumerate()
    {
        let hook = MailgunHook::new("relay", &Secret::new("key-test"));
        let told = json!({
            "id": "e1", "timestamp": 1_795_219_140.5, "recipient": "anna@example.com",
            "user-variables": {"campaignd_delivery": "12-345-0"},
        });
        let call = mailgun("key-test", SIGNED_AT, &format!("{number:050}"), &with(told, &event));
        let receipts = receipts(hook.receive_at(&request(&call), at(SIGNED_AT)));
        assert_eq!(news(&receipts), wanted, "{event}");
        assert!(receipts.iter().all(|receipt| receipt.about == About::Delivery("12-345-0".parse().unwrap())));
        assert!(receipts.iter().all(|receipt| receipt.at.as_millisecond() == 1_795_219_140_500));
    }
}

#[test]
fn postmarks_events() {
    let bounce = |kind: &str, details: &str| json!({"RecordType": "Bounce", "ID": 42, "Type": kind, "Email": "anna@example.com", "BouncedAt": "2026-11-21T00:00:00Z", "Details": details});
    let change = |stopped: bool, reason: Value| json!({"RecordType": "SubscriptionChange", "Recipient": "anna@example.com", "ChangedAt": "2026-11-21T00:00:00Z", "SuppressSending": stopped, "SuppressionReason": reason});
    for (event, wanted) in [
        (
            json!({"RecordType": "Delivery", "Recipient": "anna@example.com", "DeliveredAt": "2026-11-21T00:00:00Z"}),
            vec![News::Delivered],
        ),
        (
            json!({"RecordType": "SpamComplaint", "ID": 43, "Email": "anna@example.com"}),
            vec![News::Complained],
        ),
        (json!({"RecordType": "Open"}), vec![]),
        (json!({"RecordType": "Click"}), vec![]),
        (bounce("HardBounce", "smtp;550 5.1.1 unknown"), vec![dead()]),
        (bounce("HardBounce", "smtp;550 5.7.1 policy"), vec![blocked(Reason::PolicyRefused)]),
        (bounce("BadEmailAddress", ""), vec![dead()]),
        (bounce("SoftBounce", "smtp;552 5.2.2 full"), vec![bounced(Bounce::Soft, Reason::MailboxFull)]),
        (bounce("DnsError", ""), vec![soft()]),
        (bounce("SpamNotification", ""), vec![blocked(Reason::PolicyRefused)]),
        (bounce("DMARCPolicy", ""), vec![blocked(Reason::PolicyRefused)]),
        (bounce("Transient", "smtp;421 later"), vec![]),
        (bounce("AutoResponder", ""), vec![]),
        (bounce("SpamComplaint", ""), vec![News::Complained]),
        (bounce("Unsubscribe", ""), vec![News::Unsubscribed]),
        (bounce("SomethingNew", ""), vec![soft()]),
        (change(true, json!("ManualSuppression")), vec![News::Unsubscribed]),
        (change(true, json!("SpamComplaint")), vec![News::Complained]),
        (change(true, json!("HardBounce")), vec![]),
        (change(false, Value::Null), vec![]),
    ] {
        let hook = PostmarkHook::new("relay", None, Some(&Secret::new("")));
        let labelled = json!({"MessageID": "m1", "Metadata": {"campaignd-delivery": "12-345-0"}});
        let answer = hook.receive_at(&request(&postmark(None, &with(labelled, &event))), at(SIGNED_AT));
        let receipts = receipts(answer);
        assert_eq!(news(&receipts), wanted, "{event}");
        assert!(receipts.iter().all(|receipt| receipt.about == About::Delivery("12-345-0".parse().unwrap())));
    }
}

#[test]
fn mail_of_others_over_the_same_account_tells_of_addresses() {
    let event =
        json!({"RecordType": "SpamComplaint", "ID": 43, "Email": "Anna@Example.com", "MessageID": "m1"});
    let hook = PostmarkHook::new("relay", None, Some(&Secret::new("")));
    let receipts = receipts(hook.receive_at(&request(&postmark(None, &event)), at(SIGNED_AT)));
    let anna = About::Address { channel: Channel::Email, address: "anna@example.com".to_owned() };
    assert_eq!(receipts.into_iter().map(|receipt| receipt.about).collect::<Vec<_>>(), [anna]);
}
