//! The group commits: intents granted or refused, recipients judged again, outcomes counted once.

use std::sync::Arc;

use campaignd::model::{Channel, Control, EventKind, Reason, State};
use campaignd::store::campaigns::Resolution;
use campaignd::store::contacts::Suppression;
use campaignd::store::dispatching::{FailedAttempt, Intent, Lease, Member, Outcomes, Rescheduled};
use campaignd::store::jobs::Incarnation;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{Bed, all_accepted, email, event, intent, key, message, settled, tallied};
use super::on_each_store;

on_each_store!(
    an_intent_is_granted_to_its_owner_only,
    an_intent_is_refused_once_the_campaign_stopped,
    an_intent_may_be_repeated,
    a_grant_that_nobody_heard_of_is_taken_back,
    two_intents_of_one_batch_move_to_the_later,
    recipients_are_judged_again,
    settled_outcomes_move_counters,
    a_repeated_outcome_changes_nothing,
    a_late_outcome_resolves_the_unknown,
    a_retry_waits_in_a_batch_of_its_own,
    a_throttled_message_burns_no_attempt,
    a_retry_that_waits_expires_with_its_campaign,
    an_open_batch_is_not_closed,
    one_commit_serves_many_campaigns,
    an_unknown_is_settled_by_hand,
);

async fn leased(bed: &Bed, people: usize) -> (Incarnation, Lease) {
    bed.people(people).await;
    let me = bed.store.join("one").await.unwrap();
    bed.planned("spring", json!({"all": true}), json!({})).await;
    (me, bed.lease(me).await.pop().unwrap())
}

fn only(settled: Vec<campaignd::store::dispatching::Settled>) -> Outcomes {
    Outcomes { settled, ..Outcomes::default() }
}

fn rescheduled(lease: &Lease, member: Member, attempts: u16, after: SignedDuration) -> Rescheduled {
    Rescheduled {
        campaign: lease.campaign,
        member,
        batch: lease.batch,
        channel: Channel::Email,
        lane: lease.lane,
        template: lease.template,
        options: lease.options.clone(),
        due_at: Timestamp::now() + after,
        attempts,
        provider: Some("relay".into()),
        doubt: None,
        attempt: (attempts > lease.attempt).then(|| FailedAttempt {
            at: Timestamp::now(),
            reason: Reason::TemporaryFailure,
            detail: "451 later".into(),
        }),
    }
}

async fn an_intent_is_granted_to_its_owner_only(bed: &Bed) {
    let (me, lease) = leased(bed, 2).await;
    let you = bed.store.join("two").await.unwrap();
    assert_eq!(bed.intend(you, &lease).await, None);
    assert_eq!(bed.intend(me, &Lease { epoch: lease.epoch + 1, ..lease.clone() }).await, None);
    let mut beyond = intent(&lease);
    beyond.to = 3;
    let answers = bed.store.intend(me, &[beyond, intent(&lease)]).await.unwrap();
    assert_eq!((answers[0].is_none(), answers.len()), (true, 2), "past the end of the batch");
    let granted = bed.intend(me, &lease).await.unwrap();
    assert_eq!(granted.iter().map(|one| one.member).collect::<Vec<_>>(), lease.members);
}

async fn an_intent_is_refused_once_the_campaign_stopped(bed: &Bed) {
    let (me, lease) = leased(bed, 2).await;
    bed.store.control("spring", Control::Pause).await.unwrap();
    assert_eq!(bed.intend(me, &lease).await, None);
    bed.store.control("spring", Control::Resume).await.unwrap();
    assert!(bed.intend(me, &lease).await.is_some());
    let soon = Timestamp::now() + SignedDuration::from_hours(1);
    bed.planned("brief", json!({"all": true}), json!({"expires_at": soon.to_string()})).await;
    bed.planned("doomed", json!({"all": true}), json!({})).await;
    let (brief, doomed) = {
        let mut leases = bed.lease(me).await;
        leases.sort_unstable_by_key(|lease| lease.campaign);
        (leases.remove(0), leases.remove(0))
    };
    bed.pass(SignedDuration::from_hours(1)).await;
    bed.store.control("doomed", Control::Cancel).await.unwrap();
    assert_eq!(bed.intend(me, &brief).await, None);
    assert_eq!(bed.intend(me, &doomed).await, None);
}

async fn an_intent_may_be_repeated(bed: &Bed) {
    let (me, lease) = leased(bed, 2).await;
    let first = bed.intend(me, &lease).await.unwrap();
    assert_eq!(bed.intend(me, &lease).await.unwrap(), first);
    assert_eq!(bed.store.counts("spring").await.unwrap().unwrap().sending, 2);
}

