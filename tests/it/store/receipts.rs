//! What providers say later: each receipt counts once, in whatever order it comes, and reaches whoever it is about.

use std::sync::Arc;

use campaignd::model::receipt::{About, Bounce, News};
use campaignd::model::{Channel, ContactNo, DeliveryKey, EventKind, Reason, Receipt, State};
use campaignd::report;
use campaignd::store::Store;
use campaignd::store::contacts::Suppression;
use campaignd::store::dispatching::{Lease, Outcomes, Settled};
use campaignd::store::jobs::Incarnation;
use campaignd::store::receipts::Filed;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{Bed, all_accepted, event, key, settled, tallied};
use super::on_each_store;

on_each_store!(
    a_receipt_moves_its_delivery_once,
    a_receipt_overtakes_the_outcome,
    what_was_never_intended_stays,
    a_receipt_settles_a_doubt,
    a_dead_address_is_suppressed,
    complaints_and_opt_outs_count_once,
    an_address_is_enough,
    strangers_are_strays,
    receipts_are_published_once,
    a_refused_recipient_is_suppressed,
    the_report_knows_what_arrived,
    every_order_ends_the_same,
    receipts_and_outcomes_meet,
);

const HARD: News = News::Bounced { bounce: Bounce::Hard, reason: Reason::UnknownRecipient };
const SOFT: News = News::Bounced { bounce: Bounce::Soft, reason: Reason::MailboxFull };

fn receipt(delivery: DeliveryKey, news: News) -> Receipt {
    Receipt {
        id: Receipt::id("relay", &delivery.to_string(), news.as_str()),
        about: About::Delivery(delivery),
        at: Timestamp::now(),
        news,
        detail: Some("its words".into()),
    }
}

fn about_address(address: &str, news: News) -> Receipt {
    Receipt {
        id: Receipt::id("relay", address, news.as_str()),
        about: About::Address { channel: Channel::Email, address: address.into() },
        at: Timestamp::now(),
        news,
        detail: None,
    }
}

/// A campaign to `n` people, all on their way.
async fn on_the_way(bed: &Bed, n: usize) -> (Incarnation, Lease) {
    bed.people(n).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    (me, lease)
}

async fn accepted(bed: &Bed, n: usize) -> Vec<DeliveryKey> {
    let (me, lease) = on_the_way(bed, n).await;
    bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    lease.members.iter().map(|member| key(&lease, member)).collect()
}

async fn record(bed: &Bed, receipts: &[Receipt]) -> Vec<&'static str> {
    let filed = bed.store.record_receipts(receipts, false).await.unwrap();
    bed.check_law().await;
    filed.iter().map(word).collect()
}

fn word(filed: &Filed) -> &'static str {
    match filed {
        Filed::New { .. } => "new",
        Filed::Repeated => "repeated",
        Filed::Stray => "stray",
    }
}

/// How many deliveries the series says were sent.
async fn sent(bed: &Bed) -> i64 {
    bed.store.counts("spring").await.unwrap().unwrap().series.iter().map(|hour| hour.sent).sum()
}

async fn is_suppressed(bed: &Bed, id: &str) -> bool {
    bed.store.contact(id).await.unwrap().unwrap().addresses[0].suppressed
}

async fn suppressions(bed: &Bed) -> Vec<String> {
    let mut reasons: Vec<String> =
        bed.store.suppressions(10).await.unwrap().into_iter().map(|one| one.reason).collect();
    reasons.sort();
    reasons
}

