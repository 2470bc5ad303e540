//! Upserts, consent, erasure and suppressions.

use campaignd::model::{Channel, EventKind};
use campaignd::store::contacts::{AddressRecord, Suppression};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::bed::{Bed, all_accepted, email, event, key, person, tallied};
use super::on_each_store;

on_each_store!(
    attributes_merge_and_null_removes,
    put_replaces_the_whole,
    tags_and_addresses_replace_where_present,
    a_row_replaces_addresses_of_its_own_channel,
    one_list_may_name_a_contact_twice,
    a_foreign_address_stays_where_it_is,
    consent_is_given_dated_and_withdrawn,
    an_unsubscribe_outlives_imports,
    a_later_dated_consent_undoes_an_unsubscribe,
    an_anonymous_contact_takes_one_id_only,
    a_large_import_arrives_whole,
    two_imports_of_the_same_people_lose_nothing,
    an_erased_contact_leaves_its_counts,
    a_suppression_outlives_erasure,
);

async fn attributes(bed: &Bed, id: &str) -> Value {
    bed.store.contact(id).await.unwrap().unwrap().attributes.into()
}

async fn address(bed: &Bed, id: &str) -> AddressRecord {
    bed.store.contact(id).await.unwrap().unwrap().addresses.remove(0)
}

async fn attributes_merge_and_null_removes(bed: &Bed) {
    bed.upsert(
        json!([{"external_id": "A", "attributes": {"a": 1, "b": {"x": [1]}, "gone": null}, "locale": "de"}]),
    )
    .await;
    assert_eq!(attributes(bed, "A").await, json!({"a": 1, "b": {"x": [1]}}));
    bed.upsert(
        json!([{"external_id": "A", "attributes": {"a": null, "c": "上海"}, "timezone": "Asia/Shanghai"}]),
    )
    .await;
    assert_eq!(attributes(bed, "A").await, json!({"b": {"x": [1]}, "c": "上海"}));
    let contact = bed.store.contact("A").await.unwrap().unwrap();
    assert_eq!((contact.locale.as_deref(), contact.timezone.as_deref()), (Some("de"), Some("Asia/Shanghai")));
}

async fn put_replaces_the_whole(bed: &Bed) {
    bed.upsert(json!([{"external_id": "A", "attributes": {"a": 1}, "tags": ["vip"], "locale": "de", "timezone": "Europe/Berlin", "addresses": [email("a")]}])).await;
    bed.replace(json!([{"external_id": "A", "attributes": {"b": 2, "c": null}}])).await;
    let contact = bed.store.contact("A").await.unwrap().unwrap();
    assert_eq!(attributes(bed, "A").await, json!({"b": 2}));
    assert_eq!((contact.tags.len(), contact.addresses.len()), (0, 0));
    assert_eq!((contact.locale, contact.timezone), (None, None));
    bed.replace(json!([{"external_id": "new", "tags": ["x"]}])).await;
    assert_eq!(bed.store.contact("new").await.unwrap().unwrap().tags, ["x"]);
}

async fn tags_and_addresses_replace_where_present(bed: &Bed) {
    bed.upsert(json!([{"external_id": "A", "tags": ["x", "y"], "addresses": [email("a1"), email("a2")]}]))
        .await;
    let shown = async || {
        let contact = bed.store.contact("A").await.unwrap().unwrap();
        let addresses: Vec<String> = contact.addresses.into_iter().map(|address| address.address).collect();
        (contact.tags.join(" "), addresses.join(" "))
    };
    bed.upsert(json!([{"external_id": "A"}])).await;
    assert_eq!(shown().await, ("x y".into(), "a1@example.com a2@example.com".into()));
    bed.upsert(json!([{"external_id": "A", "tags": ["z"], "addresses": [email("a3"), email("a2")]}])).await;
    assert_eq!(shown().await, ("z".into(), "a3@example.com a2@example.com".into()));
    bed.upsert(json!([{"external_id": "A", "tags": [], "addresses": []}])).await;
    assert_eq!(shown().await, (String::new(), String::new()));
}

async fn a_row_replaces_addresses_of_its_own_channel(bed: &Bed) {
    let phone = json!({"channel": "sms", "address": "+8613800138000"});
    bed.upsert(json!([{"external_id": "A", "addresses": [email("old"), phone]}])).await;
    bed.row(json!([{"external_id": "A", "addresses": [email("new")]}])).await;
    bed.row(json!([{"external_id": "A", "attributes": {"a": 1}}])).await;
    let kept: Vec<String> =
        bed.store.contact("A").await.unwrap().unwrap().addresses.into_iter().map(|a| a.address).collect();
    assert_eq!(kept, ["new@example.com", "+8613800138000"]);
}

