//! What a daemon that died may have sent: held, or sent again within the leave that its intent gave.

use campaignd::model::receipt::{About, News};
use campaignd::model::{Channel, Control, Reason, Receipt, State};
use campaignd::store::dispatching::{Doubt, FailedAttempt, Lease, Outcomes, Rescheduled, Resend};
use campaignd::store::jobs::Incarnation;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{Bed, all_accepted, intent, key, settled, tallied};
use super::on_each_store;

on_each_store!(
    what_is_in_doubt_is_sent_again_with_leave,
    leave_that_ran_out_is_none,
    a_release_sends_again_what_is_in_doubt,
    a_doubt_travels_with_its_batch,
    a_receipt_ends_the_doubt_before_it_is_sent_again,
    a_cancel_does_not_tell_doubts_as_never_sent,
    an_expiry_does_not_tell_doubts_as_never_sent,
    a_late_outcome_after_a_resend_counts_nothing_twice,
    a_hold_given_back_twice_frees_nothing_new,
    a_lease_whose_answer_got_lost_is_found,
    one_daemon_publishes_at_a_time,
);

fn leave(from_now: SignedDuration) -> Resend {
    let until = Timestamp::from_second((Timestamp::now() + from_now).as_second()).unwrap();
    Resend { until, provider: Some("relay".into()) }
}

fn hour() -> Resend {
    leave(SignedDuration::from_hours(1))
}

/// Four people, of whom the first two are intended with `resend` by a daemon, and the first is accepted.
async fn sending(bed: &Bed, resend: Option<Resend>) -> (Incarnation, Lease) {
    bed.people(4).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    let mut part = intent(&lease);
    (part.to, part.resend) = (2, resend);
    part.members.truncate(2);
    assert!(bed.store.intend(me, &[part]).await.unwrap()[0].is_some());
    let first = vec![settled(&lease, &lease.members[0], State::Accepted, None)];
    bed.store.record(me, &Outcomes { settled: first, ..Outcomes::default() }).await.unwrap();
    (me, lease)
}

/// The lease of what is sent again, and the others.
async fn again(bed: &Bed) -> (Incarnation, Lease, Vec<Lease>) {
    let me = bed.store.join("two").await.unwrap();
    let (mut doubtful, others): (Vec<_>, Vec<_>) =
        bed.lease(me).await.into_iter().partition(|lease| lease.doubt.is_some());
    assert_eq!(doubtful.len(), 1);
    (me, doubtful.remove(0), others)
}

async fn what_is_in_doubt_is_sent_again_with_leave(bed: &Bed) {
    let resend = hour();
    let (dead, lease) = sending(bed, Some(resend.clone())).await;
    let rescued = bed.another_daemon().rescue(dead).await.unwrap();
    assert_eq!((rescued.unknown, rescued.resent, rescued.waiting), (0, 1, 2));
    bed.check_law().await;
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 1), ("planned", 3)]));
    let (me, doubtful, others) = again(bed).await;
    assert_eq!(doubtful.members, lease.members[1..2]);
    assert_eq!((doubtful.attempt, doubtful.watermark, doubtful.template), (1, 0, lease.template));
    assert_eq!(doubtful.doubt, Some(Doubt { reason: Reason::Crash, resend }));
    assert_eq!(others[0].members, lease.members[2..], "who was never intended is in no doubt");
    bed.intend(me, &doubtful).await.unwrap();
    bed.store.record(me, &all_accepted(&doubtful)).await.unwrap();
    let explained = bed.store.explain("spring", "P2").await.unwrap().remove(0);
    assert_eq!((explained.delivery.attempts, explained.attempts_made.len()), (2, 2));
    assert_eq!(explained.attempts_made[0].reason, Some(Reason::Crash));
    bed.check_law().await;
}

