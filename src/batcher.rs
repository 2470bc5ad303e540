//! Group commit: many callers submit one item each, one flush writes them together, each caller gets its own
//! result once the flush is done.
//!
//! Items are flushed in the order of their submission, one flush at a time. While a flush runs the next batch gathers;
//! where that would make batches too small to be worth their price, flushes keep a pace. The first after a lull begins
//! at once. Nothing is retried here and nothing is dropped: when every [`Batcher`] is gone, [`Flusher::run`] flushes
//! what is left and returns.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// When a flush begins, what it holds, and how much may wait for it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Items in a flush, at most.
    pub size: NonZeroUsize,
    /// From the beginning of a flush to that of the next; zero lets the next begin as soon as the one before is done.
    pub pace: Duration,
    /// So many items do not wait for the pace.
    pub enough: NonZeroUsize,
    /// Items that wait outside the running flush; further callers wait for room.
    pub queue: NonZeroUsize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError<E> {
    /// The flush of the whole batch failed; every caller of the batch gets this.
    #[error("the batch could not be written")]
    Flush(#[source] E),
    /// The flusher is gone, by a shutdown or a panic; whether the item was written is not known.
    #[error("the batch writer has stopped")]
    Stopped,
}

struct Entry<T, R, E> {
    item: T,
    answer: oneshot::Sender<Result<R, SubmitError<E>>>,
}

/// The callers' end; clones share the queue.
pub struct Batcher<T, R, E> {
    queue: mpsc::Sender<Entry<T, R, E>>,
}

/// The writing end: one task runs it.
pub struct Flusher<T, R, E> {
    queue: mpsc::Receiver<Entry<T, R, E>>,
    limits: Limits,
}

/// The two ends of a new, empty queue.
pub fn batcher<T, R, E>(limits: Limits) -> (Batcher<T, R, E>, Flusher<T, R, E>) {
    let (sender, receiver) = mpsc::channel(limits.queue.get());
    (Batcher { queue: sender }, Flusher { queue: receiver, limits })
}

impl<T, R, E> Batcher<T, R, E> {
    /// Waits for room, then for the flush that contains `item`. Dropping this future after the item was queued does
    /// not take it back.
    ///
    /// # Errors
    /// [`SubmitError::Flush`] with the error of the flush, [`SubmitError::Stopped`] where nobody flushes any more.
    pub async fn submit(&self, item: T) -> Result<R, SubmitError<E>> {
        let (answer, result) = oneshot::channel();
        let entry = Entry { item, answer };
        self.queue.send(entry).await.map_err(|_| SubmitError::Stopped)?;
        result.await.unwrap_or(Err(SubmitError::Stopped))
    }
}

impl<T, R, E: Clone> Flusher<T, R, E> {
    /// Flushes until every [`Batcher`] is dropped and the queue is empty.
    ///
    /// `flush` returns exactly one result an item, in the same order; an item without a result answers its caller
    /// with [`SubmitError::Stopped`].
    pub async fn run<F, W>(mut self, mut flush: F)
    where
        F: FnMut(Vec<T>) -> W,
        W: Future<Output = Result<Vec<R>, E>>,
    {
        let mut next = Instant::now();
        while let Some(batch) = self.gather(next).await {
            next = Instant::now() + self.limits.pace;
            let (items, answers): (Vec<T>, Vec<_>) =
                batch.into_iter().map(|entry| (entry.item, entry.answer)).unzip();
            // A caller that no longer waits has given up its result, not its item: a failed send is no loss.
            match flush(items).await {
                Ok(results) => {
                    for (answer, result) in answers.into_iter().zip(results) {
                        drop(answer.send(Ok(result)));
                    }
                }
                Err(error) => {
                    for answer in answers {
                        drop(answer.send(Err(SubmitError::Flush(error.clone()))));
                    }
                }
            }
        }
    }

    /// The next batch, by `due` or once it is large enough; `None` at the end.
    async fn gather(&mut self, due: Instant) -> Option<Vec<Entry<T, R, E>>> {
        let Limits { size, enough, .. } = self.limits;
        let mut batch = Vec::new();
        let mut received = self.queue.recv_many(&mut batch, size.get()).await;
        while received > 0 && batch.len() < enough.min(size).get() {
            let room = size.get() - batch.len();
            received = timeout_at(due, self.queue.recv_many(&mut batch, room)).await.unwrap_or(0);
        }
        (!batch.is_empty()).then_some(batch)
    }
}

impl<T, R, E> Clone for Batcher<T, R, E> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<T, R, E> fmt::Debug for Batcher<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("room", &self.queue.capacity()).finish()
    }
}

