//! Jobs: accepted once, refused with a reason, durable together.

use campaignd::store::jobs::Acceptance;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::bed::{Bed, campaign, message, person, submission};
use super::on_each_store;

on_each_store!(
    a_store_is_migrated_once,
    a_job_counts_once,
    a_group_is_answered_in_order,
    messages_of_a_group_go_together,
    a_control_needs_its_campaign,
    a_message_stands_under_a_standing_campaign,
    foreign_addresses_are_warnings,
    old_job_ids_are_forgotten,
    two_daemons_accept_one_job_once,
    many_campaigns_fill_many_partitions,
);

fn new() -> Acceptance {
    Acceptance::New { warnings: Vec::new() }
}

fn path(acceptance: &Acceptance) -> &str {
    match acceptance {
        Acceptance::Invalid(problem) => &problem.path,
        other => panic!("accepted: {other:?}"),
    }
}

async fn a_store_is_migrated_once(bed: &Bed) {
    let (before, after) = bed.store.migrate().await.unwrap();
    assert_eq!(before, after);
    bed.another_daemon().check().await.unwrap();
    assert_eq!(
        bed.store.secrets().await.unwrap().suppression,
        bed.another_daemon().secrets().await.unwrap().suppression
    );
}

async fn a_job_counts_once(bed: &Bed) {
    let to = json!({"address": "a@example.com"});
    let jobs: [(Value, Value); 4] = [
        (json!({"type": "contacts", "id": "j", "upsert": [person("A")]}), json!({"upsert": []})),
        (campaign("j", json!({"all": true}), json!({})), json!({"template": "other"})),
        (message("j", "thanks", to, json!({})), json!({"template": "other"})),
        (
            json!({"type": "control", "id": "j", "campaign": "j", "action": "pause"}),
            json!({"action": "resume"}),
        ),
    ];
    for (job, other) in jobs {
        assert_eq!(bed.accept(job.clone()).await, new());
        assert_eq!(bed.accept(job.clone()).await, Acceptance::Known);
        let mut changed = job;
        changed.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        assert_eq!(bed.accept(changed).await, Acceptance::Conflict);
    }
    assert_eq!(bed.store.campaign("j").await.unwrap().unwrap().status.as_str(), "paused");
    bed.check_law().await;
}

async fn a_group_is_answered_in_order(bed: &Bed) {
    let spring = || submission(campaign("spring", json!({"all": true}), json!({})));
    let pause =
        |campaign| submission(json!({"type": "control", "id": "p", "campaign": campaign, "action": "pause"}));
    let summer = submission(campaign("summer", json!({"all": true}), json!({})));
    let group = [spring(), pause("autumn"), pause("spring"), spring(), summer];
    let answers = bed.store.accept(&group, None).await.unwrap();
    assert_eq!(answers[0], new());
    assert_eq!(path(&answers[1]), "$.campaign");
    assert_eq!(answers[2..], [new(), Acceptance::Known, new()]);
    assert_eq!(bed.store.campaign("spring").await.unwrap().unwrap().status.as_str(), "paused");
}

