//! API tokens and the audit log.

use campaignd::model::access::{Actor, Scope, Scopes};
use campaignd::model::audit::{Action, Deed, Ending};
use campaignd::store::audit::AuditQuery;
use campaignd::store::tokens::{Created, NewToken};
use jiff::{SignedDuration, Timestamp};

use super::bed::Bed;
use super::on_each_store;

on_each_store!(
    a_token_lives_until_it_is_revoked_or_expires,
    a_name_is_used_once,
    uses_are_noted_and_never_go_back,
    the_log_is_read_from_its_end,
    the_log_remembers_a_contact_by_its_hash,
    the_log_is_only_added_to,
    what_is_old_is_pruned,
);

fn token(name: &str, hash: u8, expires_at: Option<Timestamp>) -> NewToken {
    let scopes = Scopes::from_iter([Scope::Read, Scope::Send]);
    NewToken { name: name.into(), hash: [hash; 32], scopes, expires_at }
}

async fn live(bed: &Bed) -> Vec<String> {
    bed.store.live_tokens().await.unwrap().into_iter().map(|token| token.name).collect()
}

async fn a_token_lives_until_it_is_revoked_or_expires(bed: &Bed) {
    let hour = SignedDuration::from_hours(1);
    let (past, future) = (Timestamp::now() - hour, Timestamp::now() + hour);
    for (name, hash, expires) in [("for-ever", 1, None), ("soon", 2, Some(future)), ("over", 3, Some(past))] {
        assert_eq!(bed.store.create_token(&token(name, hash, expires)).await.unwrap(), Created::Done);
    }
    assert_eq!(live(bed).await, ["for-ever", "soon"]);
    let kept = bed.store.live_tokens().await.unwrap().remove(0);
    assert_eq!((kept.hash, kept.scopes.names()), ([1; 32], vec!["read", "send"]));
    assert!(bed.store.revoke_token("for-ever").await.unwrap());
    for name in ["for-ever", "over", "nobody"] {
        assert!(!bed.store.revoke_token(name).await.unwrap(), "{name}");
    }
    assert_eq!(live(bed).await, ["soon"]);
    let listed = bed.store.tokens().await.unwrap();
    let names: Vec<(&str, bool)> =
        listed.iter().map(|token| (token.name.as_str(), token.revoked_at.is_some())).collect();
    assert_eq!(names, [("for-ever", true), ("over", false), ("soon", false)]);
}

async fn a_name_is_used_once(bed: &Bed) {
    assert_eq!(bed.store.create_token(&token("shop", 1, None)).await.unwrap(), Created::Done);
    assert_eq!(bed.store.create_token(&token("shop", 2, None)).await.unwrap(), Created::NameTaken);
    bed.store.revoke_token("shop").await.unwrap();
    assert_eq!(bed.store.create_token(&token("shop", 3, None)).await.unwrap(), Created::NameTaken);
    assert!(live(bed).await.is_empty());
}

async fn uses_are_noted_and_never_go_back(bed: &Bed) {
    bed.store.create_token(&token("shop", 1, None)).await.unwrap();
    let number = bed.store.live_tokens().await.unwrap()[0].number;
    let (early, late): (Timestamp, Timestamp) =
        ("2026-04-01T00:00:00Z".parse().unwrap(), "2026-04-02T00:00:00Z".parse().unwrap());
    assert_eq!(bed.store.tokens().await.unwrap()[0].last_used_at, None);
    for at in [late, early] {
        bed.store.tokens_used(&[(number, at), (number + 1, at)]).await.unwrap();
        assert_eq!(bed.store.tokens().await.unwrap()[0].last_used_at, Some(late));
    }
}

fn deed(name: &str) -> Deed {
    Deed::new(Actor::token("shop"), Action::JobAccepted, Ending::Done).subject(name)
}

async fn subjects(bed: &Bed, query: AuditQuery) -> Vec<String> {
    let log = bed.store.audit_log(&query).await.unwrap();
    log.into_iter().filter_map(|record| record.subject).collect()
}

async fn the_log_is_read_from_its_end(bed: &Bed) {
    bed.store.audit(&[deed("one"), deed("two")]).await.unwrap();
    let three = Deed { content: Some([0xAB; 32]), ..deed("three").detail("pause spring") };
    bed.store.audit(&[three]).await.unwrap();
    let all = AuditQuery { limit: 10, ..AuditQuery::default() };
    assert_eq!(subjects(bed, all.clone()).await, ["three", "two", "one"]);
    let last = bed.store.audit_log(&all).await.unwrap().remove(0);
    assert_eq!(
        (last.who.as_str(), last.action.as_str(), last.ending.as_str()),
        ("token:shop", "job_accepted", "done")
    );
    assert_eq!((last.content, last.detail.as_deref()), (Some("ab".repeat(32)), Some("pause spring")));
    assert_eq!(
        subjects(bed, AuditQuery { before: Some(last.number), limit: 1, ..all.clone() }).await,
        ["two"]
    );
    let (before, after) = (last.at - SignedDuration::from_hours(1), last.at + SignedDuration::from_hours(1));
    assert_eq!(subjects(bed, AuditQuery { since: Some(before), ..all.clone() }).await.len(), 3);
    assert!(subjects(bed, AuditQuery { since: Some(after), ..all }).await.is_empty());
}

async fn the_log_remembers_a_contact_by_its_hash(bed: &Bed) {
    bed.people(1).await;
    bed.store.audit(&[deed("before").contact("P1"), deed("other").contact("P2")]).await.unwrap();
    bed.store.erase_contact("P1").await.unwrap();
    let query = AuditQuery { contact: Some("P1".into()), limit: 10, ..AuditQuery::default() };
    let found = bed.store.audit_log(&query).await.unwrap();
    assert_eq!((found.len(), found[0].subject.as_deref()), (1, Some("before")));
    assert_eq!(found[0].contact.as_ref().map(String::len), Some(32));
}

async fn the_log_is_only_added_to(bed: &Bed) {
    bed.store.audit(&[deed("one")]).await.unwrap();
    for change in ["UPDATE audit SET who = 'somebody'", "DELETE FROM audit"] {
        let refused = bed.refused(change).await;
        assert!(refused.contains("only added to"), "{change}: {refused}");
    }
    let all = AuditQuery { limit: 10, ..AuditQuery::default() };
    assert_eq!(subjects(bed, all).await, ["one"]);
}

async fn what_is_old_is_pruned(bed: &Bed) {
    bed.store.audit(&[deed("now")]).await.unwrap();
    for days in [1, 50, 401] {
        bed.audited_before(days, &format!("{days} days ago")).await;
    }
    assert_eq!(bed.store.prune_audit(400).await.unwrap(), 1);
    assert_eq!(bed.store.prune_audit(400).await.unwrap(), 0);
    let all = AuditQuery { limit: 10, ..AuditQuery::default() };
    assert_eq!(subjects(bed, all).await, ["50 days ago", "1 days ago", "now"]);
}
