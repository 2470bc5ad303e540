//! The list of campaigns: one line a campaign, found by id or name, its numbers those of its counters.

use campaignd::model::{CampaignStatus, EventKind, State};
use campaignd::store::dispatching::Outcomes;
use campaignd::store::overview::Overview;
use jiff::SignedDuration;
use serde_json::json;

use super::bed::{Bed, all_accepted, event, key, message, settled};
use super::on_each_store;

on_each_store!(
    a_line_has_its_campaigns_numbers,
    lines_are_found_by_id_and_by_name,
    months_of_a_standing_campaign_are_one_line,
);

async fn overview(bed: &Bed, search: &str) -> Vec<Overview> {
    bed.store.overview(search, 10, 0).await.unwrap()
}

async fn ids(bed: &Bed, search: &str) -> Vec<String> {
    overview(bed, search).await.into_iter().map(|line| line.id).collect()
}

async fn a_line_has_its_campaigns_numbers(bed: &Bed) {
    bed.people(4).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"contacts": ["P1", "P2", "P3", "gone"]}), json!({"name": "Spring"})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    let states = [State::Accepted, State::Delivered];
    let settled = lease.members.iter().zip(states).map(|(member, to)| settled(&lease, member, to, None));
    bed.store.record(me, &Outcomes { settled: settled.collect(), ..Outcomes::default() }).await.unwrap();
    let [one, two] = [0, 1].map(|at: usize| key(&lease, &lease.members[at]));
    let events = [(one, EventKind::Opened), (one, EventKind::Opened), (two, EventKind::Clicked)];
    let events = events.map(|(delivery, kind)| event(delivery, kind));
    bed.store.record_events(&events, false).await.unwrap();
    bed.campaign("autumn", json!({"all": true}), json!({"send_at": "2099-01-01T00:00:00Z"})).await;

    let lines = overview(bed, "").await;
    let record = bed.store.campaign("spring").await.unwrap().unwrap();
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!(
        lines[1],
        Overview {
            id: "spring".into(),
            name: Some("Spring".into()),
            status: CampaignStatus::Running,
            channel: record.channel,
            accepted_at: record.accepted_at,
            send_at: None,
            started_at: record.started_at,
            targeted: 4,
            settled: 3,
            sent: 2,
            delivered: 1,
            opened: 2,
            clicked: 1,
        }
    );
    assert_eq!((record.targeted, record.settled, record.sent), (4, 3, 2));
    assert_eq!((counts.opens.unique, counts.clicks.unique), (2, 1));
    assert_eq!((lines[0].id.as_str(), lines[0].status), ("autumn", CampaignStatus::Scheduled));
    assert_eq!(lines[0].send_at, Some("2099-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!((lines[0].targeted, lines[0].settled, lines[0].opened), (0, 0, 0));
}

async fn lines_are_found_by_id_and_by_name(bed: &Bed) {
    for (id, name) in [("a-1", json!("Spring 50% off")), ("b-2", json!(null)), ("c_3", json!("春季 SALE"))]
    {
        bed.campaign(id, json!({"all": true}), json!({"name": name})).await;
    }
    assert_eq!(ids(bed, "").await, ["c_3", "b-2", "a-1"]);
    assert_eq!(ids(bed, "sale").await, ["c_3"]);
    assert_eq!(ids(bed, "SPRING").await, ["a-1"]);
    assert_eq!(ids(bed, "春").await, ["c_3"]);
    assert_eq!(ids(bed, "B-").await, ["b-2"]);
    // Characters that stand for others in patterns stand for themselves here.
    assert_eq!(ids(bed, "%").await, ["a-1"]);
    assert_eq!(ids(bed, "_").await, ["c_3"]);
    assert_eq!(ids(bed, "' OR 1").await, [""; 0]);
    let page = bed.store.overview("", 1, 1).await.unwrap();
    assert_eq!(page.iter().map(|line| line.id.as_str()).collect::<Vec<_>>(), ["b-2"]);
}

async fn months_of_a_standing_campaign_are_one_line(bed: &Bed) {
    bed.people(2).await;
    let me = bed.store.join("one").await.unwrap();
    let mut sent = Vec::new();
    for id in ["m1", "m2"] {
        bed.new_month().await;
        bed.accept(message(id, "welcome", json!({"external_id": "P1"}), json!({}))).await;
        let lease = bed.lease(me).await.pop().unwrap();
        bed.intend(me, &lease).await.unwrap();
        bed.store.record(me, &all_accepted(&lease)).await.unwrap();
        sent.push(key(&lease, &lease.members[0]));
    }
    assert_ne!(sent[0].campaign, sent[1].campaign, "each month has a number of its own");
    bed.store.record_events(&[event(sent[0], EventKind::Clicked)], false).await.unwrap();
    bed.pass(SignedDuration::from_hours(1)).await;
    let lines = overview(bed, "welcome").await;
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(line.status, CampaignStatus::Standing);
    assert_eq!((line.targeted, line.settled, line.sent, line.clicked), (2, 2, 2, 1));
}
