//! What becomes of events while the store is away, slow, or gone for good, and of those that nothing takes.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::site::{LINK, Mood, Site, assert_pixel, assert_problem, delivery, text};
use crate::model::{Event, EventKind};
use crate::track::Fate;

const LONG: Duration = Duration::from_secs(600);

fn open(contact: i64) -> Event {
    Event {
        id: Uuid::now_v7(),
        at: Timestamp::now(),
        kind: EventKind::Opened,
        delivery: delivery(contact),
        link: None,
        machine: None,
        reason: None,
        detail: None,
        client_ip: None,
        user_agent: None,
    }
}

#[tokio::test]
async fn while_the_store_is_away_the_disk_keeps_what_people_do() {
    for mood in [Mood::Away, Mood::Hangs] {
        let site = Site::open(mood, 100).await;
        assert_pixel(&site.ask("GET", "/o/open-7").await);
        assert_eq!(site.store.last_answer(), ("open", "spooled", 200));
        assert_eq!(text(&site.ask("GET", "/c/click-7-0").await, "location"), LINK);
        assert_eq!(site.post("/u/unsubscribe-7", "text/plain", "").await.status(), 200);
        assert_eq!(site.store.last_answer(), ("unsubscribe", "spooled", 200));
        assert_eq!((site.intake.unsettled(), site.intake.dropped()), (0, 0));
        assert!(site.store.events().is_empty());

        site.store.mood.send_replace(Mood::Up);
        let kinds: Vec<_> = site.store.until_recorded(3).await.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Opened, EventKind::Clicked, EventKind::Unsubscribed]);
        while site.metrics.events_replayed.get() < 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(site.metrics.event_spool_bytes.get(), 0);
    }
}

#[tokio::test]
async fn a_store_that_answers_in_time_leaves_the_disk_alone() {
    let site = Site::up().await;
    for contact in 0..20 {
        assert_pixel(&site.ask("GET", &format!("/o/open-{contact}")).await);
    }
    assert_eq!(site.store.events().len(), 20);
    assert_eq!(site.metrics.events_spooled.get(), 0);
    let files: Vec<_> = fs::read_dir(site.folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(files, ["lock"]);
}

#[tokio::test]
async fn the_next_start_hands_over_what_the_last_one_could_not() {
    let site = Site::open(Mood::Away, 100).await;
    for contact in 0..5 {
        assert_pixel(&site.ask("GET", &format!("/o/open-{contact}")).await);
    }
    let Site { intake, worker, server, folder, .. } = site;
    server.stop().await.unwrap();
    drop(intake);
    worker.await.unwrap();

    let site = Site::on(folder, Mood::Up, 100, 1 << 20).await;
    let contacts: Vec<_> = site.store.until_recorded(5).await.iter().map(|event| event.delivery).collect();
    assert_eq!(contacts, [0, 1, 2, 3, 4].map(delivery));
}

#[tokio::test]
async fn after_an_outage_events_go_straight_to_the_store_again() {
    let site = Site::open(Mood::Away, 100).await;
    assert_eq!(site.intake.submit(open(1), LONG).await, Fate::Spooled);
    site.store.mood.send_replace(Mood::Up);
    site.store.until_recorded(1).await;
    // The last of an outage may still go by the disk.
    let mut contact = 2;
    while site.intake.submit(open(contact), LONG).await == Fate::Spooled {
        contact += 1;
    }
    site.store.until_recorded(usize::try_from(contact).unwrap()).await;
}

#[tokio::test]
async fn a_full_spool_drops_and_counts_and_still_answers_and_promises_nothing() {
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let site = Site::on(folder, Mood::Away, 100, 2_000).await;
    while site.intake.dropped() == 0 {
        assert_pixel(&site.ask("GET", "/o/open-1").await);
    }
    assert_eq!(site.store.last_answer(), ("open", "dropped", 200));
    assert_eq!(text(&site.ask("GET", "/c/click-7-0").await, "location"), LINK);
    let refusal = site.post("/u/unsubscribe-7", "text/plain", "").await;
    assert_problem(&refusal, 503);
    assert_eq!(text(&refusal, "retry-after"), "30");
    assert_eq!(site.metrics.events_dropped.with_label_values(&["full"]).get(), site.intake.dropped());
    let kept = usize::try_from(site.metrics.events_spooled.get()).unwrap();
    assert!(kept > 0);

    site.store.mood.send_replace(Mood::Up);
    assert_eq!(site.store.until_recorded(kept).await.len(), kept);
    while site.post("/u/unsubscribe-7", "text/plain", "").await.status() != 200 {}
}

#[tokio::test]
async fn a_full_queue_drops_what_comes_on_top() {
    let site = Site::open(Mood::Up, 1).await;
    let (first, second) = tokio::join!(site.intake.submit(open(1), LONG), site.intake.submit(open(2), LONG));
    assert_eq!((first, second), (Fate::Recorded(None), Fate::Dropped));
    assert_eq!((site.intake.unsettled(), site.intake.dropped()), (0, 1));
}
