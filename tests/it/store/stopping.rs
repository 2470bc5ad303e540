//! How campaigns end: finished, cancelled, expired; and standing ones, which go on.

use campaignd::model::{CampaignStatus, Control, State};
use campaignd::store::dispatching::Outcomes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{Bed, all_accepted, intent, message, settled, tallied};
use super::on_each_store;

on_each_store!(
    a_campaign_finishes_when_nothing_waits,
    a_cancelled_campaign_accounts_for_everyone,
    what_was_handed_out_before_a_cancel_still_counts,
    a_campaign_cancelled_in_planning_accounts_for_everyone,
    an_expired_campaign_accounts_for_everyone,
    a_finished_campaign_takes_no_control,
    a_standing_campaign_goes_on,
    a_cancelled_standing_campaign_sends_no_more,
    counters_survive_folding,
);

async fn status(bed: &Bed, id: &str) -> CampaignStatus {
    bed.store.campaign(id).await.unwrap().unwrap().status
}

/// Finished campaigns; their rows agree with their counters.
async fn finished(bed: &Bed) -> Vec<String> {
    let finished = bed.store.finish_campaigns(false).await.unwrap();
    assert!(finished.iter().all(|one| one.imbalance == 0), "{finished:?}");
    finished.into_iter().map(|one| one.id).collect()
}

async fn a_campaign_finishes_when_nothing_waits(bed: &Bed) {
    bed.people(2).await;
    let me = bed.store.join("one").await.unwrap();
    bed.campaign("spring", json!({"all": true}), json!({})).await;
    assert_eq!(status(bed, "spring").await, CampaignStatus::Scheduled);
    let number = bed.store.campaigns_to_plan().await.unwrap()[0];
    assert_eq!(status(bed, "spring").await, CampaignStatus::Planning);
    bed.store.plan_page(number, 1).await.unwrap();
    assert_eq!(finished(bed).await, [""; 0]);
    bed.plan(1).await;
    assert_eq!(status(bed, "spring").await, CampaignStatus::Running);
    let leases = bed.lease(me).await;
    for lease in &leases {
        assert_eq!(finished(bed).await, [""; 0]);
        bed.intend(me, lease).await.unwrap();
        bed.store.record(me, &all_accepted(lease)).await.unwrap();
    }
    assert_eq!(finished(bed).await, ["spring"]);
    assert_eq!(finished(bed).await, [""; 0]);
    assert_eq!(status(bed, "spring").await, CampaignStatus::Finished);
}

async fn a_cancelled_campaign_accounts_for_everyone(bed: &Bed) {
    bed.people(1_100).await;
    bed.planned("spring", json!({"all": true}), json!({})).await;
    bed.store.control("spring", Control::Cancel).await.unwrap();
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 1_100);
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 0);
    assert_eq!(bed.tally("spring").await, tallied([("cancelled/campaign_cancelled", 1_100)]));
    bed.check_law().await;
    assert_eq!(finished(bed).await, ["spring"]);
    assert_eq!(status(bed, "spring").await, CampaignStatus::Cancelled);
}

async fn what_was_handed_out_before_a_cancel_still_counts(bed: &Bed) {
    bed.people(5).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    let mut part = intent(&lease);
    part.to = 2;
    part.members.truncate(2);
    bed.store.intend(me, &[part.clone()]).await.unwrap();
    bed.store.control("spring", Control::Cancel).await.unwrap();
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 3);
    assert_eq!(bed.store.counts("spring").await.unwrap().unwrap().sending, 2);
    assert_eq!(finished(bed).await, [""; 0]);
    assert_eq!(bed.intend(me, &lease).await, None);
    let rows =
        lease.members[..2].iter().map(|member| settled(&lease, member, State::Accepted, None)).collect();
    bed.store
        .record(me, &Outcomes { settled: rows, closed: vec![lease.batch], ..Outcomes::default() })
        .await
        .unwrap();
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 2), ("cancelled/campaign_cancelled", 3)]));
    assert_eq!(finished(bed).await, ["spring"]);
    bed.check_law().await;
}

async fn a_campaign_cancelled_in_planning_accounts_for_everyone(bed: &Bed) {
    bed.people(5).await;
    let later = Timestamp::now() + SignedDuration::from_hours(9);
    bed.campaign("scheduled", json!({"all": true}), json!({"send_at": later.to_string()})).await;
    bed.campaign("half", json!({"contacts": ["P1", "P2", "P2", "P3"]}), json!({})).await;
    let numbers = bed.store.campaigns_to_plan().await.unwrap();
    bed.store.plan_page(numbers[0], 1).await.unwrap().unwrap();
    bed.store.control("half", Control::Cancel).await.unwrap();
    bed.store.control("scheduled", Control::Cancel).await.unwrap();
    bed.plan(2).await;
    bed.store.settle_stopped().await.unwrap();
    let want = tallied([("cancelled/campaign_cancelled", 3), ("excluded/duplicate", 1)]);
    assert_eq!(bed.tally("half").await, want);
    assert_eq!(bed.tally("scheduled").await, tallied([("cancelled/campaign_cancelled", 5)]));
    assert_eq!(finished(bed).await.len(), 2);
    bed.check_law().await;
}