async fn a_receipt_moves_its_delivery_once(bed: &Bed) {
    let to = accepted(bed, 2).await;
    let delivered =
        Receipt { at: Timestamp::now() + SignedDuration::from_secs(1), ..receipt(to[0], News::Delivered) };
    let filed = bed.store.record_receipts(&[delivered.clone(), delivered.clone()], false).await.unwrap();
    let Filed::New { provider, delay: Some(delay) } = &filed[0] else { panic!("{filed:?}") };
    assert_eq!(provider.as_deref(), Some("relay"));
    assert!(*delay > SignedDuration::ZERO && *delay < SignedDuration::from_mins(10), "{delay}");
    assert_eq!(filed[1], Filed::Repeated);
    assert_eq!(record(bed, &[delivered, receipt(to[1], SOFT)]).await, ["repeated", "new"]);
    assert_eq!(record(bed, &[receipt(to[1], News::Delivered)]).await, ["new"], "told, and it stays bounced");
    assert_eq!(bed.tally("spring").await, tallied([("delivered", 1), ("bounced/mailbox_full", 1)]));
    assert_eq!(sent(bed).await, 2);
    let shown = bed.store.explain("spring", "P2").await.unwrap().remove(0);
    assert!(shown.delivery.updated_at <= Timestamp::now());
    let bounce = &shown.events[0];
    assert_eq!((bounce.kind.as_str(), bounce.reason), ("bounced", Some(Reason::MailboxFull)));
    assert_eq!(bounce.detail.as_deref(), Some("its words"));
    bed.store.erase_contact("P2").await.unwrap();
    assert_eq!(record(bed, &[receipt(to[1], News::Replied)]).await, ["new"]);
}

async fn a_receipt_overtakes_the_outcome(bed: &Bed) {
    let (me, lease) = on_the_way(bed, 3).await;
    let to: Vec<_> = lease.members.iter().map(|member| key(&lease, member)).collect();
    let early = [receipt(to[0], News::Delivered), receipt(to[1], HARD), receipt(to[2], News::Accepted)];
    assert_eq!(record(bed, &early).await, ["new"; 3]);
    let after = tallied([("delivered", 1), ("bounced/unknown_recipient", 1), ("accepted", 1)]);
    assert_eq!((bed.tally("spring").await, sent(bed).await), (after.clone(), 3));
    for _ in 0..2 {
        bed.store.record(me, &all_accepted(&lease)).await.unwrap();
        bed.check_law().await;
    }
    assert_eq!((bed.tally("spring").await, sent(bed).await), (after, 3));
    let shown = bed.store.explain("spring", "P1").await.unwrap().remove(0).delivery;
    assert_eq!((shown.attempts, shown.provider.as_deref()), (1, Some("relay")));
    assert_eq!(shown.provider_ref.as_deref(), Some("250 queued"));
    assert_eq!(bed.store.finish_campaigns(false).await.unwrap()[0].imbalance, 0);
}

async fn what_was_never_intended_stays(bed: &Bed) {
    bed.people(2).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    let mut first = super::bed::intent(&lease);
    (first.to, first.members) = (1, lease.members[..1].to_vec());
    bed.store.intend(me, &[first]).await.unwrap();
    let to: Vec<_> = lease.members.iter().map(|member| key(&lease, member)).collect();
    let both = [receipt(to[0], News::Delivered), receipt(to[1], News::Delivered)];
    assert_eq!(record(bed, &both).await, ["new"; 2]);
    assert_eq!(bed.tally("spring").await, tallied([("delivered", 1), ("planned", 1)]));
    assert_eq!(record(bed, &[receipt(to[1], News::Accepted)]).await, ["repeated"]);
    bed.store.rescue(me).await.unwrap();
    bed.check_law().await;
    assert_eq!(bed.tally("spring").await, tallied([("delivered", 1), ("planned", 1)]), "no doubt is left");
}

async fn a_receipt_settles_a_doubt(bed: &Bed) {
    let (me, lease) = on_the_way(bed, 3).await;
    let to: Vec<_> = lease.members.iter().map(|member| key(&lease, member)).collect();
    bed.store.rescue(me).await.unwrap();
    assert_eq!(bed.tally("spring").await, tallied([("unknown/crash", 3)]));
    let told = [receipt(to[0], News::Accepted), receipt(to[1], News::Delivered), receipt(to[2], SOFT)];
    assert_eq!(record(bed, &told).await, ["new"; 3]);
    assert_eq!(record(bed, &told).await, ["repeated"; 3]);
    let after = tallied([("accepted", 1), ("delivered", 1), ("bounced/mailbox_full", 1)]);
    assert_eq!((bed.tally("spring").await, sent(bed).await), (after, 3));
}

