//! Leases: who sends which batch, and what a dead daemon leaves.

use campaignd::model::{Channel, Control, Lane, State};
use campaignd::store::dispatching::{Hold, Outcomes};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{Bed, Db, all_accepted, intent, message, person, settled, tallied};
use super::on_each_store;
use crate::harness::wait::eventually;

on_each_store!(
    every_stream_gets_its_share,
    two_daemons_never_hold_one_batch,
    nothing_is_leased_before_its_time,
    a_stopped_campaign_is_not_leased,
    a_message_is_leased_to_its_acceptor,
    a_released_batch_waits_for_anyone,
    a_release_in_mid_air_leaves_the_doubtful_named,
    a_rescue_names_the_doubtful_and_frees_the_rest,
    a_rescued_lease_is_worthless,
    a_lost_lease_is_refused_beside_its_successor,
    a_forgotten_daemons_leases_are_seen,
    a_daemon_that_holds_leases_cannot_leave,
);

async fn every_stream_gets_its_share(bed: &Bed) {
    bed.people(1_100).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("large", json!({"all": true}), json!({})).await;
    bed.planned("small", json!({"contacts": ["P1"]}), json!({"lane": "normal"})).await;
    let streams = bed.store.campaigns_due(Channel::Email).await.unwrap();
    assert_eq!(streams.iter().map(|(_, lane)| *lane).collect::<Vec<_>>(), [Lane::Normal, Lane::Bulk]);
    assert_eq!(bed.store.campaigns_due(Channel::Sms).await.unwrap(), []);
    let leases = bed.store.lease(me, &streams, 1).await.unwrap();
    let mut sizes: Vec<usize> = leases.iter().map(|lease| lease.members.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 500]);
    let streams = bed.store.campaigns_due(Channel::Email).await.unwrap();
    let rest = bed.store.lease(me, &streams, 9).await.unwrap();
    assert_eq!(rest.iter().map(|lease| lease.members.len()).sum::<usize>(), 600);
}

async fn two_daemons_never_hold_one_batch(bed: &Bed) {
    bed.people(10).await;
    let other = bed.another_daemon();
    let (me, you) = (bed.store.join("one").await.unwrap(), other.join("two").await.unwrap());
    for i in 0..10 {
        bed.planned(&format!("c{i}"), json!({"all": true}), json!({})).await;
    }
    let streams = bed.store.campaigns_due(Channel::Email).await.unwrap();
    let (mine, yours) = tokio::join!(bed.store.lease(me, &streams, 5), other.lease(you, &streams, 5));
    let mut batches: Vec<_> =
        mine.unwrap().into_iter().chain(yours.unwrap()).map(|lease| lease.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    assert_eq!(batches.len(), 10);
    assert!(bed.store.beat(me).await.unwrap().contains(&(you, 0)));
}

async fn nothing_is_leased_before_its_time(bed: &Bed) {
    bed.people(1).await;
    let me = bed.store.join("one").await.unwrap();
    let later = Timestamp::now() + SignedDuration::from_hours(2);
    bed.campaign("spring", json!({"all": true}), json!({"send_at": later.to_string()})).await;
    let job = message("m", "thanks", json!({"external_id": "P1"}), json!({"send_at": later.to_string()}));
    bed.accept_as(job, Some(me)).await;
    assert_eq!(bed.store.campaigns_to_plan().await.unwrap(), []);
    assert_eq!(bed.store.campaign("spring").await.unwrap().unwrap().status.as_str(), "scheduled");
    assert_eq!(bed.store.leased_at_acceptance(me, Channel::Email).await.unwrap(), []);
    assert_eq!(bed.lease(me).await, []);
    bed.pass(SignedDuration::from_hours(2)).await;
    bed.plan(10).await;
    assert_eq!(bed.lease(me).await.len(), 2);
}

async fn a_stopped_campaign_is_not_leased(bed: &Bed) {
    bed.people(1).await;
    let me = bed.store.join("one").await.unwrap();
    let number = bed.planned("spring", json!({"all": true}), json!({})).await;
    assert_eq!(bed.store.stopped(&[number]).await.unwrap(), []);
    bed.store.control("spring", Control::Pause).await.unwrap();
    assert_eq!(bed.store.stopped(&[number]).await.unwrap(), [number]);
    assert_eq!(bed.lease(me).await, []);
    bed.store.control("spring", Control::Resume).await.unwrap();
    assert_eq!(bed.lease(me).await.len(), 1);
    let gone = campaignd::model::CampaignNo(number.0 + 1);
    assert_eq!(bed.store.stopped(&[number, gone]).await.unwrap(), [gone]);
}

async fn a_message_is_leased_to_its_acceptor(bed: &Bed) {
    let me = bed.store.join("one").await.unwrap();
    let you = bed.store.join("two").await.unwrap();
    let job =
        |id: &str| message(id, "thanks", json!({"address": "a@example.com"}), json!({"provider": "relay"}));
    bed.accept_as(job("m1"), Some(me)).await;
    bed.accept(job("m2")).await;
    let mine = bed.store.leased_at_acceptance(me, Channel::Email).await.unwrap();
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0].options.as_ref().unwrap().provider.as_deref(), Some("relay"));
    assert_eq!(bed.store.leased_at_acceptance(you, Channel::Email).await.unwrap(), []);
    assert_eq!(bed.lease(you).await.len(), 1);
    assert_eq!(bed.intend(me, &mine[0]).await.unwrap()[0].address, "a@example.com");
}

