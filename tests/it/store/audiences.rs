//! Whom an audience names: everyone, a segment, a list of ids, a list of recipients.

use campaignd::model::event::Event;
use campaignd::model::{Channel, EventKind};
use serde_json::{Value, json};

use super::bed::{Bed, all_accepted, email, event, key, person, tallied};
use super::on_each_store;

on_each_store!(
    all_names_every_contact_once,
    attributes_are_compared_by_type,
    tags_and_junctions,
    engagement_selects,
    a_list_of_ids,
    a_list_of_recipients,
    a_faulty_entry_hides_no_sound_one,
    an_anonymous_recipient_is_known_the_next_time,
    the_audience_is_fixed_when_planning_starts,
    pages_join_without_a_seam,
);

/// External ids that a segment selects, joined.
async fn selected(bed: &Bed, filter: Value) -> String {
    let id = format!("s-{}", uuid::Uuid::now_v7());
    bed.planned(&id, json!({"segment": filter}), json!({})).await;
    bed.sent_to(&id).await.join(" ")
}

async fn all_names_every_contact_once(bed: &Bed) {
    bed.people(3).await;
    bed.upsert(json!([{"external_id": "bare"}])).await;
    bed.planned("spring", json!({"all": true}), json!({})).await;
    assert_eq!(bed.tally("spring").await, tallied([("planned", 3), ("excluded/no_address", 1)]));
}

async fn attributes_are_compared_by_type(bed: &Bed) {
    let with = |id: &str, attributes: Value| json!({"external_id": id, "attributes": attributes, "addresses": [email(id)]});
    bed.upsert(json!([
        with("n5", json!({"a": 5})),
        with("n7", json!({"a": 7.5})),
        with("s5", json!({"a": "5"})),
        with("sz", json!({"a": "zoo"})),
        with("t", json!({"a": true})),
        with("l", json!({"a": ["x", 5]})),
        with("o", json!({"a": {"x": 1}})),
        person("none"),
    ]))
    .await;
    for (test, want) in [
        (json!({"eq": 5}), "n5"),
        (json!({"eq": 5.0}), "n5"),
        (json!({"eq": "5"}), "s5"),
        (json!({"eq": true}), "t"),
        (json!({"ne": 5}), "n7 s5 sz t l o"),
        (json!({"in": [5, "zoo", false]}), "n5 sz"),
        (json!({"in": []}), ""),
        (json!({"gt": 5}), "n7"),
        (json!({"gte": 5}), "n5 n7"),
        (json!({"lt": 7.5}), "n5"),
        (json!({"lte": 7.5}), "n5 n7"),
        (json!({"gt": "5"}), "sz"),
        (json!({"gte": "5"}), "s5 sz"),
        (json!({"lt": "a"}), "s5"),
        (json!({"lte": "zoo"}), "s5 sz"),
        (json!({"exists": true}), "n5 n7 s5 sz t l o"),
        (json!({"exists": false}), "none"),
        (json!({"contains": "o"}), "sz"),
        (json!({"contains": "x"}), "l"),
        (json!({"contains": 5}), "l"),
    ] {
        let mut filter = json!({"attribute": "a"});
        filter.as_object_mut().unwrap().extend(test.as_object().unwrap().clone());
        assert_eq!(selected(bed, filter.clone()).await, want, "{filter}");
        let everyone = ["n5", "n7", "s5", "sz", "t", "l", "o", "none"];
        let others: Vec<&str> =
            everyone.into_iter().filter(|id| !want.split(' ').any(|wanted| wanted == *id)).collect();
        assert_eq!(selected(bed, json!({"not": filter})).await, others.join(" "), "not {filter}");
    }
}