async fn a_dead_address_is_suppressed(bed: &Bed) {
    let to = accepted(bed, 4).await;
    let blocked = News::Bounced { bounce: Bounce::Block, reason: Reason::PolicyRefused };
    let told = [HARD, SOFT, blocked, News::Delivered];
    let told: Vec<_> = to.iter().zip(told).map(|(to, news)| receipt(*to, news)).collect();
    record(bed, &told).await;
    assert_eq!(suppressions(bed).await, ["bounced"]);
    assert!(is_suppressed(bed, "P1").await);
    bed.planned("next", json!({"all": true}), json!({})).await;
    assert_eq!(bed.fate("next", "P1").await, ["excluded/suppressed"]);
    assert_eq!(bed.fate("next", "P2").await, ["planned"]);
}

async fn complaints_and_opt_outs_count_once(bed: &Bed) {
    let to = accepted(bed, 2).await;
    let told = [News::Complained, News::Unsubscribed, News::Replied].map(|news| receipt(to[0], news));
    assert_eq!(record(bed, &told).await, ["new"; 3]);
    // The same person by the tracker's way, and once more by another key of the provider's.
    let again = [EventKind::Complained, EventKind::Unsubscribed].map(|kind| event(to[0], kind));
    bed.store.record_events(&again, false).await.unwrap();
    let other = Receipt { id: uuid::Uuid::now_v7(), ..told[0].clone() };
    assert_eq!(record(bed, &[other]).await, ["new"]);
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.complaints, counts.unsubscribes), (1, 1));
    assert_eq!(suppressions(bed).await, ["complaint"]);
    let contact = bed.store.contact("P1").await.unwrap().unwrap();
    assert!(contact.addresses[0].unsubscribed_at.is_some());
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 2)]));
}

async fn an_address_is_enough(bed: &Bed) {
    bed.people(3).await;
    let told = [
        about_address("p1@example.com", News::Unsubscribed),
        about_address("p2@example.com", News::Complained),
        about_address("p3@example.com", News::Replied),
    ];
    assert_eq!(record(bed, &told).await, ["new"; 3]);
    assert_eq!(record(bed, &told).await, ["repeated"; 3]);
    assert_eq!(suppressions(bed).await, ["complaint"]);
    bed.planned("next", json!({"all": true}), json!({})).await;
    assert_eq!(bed.fate("next", "P1").await, ["excluded/unsubscribed"]);
    assert_eq!(bed.fate("next", "P2").await, ["excluded/suppressed"]);
    assert_eq!(bed.fate("next", "P3").await, ["planned"]);
}

async fn strangers_are_strays(bed: &Bed) {
    let to = accepted(bed, 1).await;
    let stranger = DeliveryKey { contact: ContactNo(999), ..to[0] };
    let far = DeliveryKey { campaign: campaignd::model::CampaignNo(1 << 40), ..to[0] };
    let told = [
        receipt(stranger, News::Delivered),
        receipt(to[0], News::Delivered),
        receipt(far, HARD),
        about_address("gone@example.com", News::Unsubscribed),
        about_address("late@example.com", HARD),
    ];
    assert_eq!(record(bed, &told).await, ["stray", "new", "stray", "stray", "stray"]);
    bed.upsert(json!([super::bed::person("late")])).await;
    assert!(is_suppressed(bed, "late").await, "a dead address stays dead");
    let entry =
        Suppression { channel: Channel::Email, address: "late@example.com".into(), reason: "again".into() };
    assert_eq!(bed.store.suppress(&[entry]).await.unwrap(), 0);
    assert_eq!(bed.store.record_receipts(&[], true).await.unwrap(), []);
}