async fn one_list_may_name_a_contact_twice(bed: &Bed) {
    let foreign = bed
        .upsert(json!([
            {"external_id": "A", "attributes": {"a": 1, "b": 1}, "addresses": [email("a"), email("A")]},
            {"external_id": "B", "addresses": [email("a")]},
            {"external_id": "A", "attributes": {"a": 2, "b": null}},
            {"external_id": "A", "attributes": {"a": 3}},
        ]))
        .await;
    assert_eq!(foreign, ["B"]);
    assert_eq!(attributes(bed, "A").await, json!({"a": 3}));
    assert_eq!(bed.store.contact("A").await.unwrap().unwrap().addresses.len(), 1);
}

async fn a_foreign_address_stays_where_it_is(bed: &Bed) {
    bed.upsert(
        json!([{"external_id": "A", "addresses": [{"channel": "email", "address": "a@example.com"}]}]),
    )
    .await;
    assert_eq!(bed.upsert(json!([{"external_id": "B", "addresses": [email("b"), email("a")]}])).await, ["B"]);
    assert_eq!(bed.store.owner_of("a@example.com").await.unwrap().unwrap(), "A");
    assert_eq!(address(bed, "A").await.consent_at, None, "the thief's consent is not the owner's");
    let withdrawn = json!({"channel": "email", "address": "b@example.com", "consent": false});
    bed.upsert(json!([{"external_id": "A", "addresses": [{"channel": "email", "address": "a@example.com"}, withdrawn]}])).await;
    assert!(address(bed, "B").await.consent_at.is_some());
    bed.upsert(json!([{"external_id": "A", "addresses": []}])).await;
    assert_eq!(bed.upsert(json!([{"external_id": "B", "addresses": [email("a")]}])).await, [""; 0]);
    assert_eq!(bed.store.owner_of("a@example.com").await.unwrap().unwrap(), "B");
}

async fn consent(bed: &Bed, consent: Value) {
    let mut address = json!({"channel": "email", "address": "a@example.com"});
    if !consent.is_null() {
        address["consent"] = consent;
    }
    bed.upsert(json!([{"external_id": "A", "addresses": [address]}])).await;
}

async fn consent_is_given_dated_and_withdrawn(bed: &Bed) {
    consent(bed, Value::Null).await;
    assert_eq!(address(bed, "A").await.consent_at, None);
    consent(bed, json!("2020-05-01T09:00:00+08:00")).await;
    let dated = address(bed, "A").await;
    assert_eq!(dated.consent_at.unwrap().to_string(), "2020-05-01T01:00:00Z");
    assert_eq!(dated.consent_source.as_deref(), Some("test"));
    consent(bed, json!(true)).await;
    consent(bed, Value::Null).await;
    assert_eq!(address(bed, "A").await, dated, "the first evidence stays");
    consent(bed, json!(false)).await;
    let withdrawn = address(bed, "A").await;
    assert_eq!((withdrawn.consent_at, withdrawn.consent_source), (None, None));
    consent(bed, json!(true)).await;
    assert!(address(bed, "A").await.consent_at.is_some());
}

/// A, unsubscribed just now.
async fn unsubscribed(bed: &Bed) {
    consent(bed, json!(true)).await;
    bed.planned("old", json!({"contacts": ["A"]}), json!({})).await;
    let me = bed.store.join("one").await.unwrap();
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    let event = event(key(&lease, &lease.members[0]), EventKind::Unsubscribed);
    bed.store.record_events(&[event], false).await.unwrap();
    assert!(address(bed, "A").await.unsubscribed_at.is_some());
}

async fn an_unsubscribe_outlives_imports(bed: &Bed) {
    unsubscribed(bed).await;
    consent(bed, json!(true)).await;
    let earlier = Timestamp::now() - SignedDuration::from_hours(1);
    consent(bed, json!(earlier.to_string())).await;
    assert!(address(bed, "A").await.unsubscribed_at.is_some());
    bed.upsert(json!([{"external_id": "A", "addresses": []}])).await;
    bed.upsert(json!([{"external_id": "A", "addresses": [email("other")]}])).await;
    assert!(address(bed, "A").await.unsubscribed_at.is_some());
    bed.planned("new", json!({"all": true}), json!({})).await;
    assert_eq!(bed.fate("new", "A").await, ["excluded/unsubscribed"]);
}

async fn a_later_dated_consent_undoes_an_unsubscribe(bed: &Bed) {
    unsubscribed(bed).await;
    consent(bed, json!("2999-01-01T00:00:00Z")).await;
    assert!(address(bed, "A").await.unsubscribed_at.is_some(), "nobody agrees in the future");
    let later = Timestamp::now();
    consent(bed, json!(later.to_string())).await;
    let address = address(bed, "A").await;
    assert_eq!(address.unsubscribed_at, None);
    assert_eq!(
        address.consent_at.map(Timestamp::as_second),
        Some(later.as_second()),
        "the new evidence counts"
    );
    bed.planned("new", json!({"all": true}), json!({})).await;
    assert_eq!(bed.fate("new", "A").await, ["planned"]);
}

