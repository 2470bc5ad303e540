//! Keys of tracking tokens: made once, shared by all, followed by others, and forgotten for good.

use campaignd::model::TrackingKey;
use campaignd::model::tracking_key::{Retirement, Stage, signing, stage};
use jiff::SignedDuration;

use super::bed::Bed;
use super::on_each_store;

on_each_store!(
    daemons_that_start_together_agree_on_a_first_key,
    a_new_key_signs_in_a_minute_for_all,
    a_key_that_is_retired_is_forgotten,
    a_key_that_may_sign_is_kept,
    numbers_end_and_a_retired_one_is_used_again,
);

async fn keys(bed: &Bed) -> Vec<TrackingKey> {
    bed.store.tracking_keys().await.unwrap()
}

async fn stages(bed: &Bed) -> Vec<(u8, Stage)> {
    let keys = keys(bed).await;
    keys.iter().map(|key| (key.id, stage(key, &keys))).collect()
}

async fn rotate(bed: &Bed, then: i64) -> u8 {
    let id = bed.store.rotate_tracking_key().await.unwrap().expect("a free number");
    bed.pass(SignedDuration::from_secs(then)).await;
    id
}

async fn daemons_that_start_together_agree_on_a_first_key(bed: &Bed) {
    let other = bed.another_daemon();
    let (one, two) = tokio::join!(bed.store.tracking_keys(), other.tracking_keys());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.len(), two.len(), one[0].id), (1, 1, 0));
    assert!(one[0].secret.is_some() && one[0].secret == two[0].secret);
    assert_ne!(one[0].secret, Some(bed.store.secrets().await.unwrap().suppression));
}

async fn a_new_key_signs_in_a_minute_for_all(bed: &Bed) {
    let first = keys(bed).await.remove(0);
    bed.pass(SignedDuration::from_hours(1)).await;
    assert_eq!(rotate(bed, 50).await, 1);
    let other = bed.another_daemon();
    for store in [&bed.store, &other] {
        let keys = store.tracking_keys().await.unwrap();
        assert_eq!((keys.len(), signing(&keys).unwrap().id), (2, 0));
        assert!(keys[0].secret == first.secret && keys[1].secret.is_some() && keys[1].secret != first.secret);
    }
    bed.pass(SignedDuration::from_secs(10)).await;
    for store in [&bed.store, &other] {
        assert_eq!(signing(&store.tracking_keys().await.unwrap()).unwrap().id, 1);
    }
    assert_eq!(rotate(bed, 60).await, 2);
    assert_eq!(stages(bed).await, [(0, Stage::Verifies), (1, Stage::Verifies), (2, Stage::Signs)]);
}

async fn a_key_that_is_retired_is_forgotten(bed: &Bed) {
    let secret = hex::encode(keys(bed).await[0].secret.unwrap());
    let held = async || bed.rows().await.iter().any(|(_, row)| row.contains(&secret));
    assert!(held().await);
    bed.pass(SignedDuration::from_hours(1)).await;
    rotate(bed, 120).await;
    assert_eq!(bed.store.retire_tracking_key(0).await.unwrap(), Retirement::Done);
    assert_eq!(stages(bed).await, [(0, Stage::Retired), (1, Stage::Signs)]);
    assert!(keys(bed).await[0].retired_at.is_some() && !held().await, "nobody can sign with it again");
    assert_eq!(bed.store.retire_tracking_key(0).await.unwrap(), Retirement::Repeated);
}

async fn a_key_that_may_sign_is_kept(bed: &Bed) {
    keys(bed).await;
    bed.pass(SignedDuration::from_hours(1)).await;
    let retire = async |id| bed.store.retire_tracking_key(id).await.unwrap();
    assert_eq!((retire(0).await, retire(1).await), (Retirement::Needed, Retirement::Missing));
    rotate(bed, 30).await;
    assert_eq!((retire(0).await, retire(1).await), (Retirement::Needed, Retirement::Needed));
    bed.pass(SignedDuration::from_secs(60)).await;
    assert_eq!((retire(0).await, retire(1).await), (Retirement::TooEarly, Retirement::Needed));
    assert!(keys(bed).await.iter().all(|key| key.secret.is_some()));
}

async fn numbers_end_and_a_retired_one_is_used_again(bed: &Bed) {
    let first = keys(bed).await.remove(0);
    for id in 1..=255 {
        assert_eq!(bed.store.rotate_tracking_key().await.unwrap(), Some(id));
    }
    assert_eq!(bed.store.rotate_tracking_key().await.unwrap(), None);
    bed.pass(SignedDuration::from_secs(120)).await;
    assert_eq!(bed.store.retire_tracking_key(0).await.unwrap(), Retirement::Done);
    assert_eq!(rotate(bed, 60).await, 0);
    assert_eq!(bed.store.rotate_tracking_key().await.unwrap(), None);
    let keys = keys(bed).await;
    assert_eq!((keys.len(), signing(&keys).unwrap().id), (256, 0));
    assert!(keys[0].secret.is_some() && keys[0].secret != first.secret && keys[0].retired_at.is_none());
}
