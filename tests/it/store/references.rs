//! Receipts that name their provider's id alone, before and after the ledger knows it; and what SMS are billed.

use campaignd::model::receipt::{About, News};
use campaignd::model::{Reason, Receipt, State};
use campaignd::store::dispatching::{Lease, Outcomes, Settled};
use campaignd::store::jobs::Incarnation;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{Bed, key, settled};
use super::on_each_store;

on_each_store!(
    a_delivery_is_found_by_any_of_its_ids,
    an_id_that_comes_again_is_the_newest_messages,
    an_early_receipt_waits_for_its_id,
    old_references_are_forgotten,
    segments_add_up,
    segments_in_doubt_count_once,
    segments_count_though_the_receipt_was_faster,
);

fn receipt(reference: &str) -> Receipt {
    let about = About::Reference { provider: "relay".into(), reference: reference.into() };
    let id = Receipt::id("relay", reference, "delivered");
    Receipt { id, about, at: Timestamp::now(), news: News::Delivered, detail: None }
}

async fn on_its_way(bed: &Bed) -> (Incarnation, Lease) {
    bed.people(1).await;
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let me = bed.store.join("one").await.unwrap();
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    (me, lease)
}

/// The provider took the message under `ids`, in `segments` parts.
async fn taken(bed: &Bed, me: Incarnation, lease: &Lease, ids: &str, segments: u32) {
    let outcome = Settled {
        provider_ref: Some(ids.into()),
        referenced: true,
        segments,
        ..settled(lease, &lease.members[0], State::Accepted, None)
    };
    let outcomes = Outcomes { settled: vec![outcome], ..Outcomes::default() };
    bed.store.record(me, &outcomes).await.unwrap();
}

async fn found(bed: &Bed, references: &[&str]) -> Vec<bool> {
    let named: Vec<_> = references.iter().map(|name| ("relay".to_owned(), (*name).to_owned())).collect();
    bed.store.referenced(&named).await.unwrap().iter().map(Option::is_some).collect()
}

async fn a_delivery_is_found_by_any_of_its_ids(bed: &Bed) {
    let (me, lease) = on_its_way(bed).await;
    taken(bed, me, &lease, "a1 a2", 2).await;
    assert_eq!(found(bed, &["a2", "b1", "a1", "a1 a2"]).await, [true, false, true, false]);
    let other = ("other".to_owned(), "a1".to_owned());
    assert_eq!(bed.store.referenced(&[other]).await.unwrap(), [None]);
}

async fn an_id_that_comes_again_is_the_newest_messages(bed: &Bed) {
    bed.people(2).await;
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let me = bed.store.join("one").await.unwrap();
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    for member in &lease.members {
        let outcome = Settled {
            provider_ref: Some("a1".into()),
            referenced: true,
            ..settled(&lease, member, State::Accepted, None)
        };
        bed.store.record(me, &Outcomes { settled: vec![outcome], ..Outcomes::default() }).await.unwrap();
        let named = [("relay".to_owned(), "a1".to_owned())];
        assert_eq!(bed.store.referenced(&named).await.unwrap(), [Some(key(&lease, member))]);
    }
}

async fn an_early_receipt_waits_for_its_id(bed: &Bed) {
    let (me, lease) = on_its_way(bed).await;
    bed.store.park(&[receipt("a1"), receipt("never")]).await.unwrap();
    bed.store.park(&[receipt("a1")]).await.unwrap();
    assert_eq!(bed.store.parked(10).await.unwrap(), []);
    taken(bed, me, &lease, "a1", 1).await;
    let parked = bed.store.parked(10).await.unwrap();
    let about = About::Delivery(key(&lease, &lease.members[0]));
    assert_eq!(parked.iter().map(|receipt| receipt.about.clone()).collect::<Vec<_>>(), [about]);
    bed.store.record_receipts(&parked, false).await.unwrap();
    bed.store.unpark(&[parked[0].id]).await.unwrap();
    assert_eq!(bed.store.parked(10).await.unwrap(), []);
    assert_eq!(bed.fate("spring", "P1").await, ["delivered"]);
    bed.check_law().await;
}

async fn old_references_are_forgotten(bed: &Bed) {
    let (me, lease) = on_its_way(bed).await;
    taken(bed, me, &lease, "a1", 1).await;
    bed.store.park(&[receipt("never")]).await.unwrap();
    assert_eq!(bed.store.forget_references(SignedDuration::from_hours(1)).await.unwrap(), 0);
    assert_eq!(found(bed, &["a1"]).await, [true]);
    assert_eq!(bed.store.forget_references(SignedDuration::from_secs(-1)).await.unwrap(), 2);
    assert_eq!(found(bed, &["a1"]).await, [false]);
}

async fn segments_add_up(bed: &Bed) {
    let (me, lease) = on_its_way(bed).await;
    taken(bed, me, &lease, "a1 a2 a3", 3).await;
    taken(bed, me, &lease, "a1 a2 a3", 3).await;
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.segments, counts.sent), (3, 1));
}

/// The answer was lost, and says nothing of the receipt that may have come before it.
async fn lost(bed: &Bed, me: Incarnation, lease: &Lease) {
    let outcome = Settled {
        segments: 3,
        provider_ref: None,
        ..settled(lease, &lease.members[0], State::Unknown, Some(Reason::ConnectionLost))
    };
    let outcomes = Outcomes { settled: vec![outcome], ..Outcomes::default() };
    bed.store.record(me, &outcomes).await.unwrap();
}

async fn delivered(bed: &Bed, lease: &Lease) {
    let about = About::Delivery(key(lease, &lease.members[0]));
    bed.store.record_receipts(&[Receipt { about, ..receipt("a1") }], false).await.unwrap();
}

async fn segments_in_doubt_count_once(bed: &Bed) {
    let (me, lease) = on_its_way(bed).await;
    lost(bed, me, &lease).await;
    delivered(bed, &lease).await;
    lost(bed, me, &lease).await;
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.segments, counts.sent), (3, 1));
    bed.check_law().await;
}

async fn segments_count_though_the_receipt_was_faster(bed: &Bed) {
    let (me, lease) = on_its_way(bed).await;
    delivered(bed, &lease).await;
    lost(bed, me, &lease).await;
    lost(bed, me, &lease).await;
    assert_eq!(bed.fate("spring", "P1").await, ["delivered"]);
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.segments, counts.sent), (3, 1));
    bed.check_law().await;
}