async fn leave_that_ran_out_is_none(bed: &Bed) {
    let (dead, _) = sending(bed, Some(leave(SignedDuration::from_secs(-1)))).await;
    let rescued = bed.store.rescue(dead).await.unwrap();
    assert_eq!((rescued.unknown, rescued.resent), (1, 0));
    assert_eq!(bed.fate("spring", "P2").await, ["unknown/crash"]);
}

async fn a_release_sends_again_what_is_in_doubt(bed: &Bed) {
    let resend = Resend { until: Resend::ENDLESS, provider: None };
    let (me, lease) = sending(bed, Some(resend.clone())).await;
    bed.store.release(me, &[lease.hold()]).await.unwrap();
    let (_, doubtful, _) = again(bed).await;
    assert_eq!(doubtful.members, lease.members[1..2]);
    assert_eq!(doubtful.doubt, Some(Doubt { reason: Reason::Crash, resend }));
    bed.check_law().await;
}

async fn a_doubt_travels_with_its_batch(bed: &Bed) {
    let (me, lease) = sending(bed, None).await;
    let doubt = Some(Doubt { reason: Reason::NoAnswer, resend: hour() });
    let silent = Rescheduled {
        campaign: lease.campaign,
        member: lease.members[1],
        batch: lease.batch,
        channel: Channel::Email,
        lane: lease.lane,
        template: lease.template,
        options: None,
        due_at: Timestamp::now(),
        attempts: 1,
        provider: Some("relay".into()),
        doubt: doubt.clone(),
        attempt: Some(FailedAttempt {
            at: Timestamp::now(),
            reason: Reason::NoAnswer,
            detail: "silence".into(),
        }),
    };
    let outcomes = Outcomes { rescheduled: vec![silent], ..Outcomes::default() };
    for _ in 0..2 {
        bed.store.record(me, &outcomes).await.unwrap();
    }
    let (me, doubtful, _) = again(bed).await;
    assert_eq!((&doubtful.doubt, doubtful.members.as_slice()), (&doubt, &lease.members[1..2]));
    let mut once_more = intent(&doubtful);
    once_more.resend = doubt.as_ref().map(|doubt| doubt.resend.clone());
    bed.store.intend(me, &[once_more]).await.unwrap();
    bed.store.rescue(me).await.unwrap();
    let (_, third, _) = again(bed).await;
    assert_eq!((third.attempt, &third.doubt), (2, &doubt), "the first doubt's reason and end stay");
    bed.check_law().await;
}

async fn a_receipt_ends_the_doubt_before_it_is_sent_again(bed: &Bed) {
    let (dead, lease) = sending(bed, Some(hour())).await;
    bed.store.rescue(dead).await.unwrap();
    let delivery = key(&lease, &lease.members[1]);
    let receipt = Receipt {
        id: Receipt::id("relay", &delivery.to_string(), "delivered"),
        about: About::Delivery(delivery),
        at: Timestamp::now(),
        news: News::Delivered,
        detail: None,
    };
    bed.store.record_receipts(&[receipt], false).await.unwrap();
    assert_eq!(bed.fate("spring", "P2").await, ["delivered"]);
    bed.check_law().await;
    let (me, doubtful, _) = again(bed).await;
    assert_eq!(bed.intend(me, &doubtful).await.unwrap(), [], "nobody is left to send to");
    bed.store.record(me, &Outcomes { closed: vec![doubtful.batch], ..Outcomes::default() }).await.unwrap();
    bed.store.rescue(me).await.unwrap();
    bed.check_law().await;
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 1), ("delivered", 1), ("planned", 2)]));
}

async fn a_cancel_does_not_tell_doubts_as_never_sent(bed: &Bed) {
    let (dead, _) = sending(bed, Some(hour())).await;
    bed.store.rescue(dead).await.unwrap();
    bed.store.control("spring", Control::Cancel).await.unwrap();
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 3);
    let want = [("accepted", 1), ("unknown/crash", 1), ("cancelled/campaign_cancelled", 2)];
    assert_eq!(bed.tally("spring").await, tallied(want));
    bed.check_law().await;
    assert_eq!(bed.store.finish_campaigns(false).await.unwrap()[0].imbalance, 0);
}