async fn an_anonymous_contact_takes_one_id_only(bed: &Bed) {
    let recipients = json!({"recipients": [{"address": "x@example.com"}, {"address": "y@example.com"}]});
    bed.planned("old", recipients, json!({})).await;
    let foreign = bed
        .upsert(json!([
            {"external_id": "A", "addresses": [email("x"), email("y")]},
            {"external_id": "B", "addresses": [email("x")]},
        ]))
        .await;
    assert_eq!(bed.store.owner_of("x@example.com").await.unwrap().unwrap(), "A");
    assert_eq!(foreign, ["A", "B"], "y stays with the contact that it made");
    assert_eq!(bed.fate("old", "A").await, ["excluded/no_consent"]);
}

async fn a_large_import_arrives_whole(bed: &Bed) {
    bed.people(5_000).await;
    bed.people(5_000).await;
    bed.planned("spring", json!({"all": true}), json!({})).await;
    assert_eq!(bed.tally("spring").await, tallied([("planned", 5_000)]));
}

async fn two_imports_of_the_same_people_lose_nothing(bed: &Bed) {
    let part = |name: &str| {
        let people = (0..300).map(|i| json!({"external_id": format!("P{i}"), "attributes": {name: i}, "addresses": [email(&format!("P{i}"))]}));
        let contacts: Vec<campaignd::model::contact::Contact> =
            people.map(|person| serde_json::from_value(person).unwrap()).collect();
        contacts
    };
    let (other, a, b) = (bed.another_daemon(), part("a"), part("b"));
    let merge = campaignd::store::contacts::Upsert::Merge;
    let (one, two) =
        tokio::join!(bed.store.upsert_contacts(&a, merge, "a"), other.upsert_contacts(&b, merge, "b"));
    assert!(one.unwrap().is_empty() && two.unwrap().is_empty());
    assert_eq!(attributes(bed, "P299").await, json!({"a": 299, "b": 299}));
}

async fn an_erased_contact_leaves_its_counts(bed: &Bed) {
    bed.upsert(json!([{"external_id": "A", "attributes": {"name": "Anna"}, "addresses": [email("a")]}]))
        .await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"contacts": ["A"]}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    let delivery = key(&lease, &lease.members[0]);
    bed.store.record_events(&[event(delivery, EventKind::Opened)], false).await.unwrap();
    assert!(bed.store.erase_contact("A").await.unwrap());
    assert!(!bed.store.erase_contact("A").await.unwrap());
    assert!(bed.store.contact("A").await.unwrap().is_none());
    assert!(bed.store.owner_of("a@example.com").await.unwrap().is_none());
    assert!(bed.store.timeline("A", 10).await.unwrap().is_none());
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 1)]));
    let rows = bed
        .store
        .deliveries("spring", &campaignd::store::reports::DeliveryQuery { limit: 10, ..Default::default() })
        .await;
    assert_eq!(rows.unwrap()[0].external_id, None);
    assert_eq!(bed.store.record_events(&[event(delivery, EventKind::Clicked)], true).await.unwrap(), 1);
    bed.upsert(json!([{"external_id": "A", "addresses": [email("a")]}])).await;
    assert_eq!(bed.fate("spring", "A").await, [""; 0], "another person under the same id has no history");
    bed.planned("summer", json!({"all": true}), json!({})).await;
    assert_eq!(bed.tally("summer").await, tallied([("planned", 1)]));
    bed.check_law().await;
}

async fn a_suppression_outlives_erasure(bed: &Bed) {
    bed.upsert(json!([person("A")])).await;
    let entry = |reason: &str| Suppression {
        channel: Channel::Email,
        address: "a@example.com".into(),
        reason: reason.into(),
    };
    assert_eq!(bed.store.suppress(&[entry("complaint"), entry("again")]).await.unwrap(), 1);
    assert_eq!(bed.store.suppress(&[entry("once more")]).await.unwrap(), 0);
    assert!(address(bed, "A").await.suppressed);
    bed.store.erase_contact("A").await.unwrap();
    let listed = bed.store.suppressions(10).await.unwrap().remove(0);
    assert_eq!((listed.address, listed.hash.len()), (None, 32));
    bed.upsert(json!([person("A")])).await;
    bed.planned("spring", json!({"all": true}), json!({"purpose": "service"})).await;
    assert_eq!(bed.fate("spring", "A").await, ["excluded/suppressed"]);
    assert!(bed.store.unsuppress(Channel::Email, "a@example.com").await.unwrap());
    assert!(!bed.store.unsuppress(Channel::Email, "a@example.com").await.unwrap());
    bed.planned("summer", json!({"all": true}), json!({"purpose": "service"})).await;
    assert_eq!(bed.fate("summer", "A").await, ["planned"]);
}