async fn receipts_are_published_once(bed: &Bed) {
    let to = accepted(bed, 1).await;
    let told = [
        receipt(to[0], HARD),
        receipt(to[0], News::Accepted),
        about_address("p1@example.com", News::Replied),
    ];
    for _ in 0..2 {
        bed.store.record_receipts(&told, true).await.unwrap();
    }
    let rows = bed.outbox(10).await;
    let keys: Vec<_> = rows.iter().map(|row| row.routing_key.as_str()).collect();
    assert_eq!(keys, ["email.bounced", "email.replied"]);
    let (bounce, reply) = (&rows[0].payload, &rows[1].payload);
    assert_eq!((&bounce["id"], &bounce["reason"]), (&json!(told[0].id), &json!("unknown_recipient")));
    assert_eq!((&bounce["campaign"], &bounce["external_id"]), (&json!("spring"), &json!("P1")));
    assert_eq!((&reply["campaign"], &reply["external_id"]), (&json!(null), &json!("P1")));
    let members = |row: &serde_json::Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(bounce), members(reply));
}

async fn a_refused_recipient_is_suppressed(bed: &Bed) {
    let (me, lease) = on_the_way(bed, 3).await;
    let reasons = [Reason::UnknownRecipient, Reason::MailboxFull, Reason::PolicyRefused];
    let refused = lease.members.iter().zip(reasons);
    let outcomes = Outcomes {
        settled: refused.map(|(member, why)| settled(&lease, member, State::Rejected, Some(why))).collect(),
        closed: vec![lease.batch],
        ..Outcomes::default()
    };
    for _ in 0..2 {
        bed.store.record(me, &outcomes).await.unwrap();
    }
    assert_eq!(suppressions(bed).await, ["rejected"]);
    bed.planned("next", json!({"all": true}), json!({})).await;
    assert_eq!(bed.tally("next").await, tallied([("excluded/suppressed", 1), ("planned", 2)]));
    bed.upsert(json!([super::bed::person("P1")])).await;
    assert!(is_suppressed(bed, "P1").await, "an import does not bring it back");
}

async fn the_report_knows_what_arrived(bed: &Bed) {
    let to = accepted(bed, 4).await;
    let rates = async || report::load(&*bed.store, "spring").await.unwrap().unwrap();
    let before = rates().await;
    assert_eq!((before.delivered, before.rates.bounce.value), (None, None), "nothing was heard yet");
    record(bed, &[receipt(to[0], HARD)]).await;
    let bounced = rates().await;
    assert_eq!((bounced.delivered, bounced.rates.bounce.value), (None, Some(0.25)));
    record(bed, &[receipt(to[1], News::Delivered), receipt(to[2], News::Delivered)]).await;
    let after = rates().await;
    assert_eq!((after.sent, after.delivered), (4, Some(2)));
    assert_eq!((after.rates.delivery.value, after.rates.bounce.value), (Some(0.5), Some(0.25)));
    assert_eq!(after.rates.receipt.value, Some(0.75));
}

/// What happens to one delivery: the outcome of its attempt, or a receipt.
#[derive(Clone)]
enum Step {
    Outcome(State, Option<Reason>),
    Told(News),
}

fn orders(steps: &[Step]) -> Vec<Vec<Step>> {
    if steps.len() < 2 {
        return vec![steps.to_vec()];
    }
    let mut all = Vec::new();
    for at in 0..steps.len() {
        let mut rest = steps.to_vec();
        let first = rest.remove(at);
        all.extend(orders(&rest).into_iter().map(|mut order| {
            order.insert(0, first.clone());
            order
        }));
    }
    all
}