/// The answer to the first grant was lost, and a pause came before it was asked for again.
async fn a_grant_that_nobody_heard_of_is_taken_back(bed: &Bed) {
    let (me, lease) = leased(bed, 3).await;
    let (heard, lost) = lease.members.split_at(1);
    let part = |members: &[Member], to| {
        let part = Intent { to, members: members.to_vec(), ..intent(&lease) };
        async move { bed.store.intend(me, &[part]).await.unwrap().pop().unwrap() }
    };
    assert!(part(heard, 1).await.is_some());
    assert!(part(lost, 3).await.is_some());
    bed.store.control("spring", Control::Pause).await.unwrap();
    assert_eq!(part(lost, 3).await, None);
    bed.check_law().await;
    bed.store.rescue(me).await.unwrap();
    assert_eq!(bed.tally("spring").await, tallied([("planned", 2), ("unknown/crash", 1)]));
}

async fn two_intents_of_one_batch_move_to_the_later(bed: &Bed) {
    let (me, lease) = leased(bed, 4).await;
    for (first, second) in [(1, 3), (4, 2)] {
        let part = |to: u32| {
            let mut part = intent(&lease);
            part.to = to;
            part
        };
        let granted = bed.store.intend(me, &[part(first), part(second)]).await;
        assert!(granted.unwrap().iter().all(Option::is_some));
        let sending = bed.store.counts("spring").await.unwrap().unwrap().sending;
        assert_eq!(sending, i64::from(first.max(second)));
    }
}

async fn recipients_are_judged_again(bed: &Bed) {
    let (me, lease) = leased(bed, 6).await;
    bed.planned("before", json!({"contacts": ["P1"]}), json!({})).await;
    let earlier = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &earlier).await.unwrap();
    bed.store.record(me, &all_accepted(&earlier)).await.unwrap();
    let left = event(key(&earlier, &earlier.members[0]), EventKind::Unsubscribed);
    bed.store.record_events(&[left], false).await.unwrap();
    let banned =
        Suppression { channel: Channel::Email, address: "p2@example.com".into(), reason: "x".into() };
    bed.store.suppress(&[banned]).await.unwrap();
    bed.store.erase_contact("P3").await.unwrap();
    bed.upsert(json!([
        {"external_id": "P4", "addresses": []},
        {"external_id": "P5", "addresses": [{"channel": "email", "address": "p5@example.com", "consent": false}]},
        {"external_id": "thief", "addresses": [email("p4")]},
    ]))
    .await;
    let fates: Vec<_> = bed.intend(me, &lease).await.unwrap().into_iter().map(|one| one.excluded).collect();
    let want = [
        Some(Reason::Unsubscribed),
        Some(Reason::Suppressed),
        Some(Reason::Erased),
        Some(Reason::NoAddress),
        Some(Reason::NoConsent),
        None,
    ];
    assert_eq!(fates, want);
}

async fn settled_outcomes_move_counters(bed: &Bed) {
    let (me, lease) = leased(bed, 4).await;
    bed.intend(me, &lease).await.unwrap();
    let outcomes = [
        (State::Accepted, None),
        (State::Rejected, Some(Reason::UnknownRecipient)),
        (State::Unknown, Some(Reason::NoAnswer)),
        (State::Excluded, Some(Reason::Suppressed)),
    ];
    let mut rows = Vec::new();
    for (member, (state, reason)) in lease.members.iter().zip(outcomes) {
        rows.push(settled(&lease, member, state, reason));
    }
    rows[1].detail = Some("550 no such user".into());
    bed.store.record(me, &Outcomes { closed: vec![lease.batch], ..only(rows) }).await.unwrap();
    let want = [
        ("accepted", 1),
        ("rejected/unknown_recipient", 1),
        ("unknown/no_answer", 1),
        ("excluded/suppressed", 1),
    ];
    assert_eq!(bed.tally("spring").await, tallied(want));
    bed.check_law().await;
    let counts = bed.store.counts("spring").await.unwrap().unwrap();
    assert_eq!((counts.sent, counts.series.len(), counts.series[0].sent), (1, 1, 1));
    let rejected = bed.store.explain("spring", "P2").await.unwrap().remove(0);
    assert_eq!(rejected.attempts_made[0].detail, "550 no such user");
    assert_eq!(rejected.delivery.provider.as_deref(), Some("relay"));
    assert_eq!(bed.store.backlog().await.unwrap(), []);
}