async fn tags_and_junctions(bed: &Bed) {
    let with = |id: &str, tags: &[&str], city: &str| json!({"external_id": id, "tags": tags, "attributes": {"city": city}, "addresses": [email(id)]});
    bed.upsert(json!([
        with("A", &["vip", "new"], "上海"),
        with("B", &["vip"], "Berlin"),
        with("C", &[], "Berlin")
    ]))
    .await;
    let (vip, berlin) = (json!({"tag": "vip"}), json!({"attribute": "city", "eq": "Berlin"}));
    for (filter, want) in [
        (vip.clone(), "A B"),
        (json!({"tag": "VIP"}), ""),
        (json!({"all": [vip, berlin]}), "B"),
        (json!({"any": [{"tag": "new"}, berlin]}), "A B C"),
        (json!({"not": {"any": [{"tag": "new"}, {"attribute": "city", "contains": "ber"}]}}), "B C"),
        (json!({"all": []}), "A B C"),
        (json!({"any": []}), ""),
        (json!({"all": [{"not": {"tag": "new"}}, {"not": {"not": berlin}}]}), "B C"),
        (json!({"attribute": "it's \"odd\" -- $1", "exists": false}), "A B C"),
    ] {
        assert_eq!(selected(bed, filter.clone()).await, want, "{filter}");
    }
}

async fn engagement_selects(bed: &Bed) {
    bed.people(4).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    let at = |i: usize, kind, ago: &str| {
        let span: jiff::Span = ago.parse().unwrap();
        let at = jiff::Timestamp::now()
            .checked_sub(span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).unwrap());
        Event { at: at.unwrap(), ..event(key(&lease, &lease.members[i]), kind) }
    };
    let machine = campaignd::model::event::MachineRule::Prefetch;
    let events = [
        at(0, EventKind::Opened, "PT1H"),
        at(1, EventKind::Clicked, "P40D"),
        at(2, EventKind::Opened, "P10D"),
        Event { machine: Some(machine), ..at(3, EventKind::Opened, "PT1H") },
    ];
    bed.store.record_events(&events, false).await.unwrap();
    let ago = |days: i64| (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days)).to_string();
    for (filter, want) in [
        (json!({"opened": {"campaign": "spring"}}), "P1 P2 P3"),
        (json!({"clicked": {"campaign": "spring"}}), "P2"),
        (json!({"opened": {"campaign": "other"}}), ""),
        (json!({"opened": {"within": "30d"}}), "P1 P3"),
        (json!({"opened": {"within": "2h"}}), "P1"),
        (json!({"clicked": {"within": "30d"}}), ""),
        (json!({"clicked": {"within": "6w"}}), "P2"),
        (json!({"not": {"opened": {"within": "30d"}}}), "P2 P4"),
        (json!({"last_event": {"after": ago(20)}}), "P1 P3"),
        (json!({"last_event": {"before": ago(20)}}), "P2"),
        (json!({"not": {"last_event": {"before": ago(20)}}}), "P1 P3 P4"),
    ] {
        assert_eq!(selected(bed, filter.clone()).await, want, "{filter}");
    }
}

async fn a_list_of_ids(bed: &Bed) {
    bed.people(3).await;
    let ids = json!({"contacts": ["P3", "P1", "ghost", "P3", "ghost", "P3"]});
    bed.campaign("spring", ids, json!({})).await;
    bed.plan(2).await;
    let want = tallied([("planned", 2), ("excluded/duplicate", 3), ("excluded/unknown_contact", 1)]);
    assert_eq!(bed.tally("spring").await, want);
    assert_eq!(bed.fate("spring", "P3").await, ["planned", "excluded/duplicate", "excluded/duplicate"]);
    assert_eq!(bed.fate("spring", "ghost").await, ["excluded/unknown_contact", "excluded/duplicate"]);
    assert!(bed.store.contact("ghost").await.unwrap().is_none(), "a stub is no contact");
    bed.planned("summer", json!({"all": true}), json!({})).await;
    assert_eq!(bed.tally("summer").await, tallied([("planned", 3)]));
    bed.upsert(json!([person("ghost")])).await;
    bed.planned("autumn", json!({"contacts": ["ghost"]}), json!({})).await;
    assert_eq!(bed.fate("autumn", "ghost").await, ["planned"]);
}