/// Each story is lived by one delivery in every order, each step twice; all end in the same state.
async fn every_order_ends_the_same(bed: &Bed) {
    let ok = Step::Outcome(State::Accepted, None);
    let doubt = Step::Outcome(State::Unknown, Some(Reason::NoAnswer));
    let told = |news: &News| Step::Told(news.clone());
    let stories = [
        (vec![ok.clone(), told(&News::Accepted), told(&News::Delivered)], "delivered"),
        (vec![ok.clone(), told(&News::Delivered), told(&HARD)], "bounced/unknown_recipient"),
        (
            vec![ok.clone(), told(&News::Accepted), told(&SOFT), told(&News::Delivered)],
            "bounced/mailbox_full",
        ),
        (vec![ok, told(&News::Complained), told(&News::Unsubscribed)], "accepted"),
        (vec![doubt.clone(), told(&News::Accepted)], "accepted"),
        (vec![doubt.clone(), told(&News::Accepted), told(&News::Delivered)], "delivered"),
        (vec![doubt.clone(), told(&SOFT), told(&News::Replied)], "bounced/mailbox_full"),
        (vec![doubt], "unknown/no_answer"),
    ];
    let lives: Vec<(Vec<Step>, &str)> = stories
        .iter()
        .flat_map(|(steps, end)| orders(steps).into_iter().map(move |order| (order, *end)))
        .collect();
    let (me, lease) = on_the_way(bed, lives.len()).await;
    for round in 0..8 {
        let (mut receipts, mut outcomes) = (Vec::new(), Outcomes::default());
        for (member, (order, _)) in lease.members.iter().zip(&lives) {
            match order.get(round / 2) {
                None => {}
                Some(Step::Told(news)) => receipts.push(receipt(key(&lease, member), news.clone())),
                Some(Step::Outcome(state, reason)) => {
                    outcomes.settled.push(settled(&lease, member, *state, *reason));
                }
            }
        }
        bed.store.record(me, &outcomes).await.unwrap();
        record(bed, &receipts).await;
    }
    bed.store.record(me, &Outcomes { closed: vec![lease.batch], ..Outcomes::default() }).await.unwrap();
    let mut sent_in_all = 0;
    for (at, (_, end)) in lives.iter().enumerate() {
        assert_eq!(bed.fate("spring", &format!("P{}", at + 1)).await, [*end], "life {at}");
        sent_in_all += i64::from(!end.starts_with("unknown"));
    }
    assert_eq!(sent(bed).await, sent_in_all);
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.complaints, counts.unsubscribes), (6, 6));
    assert_eq!(bed.store.finish_campaigns(false).await.unwrap()[0].imbalance, 0);
}

/// One daemon writes outcomes, another the receipts of the same messages; where the store ends one of two that block
/// each other, it is written again.
async fn receipts_and_outcomes_meet(bed: &Bed) {
    let (me, lease) = on_the_way(bed, 60).await;
    let outcomes = async {
        for members in lease.members.chunks(6) {
            let outcome = |member| settled(&lease, member, State::Accepted, None);
            let settled: Vec<Settled> = members.iter().map(outcome).collect();
            until_durable(async || {
                let chunk = Outcomes { settled: settled.clone(), ..Outcomes::default() };
                bed.store.record(me, &chunk).await
            })
            .await;
        }
    };
    let told = |store: Arc<dyn Store>, news: News| {
        let lease = &lease;
        async move {
            for members in lease.members.rchunks(20) {
                let told = |member| receipt(key(lease, member), news.clone());
                let receipts: Vec<Receipt> = members.iter().rev().map(told).collect();
                until_durable(async || store.record_receipts(&receipts, true).await.map(drop)).await;
            }
        }
    };
    let other = bed.another_daemon();
    tokio::join!(
        outcomes,
        told(other.clone(), News::Delivered),
        told(bed.store.clone(), News::Delivered),
        told(other, News::Unsubscribed),
        told(bed.store.clone(), News::Complained),
    );
    bed.check_law().await;
    assert_eq!(bed.tally("spring").await, tallied([("delivered", 60)]));
    assert_eq!(sent(bed).await, 60);
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.complaints, counts.unsubscribes), (60, 60));
    assert_eq!(bed.outbox(1_000).await.len(), 180);
}

async fn until_durable(write: impl AsyncFn() -> campaignd::store::Result<()>) {
    while let Err(error) = write().await {
        assert!(error.is_transient(), "{error:?}");
    }
}