async fn messages_of_a_group_go_together(bed: &Bed) {
    let me = bed.store.join("one").await.unwrap();
    bed.people(2).await;
    let say = |id: &str, to: &str, more: Value| {
        submission(message(id, "thanks", json!({"address": format!("{to}@example.com")}), more))
    };
    bed.campaign("bulk", json!({"all": true}), json!({})).await;
    let wrong = || submission(message("w", "bulk", json!({"address": "w@example.com"}), json!({})));
    let group = [
        say("m1", "p1", json!({"data": {"n": 1}})),
        say("m2", "p2", json!({"data": {"n": 2}})),
        say("m3", "new", json!({})),
        wrong(),
        say("m4", "p1", json!({"provider": "relay"})),
        say("m1", "p1", json!({"data": {"n": 1}})),
        say("m2", "p2", json!({"data": {"n": 3}})),
        wrong(),
        say("m5", "p1", json!({})),
    ];
    let answers = bed.store.accept(&group, Some(me)).await.unwrap();
    assert_eq!(answers[..3], [new(), new(), new()]);
    assert_eq!((path(&answers[3]), path(&answers[7])), ("$.campaign", "$.campaign"));
    assert_eq!(answers[4..7], [new(), Acceptance::Known, Acceptance::Conflict]);
    let mut leases = bed.store.leased_at_acceptance(me, campaignd::model::Channel::Email).await.unwrap();
    leases.sort_unstable_by_key(|lease| lease.members.len());
    assert_eq!(leases.iter().map(|lease| lease.members.len()).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(leases[0].options.as_ref().unwrap().provider.as_deref(), Some("relay"));
    let mut data = Vec::new();
    for recipient in bed.intend(me, &leases[1]).await.unwrap() {
        data.push((recipient.address, recipient.own_data.map_or(Value::Null, |data| data["n"].clone())));
    }
    data.sort_by_key(|(address, n)| (address.clone(), n.to_string()));
    let want = [("new", Value::Null), ("p1", json!(1)), ("p1", Value::Null), ("p2", json!(2))];
    assert_eq!(data, want.map(|(name, n)| (format!("{name}@example.com"), n)));
    bed.check_law().await;
}

async fn a_control_needs_its_campaign(bed: &Bed) {
    let cancel = json!({"type": "control", "id": "c", "campaign": "spring", "action": "cancel"});
    assert_eq!(path(&bed.accept(cancel.clone()).await), "$.campaign");
    bed.campaign("spring", json!({"all": true}), json!({})).await;
    assert_eq!(bed.accept(cancel).await, new());
    assert_eq!(bed.store.campaign("spring").await.unwrap().unwrap().status.as_str(), "cancelled");
}

async fn a_message_stands_under_a_standing_campaign(bed: &Bed) {
    let to = json!({"address": "a@example.com"});
    bed.campaign("bulk", json!({"all": true}), json!({})).await;
    assert_eq!(path(&bed.accept(message("m1", "bulk", to.clone(), json!({}))).await), "$.campaign");
    assert_eq!(bed.accept(message("m1", "thanks", to.clone(), json!({}))).await, new());
    let marketing = message("m2", "thanks", to.clone(), json!({"purpose": "marketing"}));
    assert_eq!(path(&bed.accept(marketing).await), "$.purpose");
    let text = message("m3", "thanks", json!({"address": "+8613800138000"}), json!({"channel": "sms"}));
    assert_eq!(path(&bed.accept(text).await), "$.channel");
    assert_eq!(bed.accept(campaign("thanks", json!({"all": true}), json!({}))).await, Acceptance::Conflict);
    let record = bed.store.campaign("thanks").await.unwrap().unwrap();
    assert_eq!((record.status.as_str(), record.targeted), ("standing", 1));
}

async fn foreign_addresses_are_warnings(bed: &Bed) {
    bed.people(1).await;
    let thief = json!({"external_id": "Q", "addresses": person("P1")["addresses"]});
    let job = json!({"type": "contacts", "id": "c", "upsert": [person("R"), thief]});
    let Acceptance::New { warnings } = bed.accept(job).await else { panic!() };
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("$.upsert[1]"), "{warnings:?}");
    assert!(!warnings[0].contains("example.com"), "an address shows: {warnings:?}");
}

async fn old_job_ids_are_forgotten(bed: &Bed) {
    let job = json!({"type": "contacts", "id": "j", "upsert": []});
    bed.accept(job.clone()).await;
    bed.pass(SignedDuration::from_hours(24 * 8)).await;
    assert_eq!(bed.store.prune_jobs(9).await.unwrap(), 0);
    assert_eq!(bed.accept(job.clone()).await, Acceptance::Known);
    assert_eq!(bed.store.prune_jobs(7).await.unwrap(), 1);
    assert_eq!(bed.accept(job).await, new());
}

async fn two_daemons_accept_one_job_once(bed: &Bed) {
    let other = bed.another_daemon();
    let group: Vec<_> = (0..20)
        .map(|i| {
            message(&format!("m{i}"), "thanks", json!({"address": format!("a{i}@example.com")}), json!({}))
        })
        .map(submission)
        .collect();
    let (one, two) = tokio::join!(bed.store.accept(&group, None), other.accept(&group, None));
    let new = one.unwrap().into_iter().chain(two.unwrap()).filter(|answer| *answer == new()).count();
    assert_eq!(new, 20);
    assert_eq!(bed.store.campaign("thanks").await.unwrap().unwrap().targeted, 20);
    bed.check_law().await;
}

async fn many_campaigns_fill_many_partitions(bed: &Bed) {
    bed.people(1).await;
    let group: Vec<_> =
        (0..200).map(|i| submission(campaign(&format!("c{i}"), json!({"all": true}), json!({})))).collect();
    bed.store.accept(&group, None).await.unwrap();
    let other = bed.another_daemon();
    for number in bed.store.campaigns_to_plan().await.unwrap() {
        assert!(other.plan_page(number, 1_000).await.unwrap().unwrap().done);
    }
    bed.check_law().await;
    assert_eq!(bed.store.timeline("P1", 1_000).await.unwrap().unwrap().len(), 200);
}
