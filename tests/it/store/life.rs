//! A whole life: every method of the store once, in the order in which a daemon calls them.

use campaignd::model::{Channel, Control, EventKind, LinkNo, State};
use campaignd::store::campaigns::Resolution;
use campaignd::store::contacts::Suppression;
use campaignd::store::dispatching::{FailedAttempt, Outcomes, Rescheduled};
use campaignd::store::jobs::Acceptance;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{Bed, all_accepted, event, key, message, settled, tallied};
use super::on_each_store;

on_each_store!(a_campaign_from_job_to_report, a_message_from_job_to_report, contacts_come_and_go);

async fn a_campaign_from_job_to_report(bed: &Bed) {
    bed.people(5).await;
    let number =
        bed.planned("spring", json!({"all": true}), json!({"rate": "500/s", "data": {"a": 1}})).await;
    assert_eq!(bed.tally("spring").await, tallied([("planned", 5)]));
    let sending = bed.store.sending(number).await.unwrap().unwrap();
    assert_eq!((&*sending.id, sending.rate.to_string().as_str()), ("spring", "500/s"));
    let me = bed.store.join("one").await.unwrap();
    assert_eq!(bed.store.beat(me).await.unwrap(), [(me, 1)]);
    let lease = bed.lease(me).await.pop().unwrap();
    let template = bed.store.template(number, lease.template).await.unwrap().unwrap();
    assert_eq!(template, super::bed::template());
    let granted = bed.intend(me, &lease).await.unwrap();
    assert_eq!(granted[0].address, "p1@example.com");
    let mut outcomes = all_accepted(&lease);
    outcomes.settled.pop();
    let last = lease.members[4];
    outcomes.rescheduled.push(Rescheduled {
        campaign: number,
        member: last,
        batch: lease.batch,
        channel: Channel::Email,
        lane: lease.lane,
        template: lease.template,
        options: None,
        due_at: Timestamp::now() + SignedDuration::from_mins(5),
        attempts: 1,
        provider: Some("relay".into()),
        doubt: None,
        attempt: Some(FailedAttempt {
            at: Timestamp::now(),
            reason: campaignd::model::Reason::TemporaryFailure,
            detail: "451 later".into(),
        }),
    });
    bed.store.record(me, &outcomes).await.unwrap();
    bed.check_law().await;
    assert_eq!(bed.store.backlog().await.unwrap()[0].waiting, 1);
    assert!(bed.lease(me).await.is_empty());
    bed.pass(SignedDuration::from_mins(5)).await;
    let retry = bed.lease(me).await.pop().unwrap();
    assert_eq!((retry.attempt, retry.members.as_slice()), (1, [last].as_slice()));
    bed.intend(me, &retry).await.unwrap();
    assert_eq!(bed.store.counts("spring").await.unwrap().unwrap().sending, 1);
    let rescued = bed.another_daemon().rescue(me).await.unwrap();
    assert_eq!((rescued.batches, rescued.unknown, rescued.waiting), (1, 1, 0));
    bed.check_law().await;
    assert_eq!(bed.store.resolve("spring", "P5", true).await.unwrap(), Resolution::Done);
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 5)]));
    let finished = bed.store.finish_campaigns(false).await.unwrap();
    assert_eq!((finished[0].id.as_str(), finished[0].imbalance), ("spring", 0));
    let delivery = key(&lease, &lease.members[0]);
    assert!(bed.store.sent_at(&[delivery]).await.unwrap().contains_key(&delivery));
    assert_eq!(bed.store.link(number, LinkNo(1)).await.unwrap().unwrap(), "https://shop.example/b");
    let events = [
        event(delivery, EventKind::Opened),
        event(delivery, EventKind::Clicked),
        event(delivery, EventKind::Unsubscribed),
    ];
    assert_eq!(bed.store.record_events(&events, true).await.unwrap(), 3);
    let outbox = bed.outbox(10).await;
    assert_eq!(outbox[0].routing_key, "email.opened");
    bed.store.outbox_done(&outbox.iter().map(|row| row.number).collect::<Vec<_>>()).await.unwrap();
    assert!(bed.outbox(10).await.is_empty());
    bed.store.fold_counters().await.unwrap();
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.sent, counts.opens.unique, counts.opens.total, counts.clicks.total), (5, 1, 1, 1));
    assert_eq!((counts.unsubscribes, counts.links[0].clicks), (1, 1));
    assert_eq!(bed.store.timeline("P1", 10).await.unwrap().unwrap().len(), 4);
    let explained = bed.store.explain("spring", "P5").await.unwrap();
    assert_eq!(explained[0].attempts_made[0].detail, "451 later");
    assert_eq!(bed.store.campaigns(10, 0).await.unwrap()[0].sent, 5);
    bed.check_law().await;
}

async fn a_message_from_job_to_report(bed: &Bed) {
    let me = bed.store.join("one").await.unwrap();
    bed.people(1).await;
    let job = message("m1", "thanks", json!({"external_id": "P1"}), json!({"data": {"order": 7}}));
    assert_eq!(bed.accept_as(job, Some(me)).await, Acceptance::New { warnings: vec![] });
    let lease = bed.store.leased_at_acceptance(me, Channel::Email).await.unwrap().pop().unwrap();
    assert_eq!(bed.store.leased_at_acceptance(me, Channel::Email).await.unwrap(), []);
    let granted = bed.intend(me, &lease).await.unwrap();
    assert_eq!(granted[0].own_data.as_ref().unwrap()["order"], 7);
    bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    bed.store.leave(me).await.unwrap();
    assert_eq!(bed.tally("thanks").await, tallied([("accepted", 1)]));
    bed.check_law().await;
}

async fn contacts_come_and_go(bed: &Bed) {
    bed.people(2).await;
    assert_eq!(bed.store.owner_of("P1@example.com").await.unwrap().unwrap(), "P1");
    assert_eq!(
        bed.upsert(json!([{"external_id": "Q", "addresses": [super::bed::email("P1")]}])).await,
        ["Q"]
    );
    let entry =
        Suppression { channel: Channel::Email, address: "p1@example.com".into(), reason: "complaint".into() };
    assert_eq!(bed.store.suppress(std::slice::from_ref(&entry)).await.unwrap(), 1);
    assert_eq!(bed.store.suppressions(10).await.unwrap()[0].address.as_deref(), Some("p1@example.com"));
    bed.campaign("spring", json!({"contacts": ["P1", "P2", "nobody", "P2"]}), json!({})).await;
    assert_eq!(bed.store.control("spring", Control::Pause).await.unwrap().unwrap().as_str(), "paused");
    bed.store.control("spring", Control::Cancel).await.unwrap();
    bed.plan(2).await;
    bed.store.settle_stopped().await.unwrap();
    assert_eq!(bed.store.stopped(&[]).await.unwrap(), []);
    assert!(bed.store.erase_contact("P1").await.unwrap());
    assert!(bed.store.contact("P1").await.unwrap().is_none());
    assert!(bed.store.unsuppress(Channel::Email, "p1@example.com").await.unwrap());
    assert_eq!(bed.store.prune_jobs(1).await.unwrap(), 0);
    let me = bed.store.join("one").await.unwrap();
    bed.people(1).await;
    bed.planned("summer", json!({"segment": {"attribute": "a", "exists": false}}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    let refused = vec![settled(&lease, &lease.members[0], State::Rejected, None)];
    bed.store.record(me, &Outcomes { settled: refused, ..Outcomes::default() }).await.unwrap();
    bed.intend(me, &lease).await.unwrap();
    bed.store.release(me, &[lease.hold()]).await.unwrap();
    bed.check_law().await;
}