async fn a_repeated_outcome_changes_nothing(bed: &Bed) {
    let (me, lease) = leased(bed, 2).await;
    bed.intend(me, &lease).await.unwrap();
    let mut outcomes = all_accepted(&lease);
    outcomes.settled[0].detail = Some("250 at last".into());
    for _ in 0..3 {
        bed.store.record(me, &outcomes).await.unwrap();
    }
    let mut other = settled(&lease, &lease.members[0], State::Rejected, Some(Reason::MessageRefused));
    other.detail = Some("too late".into());
    bed.store.record(me, &only(vec![other])).await.unwrap();
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 2)]));
    assert_eq!(bed.store.counts("spring").await.unwrap().unwrap().series[0].sent, 2);
    assert_eq!(bed.store.explain("spring", "P1").await.unwrap()[0].attempts_made.len(), 1);
    bed.check_law().await;
}

async fn a_late_outcome_resolves_the_unknown(bed: &Bed) {
    let (me, lease) = leased(bed, 3).await;
    bed.intend(me, &lease).await.unwrap();
    bed.another_daemon().rescue(me).await.unwrap();
    let rows = vec![
        settled(&lease, &lease.members[0], State::Accepted, None),
        settled(&lease, &lease.members[1], State::Rejected, Some(Reason::MailboxFull)),
        settled(&lease, &lease.members[2], State::Failed, Some(Reason::RetriesExhausted)),
    ];
    for _ in 0..2 {
        bed.store.record(me, &only(rows.clone())).await.unwrap();
    }
    let want = [("accepted", 1), ("rejected/mailbox_full", 1), ("unknown/crash", 1)];
    assert_eq!(bed.tally("spring").await, tallied(want));
    assert_eq!(bed.store.counts("spring").await.unwrap().unwrap().sent, 1);
    bed.check_law().await;
}

async fn a_retry_waits_in_a_batch_of_its_own(bed: &Bed) {
    let (me, lease) = leased(bed, 3).await;
    bed.intend(me, &lease).await.unwrap();
    let minute = SignedDuration::from_mins(1);
    let again = |at: usize| rescheduled(&lease, lease.members[at], 1, minute);
    let outcomes = Outcomes {
        settled: vec![settled(&lease, &lease.members[0], State::Accepted, None)],
        rescheduled: vec![again(1), again(2)],
        closed: vec![lease.batch],
    };
    for _ in 0..2 {
        bed.store.record(me, &outcomes).await.unwrap();
    }
    assert_eq!(bed.tally("spring").await, tallied([("accepted", 1), ("planned", 2)]));
    let explained = bed.store.explain("spring", "P2").await.unwrap().remove(0);
    assert_eq!((explained.delivery.attempts, explained.attempts_made.len()), (1, 1));
    assert!(explained.due_at.unwrap() > Timestamp::now());
    assert_eq!(bed.lease(me).await, []);
    bed.pass(minute).await;
    let retries = bed.lease(me).await;
    assert_eq!(retries.iter().map(|retry| retry.members.len()).sum::<usize>(), 2);
    assert!(retries.iter().all(|retry| (retry.attempt, retry.watermark) == (1, 0)));
    let stale = only(vec![settled(&lease, &lease.members[1], State::Accepted, None)]);
    bed.store.record(me, &stale).await.unwrap();
    assert_eq!(
        bed.fate("spring", "P2").await,
        ["planned"],
        "an outcome of the old batch says nothing of the new"
    );
    for retry in &retries {
        bed.intend(me, retry).await.unwrap();
        bed.store.record(me, &all_accepted(retry)).await.unwrap();
    }
    let explained = bed.store.explain("spring", "P2").await.unwrap().remove(0);
    let outcomes: Vec<&str> =
        explained.attempts_made.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!((explained.delivery.attempts, outcomes.as_slice()), (2, ["retry", "accepted"].as_slice()));
    bed.check_law().await;
}

async fn a_throttled_message_burns_no_attempt(bed: &Bed) {
    bed.people(1).await;
    let me = bed.store.join("one").await.unwrap();
    let job = message("m", "thanks", json!({"external_id": "P1"}), json!({"tracking": {"opens": false}}));
    bed.accept_as(job, Some(me)).await;
    let lease = bed.store.leased_at_acceptance(me, Channel::Email).await.unwrap().remove(0);
    bed.intend(me, &lease).await.unwrap();
    let outcomes = Outcomes {
        rescheduled: vec![rescheduled(&lease, lease.members[0], 0, SignedDuration::ZERO)],
        closed: vec![lease.batch],
        ..Outcomes::default()
    };
    bed.store.record(me, &outcomes).await.unwrap();
    let again = bed.lease(me).await.remove(0);
    assert_eq!((again.attempt, &again.members), (0, &lease.members));
    assert!(!again.options.as_ref().unwrap().tracking.opens, "the message's own wishes travel along");
    assert_eq!(bed.store.explain("thanks", "P1").await.unwrap()[0].attempts_made, []);
}

