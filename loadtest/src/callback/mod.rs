//! What a provider says later: receipts and replies, posted to the URL that the customer gave.
//!
//! They come as they do in life: after a while, some before the send's own answer, some twice, some out of order, some
//! never.

mod client;
mod schedule;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};

use client::Client;
pub(crate) use schedule::{Carrier, Schedule};
pub use schedule::{Counts, Plan};

/// One call to the customer.
#[derive(Debug, Clone)]
pub struct Post {
    /// `http://host:port/path`.
    pub url: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// How one provider writes its calls, and what it takes for an answer.
pub trait Callback: Send + Sync + 'static {
    type Receipt: Clone + Send + Sync + 'static;

    /// The call with these receipts to the customer's URL; none where nobody is to be told. Called with one receipt
    /// or, where the plan says so, more.
    fn post(&self, url: Option<&str>, receipts: &[Self::Receipt]) -> Option<Post>;

    /// Whether the customer took the call.
    fn took(&self, status: u16, body: &[u8]) -> bool;
}

/// Sends receipts until it is dropped.
pub struct Callbacks<C: Callback> {
    url: Arc<RwLock<Option<String>>>,
    schedule: Schedule<Poster<C>>,
}

impl<C: Callback> Callbacks<C> {
    pub fn start(callback: C, plan: Plan) -> Self {
        let url = Arc::default();
        let poster = Poster {
            callback: Arc::new(callback),
            url: Arc::clone(&url),
            answer_within: plan.answer_within,
            client: Client::default(),
        };
        Callbacks { url, schedule: Schedule::start(poster, plan) }
    }

    /// From now on receipts go to this URL: `http://host:port/path`.
    pub fn aim(&self, url: impl Into<String>) {
        *self.url.write().unwrap_or_else(PoisonError::into_inner) = Some(url.into());
    }

    /// Sends a receipt as the plan says, `delay` later than the plan's time. `name` is what its lots are drawn by.
    /// Comes back once the receipt is queued or, if it is early, taken.
    pub async fn send(&self, name: &str, delay: Duration, receipt: C::Receipt) {
        self.schedule.send(name, delay, receipt).await;
    }

    /// Posts a receipt or reply at once, and once only. Whether the customer took it.
    pub async fn now(&self, receipt: C::Receipt) -> bool {
        self.schedule.now(receipt).await
    }

    pub(crate) fn callback(&self) -> &C {
        self.schedule.carrier().callback.as_ref()
    }

    /// Asks the customer's URL with this query. The answer's content, where its status is 200.
    pub async fn get(&self, query: &str) -> Option<Bytes> {
        let url = with_query(&self.url.read().unwrap_or_else(PoisonError::into_inner).clone()?, query);
        match Client::default().get(&url).await {
            Ok((200, body)) => Some(body),
            _ => None,
        }
    }

    pub fn counts(&self) -> Counts {
        self.schedule.counts()
    }

    /// Waits until the counts are as wanted.
    pub async fn settled(&self, wanted: impl FnMut(&Counts) -> bool) {
        self.schedule.settled(wanted).await;
    }
}

impl<C: Callback> fmt::Debug for Callbacks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// The URL with a query added to its own.
pub(crate) fn with_query(url: &str, query: &str) -> String {
    format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' })
}

/// Posts over a connection of its own.
struct Poster<C> {
    callback: Arc<C>,
    url: Arc<RwLock<Option<String>>>,
    answer_within: Duration,
    client: Client,
}

impl<C: Callback> Carrier for Poster<C> {
    type Receipt = C::Receipt;

    fn another(&self) -> Self {
        let Poster { callback, url, answer_within, .. } = self;
        let (callback, url) = (Arc::clone(callback), Arc::clone(url));
        Poster { callback, url, answer_within: *answer_within, client: Client::default() }
    }

    async fn carry(&mut self, receipts: &[C::Receipt]) -> Option<bool> {
        let url = self.url.read().unwrap_or_else(PoisonError::into_inner).clone();
        let post = self.callback.post(url.as_deref(), receipts)?;
        let answer = tokio::time::timeout(self.answer_within, self.client.post(&post)).await;
        if let Ok(Ok((status, body))) = answer {
            return Some(self.callback.took(status, &body));
        }
        self.client = Client::default();
        Some(false)
    }
}
