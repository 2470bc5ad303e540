//! What recipients do: counted once, written back to deliveries and contacts, published.

use campaignd::model::event::{Event, MachineRule};
use campaignd::model::{ContactNo, DeliveryKey, EventKind, LinkNo};
use campaignd::store::contacts::TimelineWhat;
use campaignd::store::reports::Engaged;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{Bed, all_accepted, email, event, key};
use super::on_each_store;

on_each_store!(
    a_repeated_event_counts_once,
    a_click_is_an_open_too,
    machines_are_counted_apart,
    links_count_clicks_and_people,
    unsubscribes_and_complaints_count_once,
    hours_follow_the_contacts_clock,
    events_are_published_once,
    an_event_of_an_unknown_delivery_is_dropped,
    the_timeline_shows_newest_first,
    two_writers_meet_on_the_same_people,
    sent_is_known_once_it_was_taken,
);

/// A campaign that `n` people got.
async fn delivered(bed: &Bed, n: usize) -> Vec<DeliveryKey> {
    bed.people(n).await;
    delivered_to_everyone(bed).await
}

async fn delivered_to_everyone(bed: &Bed) -> Vec<DeliveryKey> {
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    lease.members.iter().map(|member| key(&lease, member)).collect()
}

async fn record(bed: &Bed, events: &[Event]) -> u64 {
    bed.store.record_events(events, false).await.unwrap()
}

async fn engaged(bed: &Bed) -> (Engaged, Engaged) {
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    (counts.opens, counts.clicks)
}

fn counted(unique: i64, total: i64, machine: i64) -> Engaged {
    Engaged { unique, total, machine }
}

async fn a_repeated_event_counts_once(bed: &Bed) {
    let to = delivered(bed, 2).await;
    let open = event(to[0], EventKind::Opened);
    assert_eq!(record(bed, &[open.clone(), open.clone()]).await, 1);
    assert_eq!(record(bed, &[open.clone(), event(to[1], EventKind::Opened)]).await, 1);
    assert_eq!(record(bed, &[open]).await, 0);
    assert_eq!(record(bed, &[]).await, 0);
    assert_eq!(engaged(bed).await.0, counted(2, 2, 0));
    assert_eq!(bed.store.contact("P1").await.unwrap().unwrap().engagement.opens, 1);
}

async fn a_click_is_an_open_too(bed: &Bed) {
    let to = delivered(bed, 2).await;
    record(bed, &[event(to[0], EventKind::Clicked), event(to[0], EventKind::Clicked)]).await;
    assert_eq!(engaged(bed).await, (counted(1, 0, 0), counted(1, 2, 0)));
    record(bed, &[event(to[0], EventKind::Opened), event(to[0], EventKind::Opened)]).await;
    record(bed, &[event(to[1], EventKind::Opened), event(to[1], EventKind::Clicked)]).await;
    assert_eq!(engaged(bed).await, (counted(2, 3, 0), counted(2, 3, 0)));
    bed.store.fold_counters().await.unwrap();
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!(
        counts
            .series
            .iter()
            .map(|hour| (hour.opens, hour.clicks))
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (3, 3)
    );
}

async fn machines_are_counted_apart(bed: &Bed) {
    let to = delivered(bed, 1).await;
    let machine = |kind| Event { machine: Some(MachineRule::KnownAgent), ..event(to[0], kind) };
    record(bed, &[machine(EventKind::Opened), machine(EventKind::Clicked), machine(EventKind::Clicked)])
        .await;
    assert_eq!(engaged(bed).await, (counted(0, 0, 1), counted(0, 0, 2)));
    assert_eq!(bed.store.contact("P1").await.unwrap().unwrap().engagement.active_hours, [0; 0]);
    record(bed, &[event(to[0], EventKind::Opened)]).await;
    assert_eq!(engaged(bed).await.0, counted(1, 1, 1));
    let shown = bed.store.explain("spring", "P1").await.unwrap().remove(0).events;
    assert_eq!(shown.iter().filter(|event| event.machine.as_deref() == Some("known_agent")).count(), 3);
}

