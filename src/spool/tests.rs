//! The spool as its callers see it: events in, events out, also after a restart.

use futures_util::future::join_all;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::model::{CampaignNo, ContactNo, DeliveryKey, EventKind};

const DAY: Duration = Duration::from_secs(86_400);

struct Bed {
    spool: Spool,
    metrics: Arc<Metrics>,
    writer: JoinHandle<()>,
}

impl Bed {
    fn open(folder: &TempDir, limit: u64, clock: Clock) -> Bed {
        let metrics = Arc::new(Metrics::new().unwrap());
        let settings = Settings { folder: folder.path().to_owned(), limit, age: DAY };
        let (spool, writer) = Spool::open(&settings, clock, metrics.clone()).unwrap();
        Bed { spool, metrics, writer: tokio::spawn(writer.run()) }
    }

    async fn close(self) {
        drop(self.spool);
        self.writer.await.unwrap();
    }
}

fn entry(contact: i64) -> Entry {
    let delivery = DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(contact), occurrence: 0 };
    let event = Event {
        id: Uuid::now_v7(),
        at: "2026-03-01T12:00:00.123456789Z".parse().unwrap(),
        kind: EventKind::Clicked,
        delivery,
        link: None,
        machine: None,
        reason: None,
        detail: None,
        client_ip: Some("2001:db8::7".parse().unwrap()),
        user_agent: Some("Mail \u{1F4E7} \"1.0\"".to_owned()),
    };
    Entry { event, judged: contact % 2 == 0 }
}

#[tokio::test]
async fn events_come_back_as_they_were_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::open(&folder, u64::MAX, Clock::system());
    let mut entries: Vec<Entry> = (0..2_500).map(entry).collect();
    let kept = join_all(entries.iter().map(|entry| bed.spool.keep(entry))).await;
    assert!(kept.iter().all(Result::is_ok));
    bed.spool.grew().await;
    assert_eq!(bed.metrics.events_spooled.get(), 2_500);
    // As they were kept, which callers at the same time do not decide.
    let first = bed.spool.oldest().await.unwrap().entries;
    entries.sort_by_key(|entry| first.iter().position(|kept| kept.event.id == entry.event.id));
    assert_eq!(first, entries);
    bed.close().await;

    let bed = Bed::open(&folder, u64::MAX, Clock::system());
    assert_eq!(u64::try_from(bed.metrics.event_spool_bytes.get()).unwrap(), bed.spool.bytes());
    assert!(bed.metrics.event_spool_oldest.get() > 0.0);
    let segment = bed.spool.oldest().await.unwrap();
    assert_eq!(segment.entries, entries);
    bed.spool.forget(segment).await;
    assert!(bed.spool.oldest().await.is_none());
    assert_eq!(bed.metrics.events_replayed.get(), 2_500);
    assert_eq!((bed.metrics.event_spool_bytes.get(), bed.metrics.event_spool_oldest.get()), (0, 0.0));
}

#[tokio::test]
async fn a_full_spool_says_so_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::open(&folder, 10_000, Clock::system());
    let entries: Vec<Entry> = (0..100).map(entry).collect();
    let kept = join_all(entries.iter().map(|entry| bed.spool.keep(entry))).await;
    let taken = kept.iter().filter(|kept| kept.is_ok()).count();
    assert!((1..100).contains(&taken) && bed.spool.bytes() <= 10_000, "{taken}");
    assert!(kept[taken..].iter().all(|kept| *kept == Err(Refusal::Full)));
    assert_eq!(bed.metrics.events_dropped.with_label_values(&["full"]).get(), 100 - taken as u64);
    assert_eq!(bed.spool.oldest().await.unwrap().entries, entries[..taken]);
}

#[tokio::test]
async fn a_disk_that_fails_says_so_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::open(&folder, u64::MAX, Clock::system());
    let path = folder.path().to_owned();
    std::fs::remove_dir_all(&path).unwrap();
    assert_eq!(bed.spool.keep(&entry(1)).await, Err(Refusal::Disk));
    assert_eq!(bed.metrics.events_dropped.with_label_values(&["disk"]).get(), 1);
    std::fs::create_dir(&path).unwrap();
    assert_eq!(bed.spool.keep(&entry(2)).await, Ok(()));
    assert_eq!(bed.spool.oldest().await.unwrap().entries[0].event.delivery.contact, ContactNo(2));
}

#[tokio::test]
async fn what_is_too_old_is_thrown_away_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(Mutex::new(Timestamp::now()));
    let clock = Clock::new({
        let now = now.clone();
        move || *now.lock().unwrap()
    });
    let bed = Bed::open(&folder, u64::MAX, clock);
    bed.spool.keep(&entry(1)).await.unwrap();
    *now.lock().unwrap() += DAY;
    bed.spool.keep(&entry(2)).await.unwrap();
    assert_eq!(bed.spool.oldest().await.unwrap().entries.len(), 1, "just of age");
    *now.lock().unwrap() += Duration::from_secs(1);
    let left = bed.spool.oldest().await.unwrap().entries;
    assert_eq!(left[0].event.delivery.contact, ContactNo(2));
    assert_eq!(bed.metrics.events_dropped.with_label_values(&["expired"]).get(), 1);
}