async fn a_retry_that_waits_expires_with_its_campaign(bed: &Bed) {
    bed.people(2).await;
    let me = bed.store.join("one").await.unwrap();
    let hour = SignedDuration::from_hours(1);
    let soon = Timestamp::now() + hour;
    bed.planned("brief", json!({"all": true}), json!({"expires_at": soon.to_string()})).await;
    let lease = bed.lease(me).await.pop().unwrap();
    bed.intend(me, &lease).await.unwrap();
    let outcomes = Outcomes {
        settled: vec![settled(&lease, &lease.members[0], State::Accepted, None)],
        rescheduled: vec![rescheduled(&lease, lease.members[1], 1, hour * 2)],
        closed: vec![lease.batch],
    };
    bed.store.record(me, &outcomes).await.unwrap();
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 0);
    bed.pass(hour).await;
    assert_eq!(bed.store.settle_stopped().await.unwrap(), 1);
    assert_eq!(bed.tally("brief").await, tallied([("accepted", 1), ("expired/campaign_expired", 1)]));
    assert_eq!(bed.store.explain("brief", "P2").await.unwrap()[0].attempts_made.len(), 1);
    assert_eq!(bed.store.finish_campaigns(false).await.unwrap()[0].imbalance, 0);
    bed.check_law().await;
}

async fn an_open_batch_is_not_closed(bed: &Bed) {
    let (me, lease) = leased(bed, 3).await;
    let mut part = intent(&lease);
    part.to = 1;
    bed.store.intend(me, &[part]).await.unwrap();
    let mut outcomes = all_accepted(&lease);
    outcomes.settled.truncate(1);
    bed.store.record(me, &outcomes).await.unwrap();
    bed.store.release(me, &[lease.hold()]).await.unwrap();
    assert_eq!(bed.lease(me).await.remove(0).members, lease.members[1..]);
}

async fn one_commit_serves_many_campaigns(bed: &Bed) {
    bed.people(3).await;
    let me = bed.store.join("one").await.unwrap();
    for id in ["a", "b", "c"] {
        bed.planned(id, json!({"all": true}), json!({})).await;
    }
    let leases = bed.lease(me).await;
    let intents: Vec<_> = leases.iter().map(intent).collect();
    let granted = bed.store.intend(me, &intents).await.unwrap();
    assert!(granted.iter().all(|one| one.as_ref().is_some_and(|recipients| recipients.len() == 3)));
    let mut outcomes = Outcomes::default();
    for lease in &leases {
        let mut part = all_accepted(lease);
        part.settled[0].provider = Some(Arc::from(format!("relay-{}", lease.campaign)));
        outcomes.settled.append(&mut part.settled);
        outcomes.closed.append(&mut part.closed);
    }
    bed.store.record(me, &outcomes).await.unwrap();
    for id in ["a", "b", "c"] {
        assert_eq!(bed.tally(id).await, tallied([("accepted", 3)]));
    }
    assert_eq!(bed.store.finish_campaigns(false).await.unwrap().len(), 3);
    bed.check_law().await;
}

async fn an_unknown_is_settled_by_hand(bed: &Bed) {
    let (me, lease) = leased(bed, 2).await;
    bed.intend(me, &lease).await.unwrap();
    assert_eq!(bed.store.resolve("spring", "P1", true).await.unwrap(), Resolution::NotUnknown);
    bed.store.rescue(me).await.unwrap();
    assert_eq!(bed.store.resolve("spring", "P1", true).await.unwrap(), Resolution::Done);
    assert_eq!(bed.store.resolve("spring", "P1", true).await.unwrap(), Resolution::NotUnknown);
    assert_eq!(bed.store.resolve("spring", "P2", false).await.unwrap(), Resolution::Done);
    assert_eq!(bed.store.resolve("spring", "P3", false).await.unwrap(), Resolution::NotFound);
    let want = [("accepted", 1), ("rejected/resolved_by_hand", 1)];
    assert_eq!(bed.tally("spring").await, tallied(want));
    assert_eq!(bed.store.counts("spring").await.unwrap().unwrap().sent, 1);
    bed.check_law().await;
}