async fn links_count_clicks_and_people(bed: &Bed) {
    let to = delivered(bed, 3).await;
    let click = |at: usize, link| Event { link: Some(LinkNo(link)), ..event(to[at], EventKind::Clicked) };
    record(bed, &[click(0, 0), click(0, 0), click(0, 1)]).await;
    record(bed, &[click(0, 0), click(1, 0), click(2, 1), click(2, 1)]).await;
    let links = bed.store.counts("spring").await.unwrap().unwrap().links;
    let shown: Vec<_> = links.iter().map(|link| (link.url.as_str(), link.clicks, link.unique)).collect();
    assert_eq!(shown, [("https://shop.example/a", 4, 2), ("https://shop.example/b", 3, 2)]);
}

async fn unsubscribes_and_complaints_count_once(bed: &Bed) {
    let to = delivered(bed, 1).await;
    for _ in 0..2 {
        record(bed, &[event(to[0], EventKind::Unsubscribed), event(to[0], EventKind::Complained)]).await;
    }
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.unsubscribes, counts.complaints), (1, 1));
    let contact = bed.store.contact("P1").await.unwrap().unwrap();
    assert!(contact.addresses[0].unsubscribed_at.is_some());
}

async fn hours_follow_the_contacts_clock(bed: &Bed) {
    bed.upsert(json!([
        {"external_id": "A", "timezone": "Asia/Kathmandu", "addresses": [email("a")]},
        {"external_id": "B", "addresses": [email("b")]},
    ]))
    .await;
    let to = delivered_to_everyone(bed).await;
    let at =
        |delivery, kind, at: &str| Event { at: at.parse::<Timestamp>().unwrap(), ..event(delivery, kind) };
    record(
        bed,
        &[
            at(to[0], EventKind::Opened, "2026-03-01T18:14:00Z"),
            at(to[0], EventKind::Clicked, "2026-03-01T18:16:00Z"),
            at(to[1], EventKind::Opened, "2026-03-01T18:16:00Z"),
        ],
    )
    .await;
    record(bed, &[at(to[0], EventKind::Opened, "2026-02-01T18:16:00Z")]).await;
    let hours = async |id: &str| {
        let engagement = bed.store.contact(id).await.unwrap().unwrap().engagement;
        engagement
            .active_hours
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(|(hour, n)| (hour, *n))
            .collect::<Vec<_>>()
    };
    assert_eq!(hours("A").await, [(0, 2), (23, 1)], "Nepal is 5:45 ahead");
    assert_eq!(hours("B").await, [(18, 1)]);
    let engagement = bed.store.contact("A").await.unwrap().unwrap().engagement;
    assert_eq!((engagement.opens, engagement.clicks), (2, 1));
    assert_eq!(engagement.first_open_at.unwrap().to_string(), "2026-02-01T18:16:00Z");
    assert_eq!(engagement.last_open_at.unwrap().to_string(), "2026-03-01T18:14:00Z");
    let series = bed.store.counts("spring").await.unwrap().unwrap().series;
    assert_eq!(series[0].hour.to_string(), "2026-02-01T18:00:00Z");
    bed.store.erase_contact("A").await.unwrap();
    record(bed, &[at(to[0], EventKind::Opened, "2026-03-02T18:16:00Z")]).await;
}

async fn events_are_published_once(bed: &Bed) {
    let to = delivered(bed, 1).await;
    let click = event(to[0], EventKind::Clicked);
    bed.store.record_events(&[click.clone(), click.clone()], true).await.unwrap();
    bed.store.record_events(std::slice::from_ref(&click), true).await.unwrap();
    let rows = bed.outbox(10).await;
    assert_eq!((rows.len(), rows[0].routing_key.as_str()), (1, "email.clicked"));
    let payload = &rows[0].payload;
    assert_eq!(payload["id"], json!(click.id));
    assert_eq!((&payload["campaign"], &payload["external_id"]), (&json!("spring"), &json!("P1")));
    bed.store.outbox_done(&[rows[0].number]).await.unwrap();
    assert_eq!(bed.outbox(10).await, []);
}