async fn an_expired_campaign_accounts_for_everyone(bed: &Bed) {
    bed.people(5).await;
    let me = bed.store.join("one").await.unwrap();
    let soon = json!({"expires_at": (Timestamp::now() + SignedDuration::from_hours(1)).to_string()});
    bed.planned("planned", json!({"all": true}), soon.clone()).await;
    bed.planned("leased", json!({"all": true}), soon.clone()).await;
    let streams = bed.store.campaigns_due(campaignd::model::Channel::Email).await.unwrap();
    let lease = bed.store.lease(me, &streams[1..], 1).await.unwrap().pop().unwrap();
    bed.campaign("half", json!({"all": true}), soon).await;
    let half = bed.store.campaigns_to_plan().await.unwrap()[0];
    bed.store.plan_page(half, 2).await.unwrap().unwrap();
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 0);
    bed.pass(SignedDuration::from_hours(1)).await;
    bed.plan(2).await;
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 12);
    bed.store.release(me, &[lease.hold()]).await.unwrap();
    for id in ["planned", "leased", "half"] {
        assert_eq!(bed.tally(id).await, tallied([("expired/campaign_expired", 5)]), "{id}");
    }
    assert_eq!(finished(bed).await.len(), 3);
    bed.check_law().await;
}

async fn a_finished_campaign_takes_no_control(bed: &Bed) {
    bed.planned("spring", json!({"contacts": []}), json!({})).await;
    finished(bed).await;
    for control in Control::ALL {
        let status = bed.store.control("spring", *control).await.unwrap().unwrap();
        assert_eq!(status, CampaignStatus::Finished);
    }
    assert_eq!(bed.store.control("other", Control::Pause).await.unwrap(), None);
}

async fn a_standing_campaign_goes_on(bed: &Bed) {
    bed.people(2).await;
    let me = bed.store.join("one").await.unwrap();
    let say = async |id: &str, to: &str| {
        bed.accept_as(message(id, "thanks", json!({"external_id": to}), json!({})), Some(me)).await;
    };
    say("m1", "P1").await;
    bed.new_month().await;
    say("m2", "P1").await;
    say("m3", "P2").await;
    say("m4", "ghost").await;
    bed.check_law().await;
    assert_eq!(bed.tally("thanks").await, tallied([("planned", 3), ("excluded/unknown_contact", 1)]));
    assert_eq!(bed.store.campaigns(10, 0).await.unwrap().len(), 1, "the months are one campaign");
    assert_eq!(bed.fate("thanks", "P1").await, ["planned", "planned"]);
    let query = |after| campaignd::store::reports::DeliveryQuery { state: None, after, limit: 3 };
    let page = bed.store.deliveries("thanks", &query(None)).await.unwrap();
    let rest = bed.store.deliveries("thanks", &query(Some(page[2].cursor))).await.unwrap();
    assert_eq!((page.len(), rest.len()), (3, 1));
    for lease in bed.store.leased_at_acceptance(me, campaignd::model::Channel::Email).await.unwrap() {
        bed.intend(me, &lease).await.unwrap();
        bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    }
    assert_eq!(finished(bed).await, ["thanks"], "last month is done");
    assert_eq!(finished(bed).await, [""; 0]);
    assert_eq!(status(bed, "thanks").await, CampaignStatus::Standing);
    bed.check_law().await;
}

async fn a_cancelled_standing_campaign_sends_no_more(bed: &Bed) {
    bed.people(1).await;
    let say = |id: &str| message(id, "thanks", json!({"external_id": "P1"}), json!({}));
    bed.accept(say("m1")).await;
    bed.store.control("thanks", Control::Cancel).await.unwrap();
    bed.new_month().await;
    bed.accept(say("m2")).await;
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 1);
    assert_eq!(bed.tally("thanks").await, tallied([("cancelled/campaign_cancelled", 2)]));
    assert_eq!(status(bed, "thanks").await, CampaignStatus::Cancelled);
    bed.check_law().await;
}

async fn counters_survive_folding(bed: &Bed) {
    bed.people(3).await;
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let before = bed.store.counts("spring").await.unwrap();
    assert!(bed.store.fold_counters().await.unwrap() > 0);
    assert_eq!(bed.store.fold_counters().await.unwrap(), 0);
    assert_eq!(bed.store.counts("spring").await.unwrap(), before);
    bed.store.control("spring", Control::Cancel).await.unwrap();
    bed.store.settle_stopped().await.unwrap();
    let other = bed.another_daemon();
    let (one, two) = tokio::join!(bed.store.fold_counters(), other.fold_counters());
    assert!(one.unwrap() + two.unwrap() > 0);
    bed.check_law().await;
    assert_eq!(finished(bed).await, ["spring"]);
}