/// Given back because its answer was late, and leased again by the same daemon: both may ask in one commit.
async fn a_lost_lease_is_refused_beside_its_successor(bed: &Bed) {
    bed.people(3).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lost = bed.lease(me).await.pop().unwrap();
    bed.store.release(me, &[lost.hold()]).await.unwrap();
    let lease = bed.lease(me).await.pop().unwrap();
    assert_eq!(lease.batch, lost.batch);
    let granted = bed.store.intend(me, &[intent(&lost), intent(&lease)]).await.unwrap();
    assert_eq!(granted.iter().map(|one| one.as_ref().map(Vec::len)).collect::<Vec<_>>(), [None, Some(3)]);
}

/// Only PostgreSQL lets another daemon come in between.
#[tokio::test]
async fn what_another_daemon_took_over_meanwhile_is_not_taken_up() {
    let bed = Bed::postgres().await;
    let Db::Postgres(db) = &bed.db else { panic!("no PostgreSQL") };
    let (me, you) = (bed.store.join("one").await.unwrap(), bed.store.join("two").await.unwrap());
    bed.accept_as(message("m1", "thanks", json!({"address": "a@example.com"}), json!({})), Some(me)).await;
    let (other, watcher) = (db.connect().await, db.connect().await);
    other.batch_execute("BEGIN; UPDATE batches SET owner = NULL, epoch = epoch + 1").await.unwrap();
    let take = bed.store.leased_at_acceptance(me, Channel::Email);
    let take_over = async {
        eventually("the daemon waits for the row", async || {
            let waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            watcher.query_opt(waits, &[]).await.unwrap()
        })
        .await;
        let lease = format!("UPDATE batches SET owner = {}, epoch = epoch + 1; COMMIT", you.0);
        other.batch_execute(&lease).await.unwrap();
    };
    let (taken, ()) = tokio::join!(take, take_over);
    assert_eq!(taken.unwrap(), []);
    let held = bed.store.holds(you).await.unwrap();
    assert_eq!(held.iter().map(|Hold { epoch, .. }| *epoch).collect::<Vec<_>>(), [2]);
}

async fn a_released_batch_waits_for_anyone(bed: &Bed) {
    bed.people(3).await;
    let (me, you) = (bed.store.join("one").await.unwrap(), bed.store.join("two").await.unwrap());
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.store.release(you, &[lease.hold()]).await.unwrap();
    assert_eq!(bed.lease(you).await, []);
    let mut first = intent(&lease);
    first.to = 1;
    first.members.truncate(1);
    bed.store.intend(me, &[first]).await.unwrap();
    let outcome = vec![settled(&lease, &lease.members[0], State::Accepted, None)];
    bed.store.record(me, &Outcomes { settled: outcome, ..Outcomes::default() }).await.unwrap();
    bed.store.release(me, &[lease.hold()]).await.unwrap();
    let rest = bed.lease(you).await.pop().unwrap();
    assert_eq!((rest.watermark, rest.members.as_slice()), (1, &lease.members[1..]));
    assert!(rest.epoch > lease.epoch);
    bed.check_law().await;
}