async fn an_expiry_does_not_tell_doubts_as_never_sent(bed: &Bed) {
    bed.people(2).await;
    let me = bed.store.join("one").await.unwrap();
    let soon = Timestamp::now() + SignedDuration::from_hours(1);
    bed.planned("brief", json!({"all": true}), json!({"expires_at": soon.to_string()})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    let mut part = intent(&lease);
    (part.to, part.resend) = (1, Some(Resend { until: Resend::ENDLESS, provider: None }));
    part.members.truncate(1);
    bed.store.intend(me, &[part]).await.unwrap();
    bed.store.rescue(me).await.unwrap();
    bed.pass(SignedDuration::from_hours(1)).await;
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 2);
    let want = [("unknown/crash", 1), ("expired/campaign_expired", 1)];
    assert_eq!(bed.tally("brief").await, tallied(want));
    bed.check_law().await;
}

async fn a_late_outcome_after_a_resend_counts_nothing_twice(bed: &Bed) {
    let (slow, lease) = sending(bed, Some(hour())).await;
    bed.store.rescue(slow).await.unwrap();
    let late = vec![settled(&lease, &lease.members[1], State::Accepted, None)];
    bed.store.record(slow, &Outcomes { settled: late, ..Outcomes::default() }).await.unwrap();
    let (me, doubtful, _) = again(bed).await;
    bed.intend(me, &doubtful).await.unwrap();
    bed.store.record(me, &all_accepted(&doubtful)).await.unwrap();
    assert_eq!(bed.store.counts("spring").await.unwrap().unwrap().sent, 2);
    bed.check_law().await;
}

async fn a_hold_given_back_twice_frees_nothing_new(bed: &Bed) {
    bed.people(2).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let first = bed.lease(me).await.pop().unwrap();
    bed.store.release(me, &[first.hold()]).await.unwrap();
    let second = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &second).await.unwrap();
    bed.store.release(me, &[first.hold()]).await.unwrap();
    assert_eq!(bed.tally("spring").await, tallied([("planned", 2)]), "a repeat frees the first lease alone");
    assert!(bed.intend(me, &second).await.is_some());
}

async fn a_lease_whose_answer_got_lost_is_found(bed: &Bed) {
    bed.people(1).await;
    let me = bed.store.join("one").await.unwrap();
    let you = bed.store.join("two").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    assert_eq!(bed.store.holds(me).await.unwrap(), []);
    let lease = bed.lease(me).await.pop().unwrap();
    assert_eq!(bed.store.holds(you).await.unwrap(), []);
    assert_eq!(bed.store.holds(me).await.unwrap(), [lease.hold()]);
    bed.store.release(me, &bed.store.holds(me).await.unwrap()).await.unwrap();
    assert_eq!(bed.store.holds(me).await.unwrap(), []);
    assert_eq!(bed.lease(you).await[0].members, lease.members);
}

async fn one_daemon_publishes_at_a_time(bed: &Bed) {
    bed.people(1).await;
    let me = bed.store.join("one").await.unwrap();
    let you = bed.another_daemon();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    bed.store.record(me, &all_accepted(&lease)).await.unwrap();
    bed.store.finish_campaigns(true).await.unwrap();
    assert_eq!(bed.store.outbox(me, 10).await.unwrap().len(), 1);
    assert_eq!(bed.store.outbox(me, 10).await.unwrap().len(), 1, "who has the duty keeps it");
    if bed.has_many_daemons() {
        let other = you.join("two").await.unwrap();
        assert_eq!(you.outbox(other, 10).await.unwrap(), []);
        bed.pass(SignedDuration::from_secs(11)).await;
        assert_eq!(you.outbox(other, 10).await.unwrap().len(), 1, "who stops asking loses it");
        assert_eq!(bed.store.outbox(me, 10).await.unwrap(), []);
    }
}