impl<T, R, E> fmt::Debug for Flusher<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::future::join_all;
    use futures_util::poll;

    use super::*;

    type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

    fn limits(size: usize, pace: Duration, queue: usize) -> Limits {
        let at_least_one = |n| NonZeroUsize::new(n).unwrap();
        Limits { size: at_least_one(size), pace, enough: at_least_one(3), queue: at_least_one(queue) }
    }

    /// A running batcher that doubles each item and keeps the batches it saw.
    fn doubling(limits: Limits) -> (Batcher<u32, u32, &'static str>, Batches, tokio::task::JoinHandle<()>) {
        let (batcher, flusher) = batcher(limits);
        let batches = Batches::default();
        let seen = batches.clone();
        let task = tokio::spawn(flusher.run(move |items: Vec<u32>| {
            let results = items.iter().map(|n| n * 2).collect();
            seen.lock().unwrap().push(items);
            async move { Ok(results) }
        }));
        (batcher, batches, task)
    }

    #[tokio::test(start_paused = true)]
    async fn each_caller_gets_its_own_result() {
        let (batcher, batches, _task) = doubling(limits(10, Duration::from_secs(1), 100));
        let results = join_all((0..20).map(|n| batcher.submit(n))).await;
        assert_eq!(results, (0..20).map(|n| Ok(n * 2)).collect::<Vec<_>>());
        assert_eq!(*batches.lock().unwrap(), [(0..10).collect::<Vec<_>>(), (10..20).collect()]);
    }

    #[tokio::test(start_paused = true)]
    async fn flushes_keep_a_pace_unless_enough_wait() {
        let (batcher, batches, _task) = doubling(limits(4, Duration::from_secs(5), 100));
        let start = Instant::now();
        batcher.submit(1).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO, "the first has nobody to wait for");
        join_all([batcher.submit(2), batcher.submit(3)]).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        join_all([4, 5, 6].map(|n| batcher.submit(n))).await;
        assert_eq!(start.elapsed().as_secs(), 5, "three are enough");
        tokio::time::advance(Duration::from_secs(5)).await;
        let after_a_lull = Instant::now();
        batcher.submit(7).await.unwrap();
        assert_eq!(after_a_lull.elapsed(), Duration::ZERO);
        assert_eq!(*batches.lock().unwrap(), [vec![1], vec![2, 3], vec![4, 5, 6], vec![7]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_flush_reaches_every_caller_of_its_batch_and_no_other() {
        let (batcher, flusher) = batcher::<u32, (), _>(limits(2, Duration::ZERO, 100));
        let _task = tokio::spawn(flusher.run(|items| async move {
            if items.contains(&1) { Err("disk full") } else { Ok(vec![(); items.len()]) }
        }));
        let results = join_all((0..4).map(|n| batcher.submit(n))).await;
        let failed = Err(SubmitError::Flush("disk full"));
        assert_eq!(results, [failed.clone(), failed, Ok(()), Ok(())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_holds_its_callers() {
        let (batcher, flusher) = batcher::<u32, u32, &str>(limits(1, Duration::ZERO, 1));
        let mut first = Box::pin(batcher.submit(1));
        let mut second = Box::pin(batcher.submit(2));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        assert_eq!(batcher.queue.capacity(), 0);
        drop(second);
        let _task = tokio::spawn(flusher.run(|items| async move { Ok(items) }));
        assert_eq!(first.await, Ok(1));
        assert_eq!(batcher.submit(3).await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_queued_is_flushed_at_once_at_the_end() {
        let (batcher, batches, task) = doubling(limits(100, Duration::from_secs(60), 100));
        let start = Instant::now();
        batcher.submit(6).await.unwrap();
        for n in [7, 8] {
            let mut submitted = Box::pin(batcher.submit(n));
            assert!(poll!(&mut submitted).is_pending());
        }
        drop(batcher);
        task.await.unwrap();
        assert_eq!(*batches.lock().unwrap(), [vec![6], vec![7, 8]]);
        assert_eq!(start.elapsed(), Duration::ZERO, "nobody else can come");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_flusher_answers() {
        let (batcher, flusher) = batcher::<u32, u32, &str>(limits(1, Duration::ZERO, 4));
        drop(flusher);
        assert_eq!(batcher.submit(1).await, Err(SubmitError::Stopped));
    }
}