async fn a_release_in_mid_air_leaves_the_doubtful_named(bed: &Bed) {
    bed.people(2).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    bed.store.release(me, &[lease.hold()]).await.unwrap();
    assert_eq!(bed.tally("spring").await, tallied([("unknown/crash", 2)]));
    bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 2)]));
    assert_eq!(bed.store.finish_campaigns(false).await.unwrap()[0].imbalance, 0);
}

async fn a_rescue_names_the_doubtful_and_frees_the_rest(bed: &Bed) {
    bed.people(5).await;
    let other = bed.another_daemon();
    let (dead, me) = (bed.store.join("one").await.unwrap(), other.join("two").await.unwrap());
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(dead).await.pop().unwrap();
    let mut part = intent(&lease);
    part.to = 3;
    part.members.truncate(3);
    let outcome = vec![settled(&lease, &lease.members[1], State::Accepted, None)];
    bed.store.intend(dead, &[part]).await.unwrap();
    bed.store.record(dead, &Outcomes { settled: outcome, ..Outcomes::default() }).await.unwrap();
    assert_eq!(bed.store.counts("spring").await.unwrap().unwrap().sending, 2);
    assert_eq!(bed.fate("spring", "P1").await, ["sending"]);
    let rescued = other.rescue(dead).await.unwrap();
    assert_eq!((rescued.batches, rescued.unknown, rescued.waiting), (1, 2, 2));
    assert_eq!(other.rescue(dead).await.unwrap().batches, 0);
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 1), ("unknown/crash", 2), ("planned", 2)]));
    assert!(bed.store.beat(dead).await.is_err(), "the dead learns that it is dead");
    let rest = bed.lease(me).await.pop().unwrap();
    assert_eq!(rest.members, lease.members[3..]);
    bed.check_law().await;
}

async fn a_rescued_lease_is_worthless(bed: &Bed) {
    bed.people(2).await;
    let (slow, me) = (bed.store.join("one").await.unwrap(), bed.store.join("two").await.unwrap());
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let old = bed.lease(slow).await.pop().unwrap();
    bed.store.rescue(slow).await.unwrap();
    assert_eq!(bed.intend(slow, &old).await, None);
    let new = bed.lease(me).await.pop().unwrap();
    assert_eq!(bed.intend(slow, &old).await, None);
    let stale = campaignd::store::dispatching::Lease { epoch: old.epoch, ..new.clone() };
    assert_eq!(bed.intend(me, &stale).await, None);
    assert!(bed.intend(me, &new).await.is_some());
    bed.store.record(slow, &Outcomes { closed: vec![old.batch], ..Outcomes::default() }).await.unwrap();
    assert!(bed.intend(me, &new).await.is_some(), "who lost a batch cannot close it");
}

async fn a_forgotten_daemons_leases_are_seen(bed: &Bed) {
    bed.upsert(json!([person("A")])).await;
    let (slow, me) = (bed.store.join("one").await.unwrap(), bed.store.join("two").await.unwrap());
    bed.store.rescue(slow).await.unwrap();
    bed.accept_as(message("m", "thanks", json!({"external_id": "A"}), json!({})), Some(slow)).await;
    assert!(bed.store.beat(me).await.unwrap().contains(&(slow, -1)));
    assert_eq!(bed.store.rescue(slow).await.unwrap().waiting, 1);
    assert_eq!(bed.store.beat(me).await.unwrap(), [(me, 2)]);
    assert_eq!(bed.lease(me).await.len(), 1);
}

async fn a_daemon_that_holds_leases_cannot_leave(bed: &Bed) {
    bed.people(1).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.store.leave(me).await.unwrap();
    assert_eq!(bed.store.beat(me).await.unwrap().len(), 1);
    bed.store.release(me, &[lease.hold()]).await.unwrap();
    bed.store.leave(me).await.unwrap();
    assert!(bed.store.beat(me).await.is_err());
}