async fn an_event_of_an_unknown_delivery_is_dropped(bed: &Bed) {
    let to = delivered(bed, 1).await;
    let stranger = DeliveryKey { contact: ContactNo(999), ..to[0] };
    let far = DeliveryKey { campaign: campaignd::model::CampaignNo(1 << 40), ..to[0] };
    let events = [stranger, to[0], far].map(|delivery| event(delivery, EventKind::Opened));
    assert_eq!(bed.store.record_events(&events, true).await.unwrap(), 1);
    assert_eq!(
        bed.store.sent_at(&[stranger, to[0], far]).await.unwrap().into_keys().collect::<Vec<_>>(),
        [to[0]]
    );
}

async fn the_timeline_shows_newest_first(bed: &Bed) {
    let to = delivered(bed, 1).await;
    record(bed, &[event(to[0], EventKind::Opened), event(to[0], EventKind::Clicked)]).await;
    let line = bed.store.timeline("P1", 10).await.unwrap().unwrap();
    assert_eq!(line.len(), 3);
    assert!(line.windows(2).all(|pair| pair[0].at >= pair[1].at));
    assert!(
        matches!(&line[0].what, TimelineWhat::Event { kind: EventKind::Clicked, link: Some(link), machine: false } if link == "https://shop.example/b")
    );
    assert_eq!(bed.store.timeline("P1", 2).await.unwrap().unwrap(), line[..2]);
    assert_eq!(bed.store.timeline("nobody", 2).await.unwrap(), None);
}

async fn two_writers_meet_on_the_same_people(bed: &Bed) {
    let to = delivered(bed, 20).await;
    let writer = |store: std::sync::Arc<dyn campaignd::store::Store>, reverse: bool| {
        let mut to = to.clone();
        if reverse {
            to.reverse();
        }
        async move {
            for _ in 0..10 {
                let mut events: Vec<Event> = to.iter().map(|key| event(*key, EventKind::Opened)).collect();
                events.extend(to.iter().map(|key| event(*key, EventKind::Clicked)));
                events.extend(to.iter().map(|key| event(*key, EventKind::Unsubscribed)));
                store.record_events(&events, true).await.unwrap();
            }
        }
    };
    let fold = async {
        for _ in 0..10 {
            bed.store.fold_counters().await.unwrap();
        }
    };
    tokio::join!(writer(bed.store.clone(), false), writer(bed.another_daemon(), true), fold);
    assert_eq!(engaged(bed).await, (counted(20, 400, 0), counted(20, 400, 0)));
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.unsubscribes, counts.links.iter().map(|link| link.unique).sum::<i64>()), (20, 20));
    assert_eq!(bed.store.contact("P7").await.unwrap().unwrap().engagement.clicks, 20);
}

async fn sent_is_known_once_it_was_taken(bed: &Bed) {
    bed.people(1).await;
    let me = bed.store.join("one").await.unwrap();
    let number = bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    let delivery = key(&lease, &lease.members[0]);
    bed.intend(me, &lease).await.unwrap();
    let (on_its_way, _) = bed.store.sent_at(&[delivery]).await.unwrap()[&delivery];
    assert!(Timestamp::now().duration_since(on_its_way).abs() < SignedDuration::from_secs(60));
    let outcomes = all_accepted(&lease);
    bed.store.record(me, &outcomes).await.unwrap();
    let (at, links) = bed.store.sent_at(&[delivery]).await.unwrap()[&delivery];
    assert_eq!((at.as_millisecond(), links), (outcomes.settled[0].at.as_millisecond(), 2));
    assert_eq!(bed.store.link(number, LinkNo(0)).await.unwrap().as_deref(), Some("https://shop.example/a"));
    assert_eq!(bed.store.link(number, LinkNo(9)).await.unwrap(), None);
}
