//! Receipts that come later: one task an account holds them until they are due.
//!
//! Bounded: where too many wait, the earliest go out before their time; where the store is behind, those who bring
//! more wait. When the account goes, what is pending is sent at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::fate::word;
use crate::model::receipt::{About, News};
use crate::model::{DeliveryKey, Receipt};
use crate::provider::Receipts;

/// Notices that wait for their time, at most.
const MAX_PENDING: usize = 100_000;
/// Chunks of notices on their way to the task, at most.
const QUEUE: usize = 64;

/// Something to be told about a delivery.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) due: Instant,
    pub(super) about: DeliveryKey,
    pub(super) news: News,
    pub(super) detail: Option<&'static str>,
}

impl Notice {
    fn is_reaction(&self) -> bool {
        matches!(self.news, News::Complained | News::Unsubscribed | News::Replied)
    }

    /// As the store takes it; made twice, it has the same id.
    pub(super) fn receipt(&self, account: &str) -> Receipt {
        Receipt {
            id: Receipt::id(account, &self.about.to_string(), word(&self.news)),
            about: About::Delivery(self.about),
            at: Timestamp::now(),
            news: self.news.clone(),
            detail: self.detail.map(str::to_owned),
        }
    }
}

/// By due time; nobody reacts before the message is there.
impl Ord for Notice {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order = |notice: &Notice| (notice.due, notice.about, notice.is_reaction());
        order(self).cmp(&order(other))
    }
}

impl PartialEq for Notice {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Notice {}

impl PartialOrd for Notice {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Starts the task of `account`; it ends when the last sender is gone and everything was sent.
pub(super) fn start(account: Arc<str>, receipts: Receipts) -> mpsc::Sender<Vec<Notice>> {
    let (sender, coming) = mpsc::channel(QUEUE);
    tokio::spawn(run(account, receipts, coming));
    sender
}

async fn run(account: Arc<str>, receipts: Receipts, mut coming: mpsc::Receiver<Vec<Notice>>) {
    let mut pending = BinaryHeap::new();
    loop {
        let due = pending.peek().map(|Reverse(Notice { due, .. })| *due);
        let wait = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            notices = coming.recv() => match notices {
                Some(notices) => pending.extend(notices.into_iter().map(Reverse)),
                None => break,
            },
            () = wait => {}
        }
        let now = Instant::now();
        while let Some(Reverse(notice)) = next_due(&mut pending, now) {
            receipts.bring(notice.receipt(&account)).await;
        }
    }
    while let Some(Reverse(notice)) = pending.pop() {
        receipts.bring(notice.receipt(&account)).await;
    }
}

/// The earliest, where it is due or too many wait.
fn next_due(pending: &mut BinaryHeap<Reverse<Notice>>, now: Instant) -> Option<Reverse<Notice>> {
    let Reverse(first) = pending.peek()?;
    if first.due <= now || pending.len() > MAX_PENDING { pending.pop() } else { None }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{CampaignNo, ContactNo};

    fn notice(contact: i64, due: Instant) -> Notice {
        let about = DeliveryKey { campaign: CampaignNo(1), contact: ContactNo(contact), occurrence: 0 };
        Notice { due, about, news: News::Delivered, detail: None }
    }

    fn contact(receipt: &Receipt) -> i64 {
        let About::Delivery(key) = &receipt.about else { panic!("about a delivery") };
        key.contact.0
    }

    #[tokio::test(start_paused = true)]
    async fn each_comes_when_it_is_due() {
        let (receipts, mut arriving) = Receipts::new(10);
        let sender = start("sandbox".into(), receipts);
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        sender.send(vec![notice(3, after(30)), notice(1, after(10))]).await.unwrap();
        sender.send(vec![notice(2, after(20))]).await.unwrap();
        for expected in 1..=3 {
            let receipt = arriving.recv().await.unwrap();
            assert_eq!(contact(&receipt), expected);
            let waited = began.elapsed().as_secs();
            assert_eq!(waited, u64::try_from(expected).unwrap() * 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_pending_comes_at_once_when_the_account_goes() {
        let (receipts, mut arriving) = Receipts::new(10);
        let sender = start("sandbox".into(), receipts);
        let began = Instant::now();
        let far = began + Duration::from_secs(3600);
        sender.send(vec![notice(2, far + Duration::from_secs(1)), notice(1, far)]).await.unwrap();
        drop(sender);
        let mut came = Vec::new();
        while let Some(receipt) = arriving.recv().await {
            came.push(contact(&receipt));
        }
        assert_eq!(came, [1, 2]);
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_make_the_earliest_come_before_their_time() {
        let (receipts, mut arriving) = Receipts::new(10);
        let sender = start("sandbox".into(), receipts);
        let began = Instant::now();
        let many = i64::try_from(MAX_PENDING).unwrap() + 3;
        let notices =
            (0..many).map(|n| notice(n, began + Duration::from_millis(3_600_000 + n.unsigned_abs())));
        sender.send(notices.collect()).await.unwrap();
        for expected in 0..3 {
            assert_eq!(contact(&arriving.recv().await.unwrap()), expected);
        }
        assert!(began.elapsed() < Duration::from_secs(60));
        arriving.recv().await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(3_600));
    }
}
