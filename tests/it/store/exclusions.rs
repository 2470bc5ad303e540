//! Rules that keep a message from being sent, and which of them is named.

use campaignd::model::Channel;
use campaignd::store::contacts::Suppression;
use serde_json::{Value, json};

use super::bed::{Bed, all_accepted, email, event, key, person, submission, tallied};
use super::on_each_store;

on_each_store!(
    the_first_rule_that_applies_is_named,
    the_first_address_without_an_objection_is_taken,
    a_channel_may_forbid_a_purpose,
    a_forbidden_purpose_comes_last,
);

async fn suppress(bed: &Bed, address: &str) {
    let entry = Suppression { channel: Channel::Email, address: address.into(), reason: "test".into() };
    assert_eq!(bed.store.suppress(&[entry]).await.unwrap(), 1);
}

/// Unsubscribes a contact by an event, as the tracker does.
async fn unsubscribe(bed: &Bed, external_id: &str) {
    let id = format!("u-{external_id}");
    bed.planned(&id, json!({"contacts": [external_id]}), json!({"purpose": "service"})).await;
    let me = bed.store.join("one").await.unwrap();
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    let unsubscribed = event(key(&lease, &lease.members[0]), campaignd::model::EventKind::Unsubscribed);
    bed.store.record_events(&[unsubscribed], false).await.unwrap();
}

/// Each has one more objection than the one before: the first in the contract's order is named.
async fn the_first_rule_that_applies_is_named(bed: &Bed) {
    let silent = |name: &str| json!({"channel": "email", "address": format!("{name}@example.com")});
    bed.upsert(json!([
        person("fine"),
        {"external_id": "silent", "addresses": [silent("silent")]},
        {"external_id": "left", "addresses": [silent("left")]},
        {"external_id": "banned", "addresses": [silent("banned")]},
        {"external_id": "bare", "addresses": [{"channel": "sms", "address": "+8613800138000", "consent": true}]},
    ]))
    .await;
    unsubscribe(bed, "left").await;
    unsubscribe(bed, "banned").await;
    suppress(bed, "banned@example.com").await;
    let ids = json!({"contacts": ["fine", "silent", "left", "banned", "bare", "ghost", "banned"]});
    let fates: [(&str, &str, &str); 6] = [
        ("fine", "planned", "planned"),
        ("silent", "excluded/no_consent", "planned"),
        ("left", "excluded/unsubscribed", "planned"),
        ("banned", "excluded/suppressed", "excluded/suppressed"),
        ("bare", "excluded/no_address", "excluded/no_address"),
        ("ghost", "excluded/unknown_contact", "excluded/unknown_contact"),
    ];
    bed.planned("offer", ids.clone(), json!({})).await;
    bed.planned("notice", ids, json!({"purpose": "service"})).await;
    for (id, marketing, service) in fates {
        assert_eq!(bed.fate("offer", id).await[0], marketing, "{id} gets marketing");
        assert_eq!(bed.fate("notice", id).await[0], service, "{id} gets service");
    }
    assert_eq!(bed.fate("offer", "banned").await[1], "excluded/duplicate");
}

async fn the_first_address_without_an_objection_is_taken(bed: &Bed) {
    let silent = |name: &str| json!({"channel": "email", "address": format!("{name}@example.com")});
    bed.upsert(json!([
        {"external_id": "A", "addresses": [email("a1"), email("a2")]},
        {"external_id": "B", "addresses": [email("b1"), email("b2")]},
        {"external_id": "C", "addresses": [silent("c1"), email("c2")]},
        {"external_id": "D", "addresses": [silent("d1"), email("d2")]},
    ]))
    .await;
    suppress(bed, "b1@example.com").await;
    suppress(bed, "d2@example.com").await;
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let me = bed.store.join("one").await.unwrap();
    let lease = bed.lease(me).await.pop().unwrap();
    let recipients = bed.intend(me, &lease).await.unwrap();
    let addresses: Vec<&str> = recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    assert_eq!(addresses, ["a1@example.com", "b2@example.com", "c2@example.com"]);
    assert_eq!(
        bed.fate("spring", "D").await,
        ["excluded/no_consent"],
        "the first address's objection stands"
    );
}

async fn forbidden(bed: &Bed, id: &str, audience: Value) {
    let mut submission = submission(super::bed::campaign(id, audience, json!({})));
    submission.purpose_forbidden = true;
    bed.store.accept(&[submission], None).await.unwrap();
    bed.plan(100).await;
}

async fn a_channel_may_forbid_a_purpose(bed: &Bed) {
    bed.people(2).await;
    forbidden(bed, "spring", json!({"all": true})).await;
    assert_eq!(bed.tally("spring").await, tallied([("excluded/purpose_forbidden", 2)]));
}

async fn a_forbidden_purpose_comes_last(bed: &Bed) {
    let silent = json!({"channel": "email", "address": "s@example.com"});
    bed.upsert(json!([{"external_id": "silent", "addresses": [silent]}, {"external_id": "bare"}])).await;
    forbidden(bed, "spring", json!({"all": true})).await;
    assert_eq!(bed.fate("spring", "silent").await, ["excluded/no_consent"]);
    assert_eq!(bed.fate("spring", "bare").await, ["excluded/no_address"]);
}