async fn a_list_of_recipients(bed: &Bed) {
    bed.people(2).await;
    let recipients = json!([
        {"address": "New@Example.com", "data": {"code": "N"}},
        {"address": "P1@example.com", "data": {"code": "1"}},
        {"address": "p1@example.com", "external_id": "Q"},
        {"address": "nonsense"},
        {"address": "new@example.com"},
        {"address": "other@example.com", "external_id": "P2"},
        {"address": "nonsense"},
    ]);
    let audience = json!({"recipients": recipients, "consent": true});
    bed.campaign("spring", audience, json!({})).await;
    bed.plan(3).await;
    let want = tallied([
        ("planned", 3),
        ("excluded/duplicate", 2),
        ("excluded/invalid_address", 1),
        ("excluded/no_address", 1),
    ]);
    assert_eq!(bed.tally("spring").await, want);
    assert_eq!(bed.fate("spring", "Q").await, ["excluded/no_address"]);
    let me = bed.store.join("one").await.unwrap();
    let mut sent = Vec::new();
    for lease in bed.lease(me).await {
        for recipient in bed.intend(me, &lease).await.unwrap() {
            let code = recipient.own_data.map_or(Value::Null, |data| data["code"].clone());
            sent.push((recipient.address, code));
        }
    }
    sent.sort_by(|a, b| a.0.cmp(&b.0));
    let want = [
        ("new@example.com".to_owned(), json!("N")),
        ("other@example.com".to_owned(), Value::Null),
        ("p1@example.com".to_owned(), json!("1")),
    ];
    assert_eq!(sent, want);
    let other = &bed.store.contact("P2").await.unwrap().unwrap().addresses[1];
    assert_eq!(other.consent_source.as_deref(), Some("campaign spring"));
}

async fn a_faulty_entry_hides_no_sound_one(bed: &Bed) {
    bed.upsert(json!([
        {"external_id": "A", "addresses": [email("a")]}, {"external_id": "B", "addresses": [email("b")]},
    ]))
    .await;
    let recipients = json!({"consent": true, "recipients": [
        {"address": "a@example.com", "external_id": "B"}, {"address": "b@example.com"},
    ]});
    bed.planned("spring", recipients, json!({})).await;
    assert_eq!(bed.tally("spring").await, tallied([("planned", 1), ("excluded/duplicate", 1)]));
}

async fn an_anonymous_recipient_is_known_the_next_time(bed: &Bed) {
    let recipients = json!({"recipients": [{"address": "a@example.com"}]});
    bed.planned("one", recipients.clone(), json!({})).await;
    assert_eq!(bed.tally("one").await, tallied([("excluded/no_consent", 1)]));
    bed.planned("two", recipients, json!({"purpose": "service"})).await;
    assert_eq!(bed.tally("two").await, tallied([("planned", 1)]));
    let made = bed.store.owner_of("a@example.com").await.unwrap().unwrap();
    assert!(!made.contains("example"), "the made id keeps the address to itself: {made}");
    bed.upsert(
        json!([{"external_id": "A", "addresses": [{"channel": "email", "address": "a@example.com"}]}]),
    )
    .await;
    assert_eq!(bed.store.owner_of("a@example.com").await.unwrap().unwrap(), "A");
    assert_eq!(bed.fate("one", "A").await, ["excluded/no_consent"]);
    assert_eq!(bed.fate("two", "A").await, ["planned"]);
}

async fn the_audience_is_fixed_when_planning_starts(bed: &Bed) {
    bed.people(4).await;
    bed.campaign("spring", json!({"all": true}), json!({})).await;
    let number = bed.store.campaigns_to_plan().await.unwrap()[0];
    bed.store.plan_page(number, 2).await.unwrap().unwrap();
    bed.upsert(json!([person("late")])).await;
    bed.plan(2).await;
    assert_eq!(bed.tally("spring").await, tallied([("planned", 4)]));
    assert_eq!(bed.store.plan_page(number, 2).await.unwrap(), None);
}

async fn pages_join_without_a_seam(bed: &Bed) {
    bed.people(1_203).await;
    bed.campaign("spring", json!({"all": true}), json!({})).await;
    bed.plan(500).await;
    assert_eq!(bed.tally("spring").await, tallied([("planned", 1_203)]));
    let me = bed.store.join("one").await.unwrap();
    let mut members: Vec<_> = bed.lease(me).await.into_iter().flat_map(|lease| lease.members).collect();
    members.sort_unstable_by_key(|member| member.contact);
    members.dedup();
    assert_eq!(members.len(), 1_203);
    assert_eq!(bed.store.backlog().await.unwrap()[0].waiting, 1_203);
    assert_eq!(bed.store.campaigns_due(Channel::Email).await.unwrap(), []);
    bed.campaign("empty", json!({"contacts": []}), json!({})).await;
    bed.plan(500).await;
    assert_eq!(bed.store.finish_campaigns(false).await.unwrap()[0].id, "empty");
}
