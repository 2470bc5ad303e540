//! The simulated people at work: they read the sandbox's mailbox as a developer would, and follow links as real clients
//! do, over HTTP. A bounded number of requests at a time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt, iter};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::reader::{Letter, Visit, visits};
use crate::app::Listening;
use crate::cli::daemon::ask;

/// How often the mailbox is read.
const READ: Duration = Duration::from_millis(200);
/// Messages of one reading.
const PAGE: usize = 500;
/// Requests at a time.
const AT_ONCE: usize = 16;

/// How many visits are still to come, for whoever waits for the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Plans(Arc<AtomicUsize>);

impl Plans {
    pub(super) fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everybody who gets messages.
pub(super) struct Audience {
    listening: Listening,
    public_url: String,
    seed: u64,
    plans: Plans,
    /// The number of the last message read.
    last: u64,
    /// By their time, and in their order.
    due: BTreeMap<(Instant, u64), Visit>,
    planned: u64,
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<Letter>,
}

impl Audience {
    pub(super) fn new(listening: Listening, seed: u64, plans: Plans) -> Audience {
        let public_url = format!("http://{}", listening.public);
        Audience { listening, public_url, seed, plans, last: 0, due: BTreeMap::new(), planned: 0 }
    }

    /// Reads and visits for ever.
    ///
    /// # Errors
    /// When the daemon does not answer, or not as it promises.
    pub(super) async fn live(mut self) -> Result<()> {
        loop {
            while self.read().await? == PAGE {}
            self.visit().await?;
            self.plans.0.store(self.due.len(), Ordering::Relaxed);
            sleep(READ).await;
        }
    }

    /// Reads what came since the last time; returns how many messages.
    async fn read(&mut self) -> Result<usize> {
        let path = format!("/sandbox/messages?after={}&limit={PAGE}", self.last);
        let answer = ask(self.listening.admin, Request::get(&path).body(Full::default())?).await;
        let answer = answer.context("the sandbox's mailbox")?;
        ensure!(answer.status().is_success(), "the sandbox's mailbox answers {}", answer.status());
        let page: Page = serde_json::from_slice(answer.body()).context("the sandbox's mailbox")?;
        let now = Instant::now();
        for letter in &page.messages {
            self.last = self.last.max(letter.id);
            for visit in visits(letter, &self.public_url, self.seed) {
                self.planned += 1;
                self.due.insert((now + visit.after, self.planned), visit);
            }
        }
        Ok(page.messages.len())
    }

    /// Does what is due.
    async fn visit(&mut self) -> Result<()> {
        let later = self.due.split_off(&(Instant::now(), u64::MAX));
        let now = std::mem::replace(&mut self.due, later);
        let public = self.listening.public;
        iter(now.into_values().map(|visit| request(public, visit)))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }
}

/// One visit, with the headers that its client would send.
async fn request(public: SocketAddr, visit: Visit) -> Result<()> {
    let mut request =
        Request::builder().method(&visit.method).uri(&visit.path).header(USER_AGENT, visit.agent);
    if visit.prefetch {
        request = request.header("sec-purpose", "prefetch");
    }
    let body = if visit.method == Method::POST {
        request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        Bytes::from_static(b"List-Unsubscribe=One-Click")
    } else {
        Bytes::new()
    };
    let answer = ask(public, request.body(Full::new(body))?).await.context("the public listener")?;
    let status = answer.status();
    ensure!(
        status.is_success() || status.is_redirection(),
        "the public listener answers {status} to {} {}",
        visit.method,
        visit.path.chars().take(3).collect::<String>()
    );
    Ok(())
}
