//! Credentials that a provider issues for a while, such as access tokens: one for all sessions of an account.
//!
//! Promises that one request at a time fetches a new one, however many sessions find the old one refused; that a
//! refusal of one that was replaced meanwhile fetches nothing; and that a credential near its end is renewed by one
//! session while the others go on with it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::model::Outcome;

/// No credential is relied on for longer, whatever its issuer says: its end must be an instant that there is.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Asks the provider for a credential.
#[async_trait]
pub trait Issuer: Send + Sync {
    type Value: Send + Sync;

    /// # Errors
    /// As of a session that cannot be made ready: nothing was handed over.
    async fn issue(&self) -> Result<Issued<Self::Value>, Outcome>;
}

/// What the provider gave, and for how long.
#[derive(Debug)]
pub struct Issued<T> {
    pub value: T,
    pub lives: Duration,
    /// How long before its end it is renewed.
    pub early: Duration,
}

/// A credential in use.
#[derive(Debug)]
pub struct Held<T> {
    pub value: T,
    generation: u64,
    renew_at: Instant,
    ends_at: Instant,
}

#[derive(Debug)]
pub struct Credential<I: Issuer> {
    issuer: I,
    current: ArcSwapOption<Held<I::Value>>,
    /// Held by whoever fetches; counts what was issued.
    turn: Mutex<u64>,
}

impl<I: Issuer> Credential<I> {
    pub fn new(issuer: I) -> Self {
        Credential { issuer, current: ArcSwapOption::empty(), turn: Mutex::new(0) }
    }

    /// The credential of this moment; fetched where there is none that lives.
    ///
    /// # Errors
    /// As the issuer's.
    pub async fn get(&self) -> Result<Arc<Held<I::Value>>, Outcome> {
        let now = Instant::now();
        match self.current.load_full() {
            Some(held) if now < held.renew_at => Ok(held),
            Some(held) if now < held.ends_at => match self.turn.try_lock() {
                // What lives is good enough until the issuer answers again.
                Ok(turn) => Ok(self.fetch(turn).await.unwrap_or(held)),
                Err(_) => Ok(held),
            },
            stale => self.replace(stale.map(|held| held.generation)).await,
        }
    }

    /// A credential other than `refused`, which the provider no longer takes.
    ///
    /// # Errors
    /// As the issuer's.
    pub async fn renew(&self, refused: &Held<I::Value>) -> Result<Arc<Held<I::Value>>, Outcome> {
        self.replace(Some(refused.generation)).await
    }

    async fn replace(&self, old: Option<u64>) -> Result<Arc<Held<I::Value>>, Outcome> {
        let turn = self.turn.lock().await;
        match self.current.load_full() {
            Some(held) if Some(held.generation) != old => Ok(held),
            _ => self.fetch(turn).await,
        }
    }

    async fn fetch(&self, mut turn: MutexGuard<'_, u64>) -> Result<Arc<Held<I::Value>>, Outcome> {
        let asked = Instant::now();
        let Issued { value, lives, early } = self.issuer.issue().await?;
        let lives = lives.min(LONGEST);
        *turn += 1;
        let ends_at = asked + lives;
        let renew_at = asked + lives.saturating_sub(early);
        let held = Arc::new(Held { value, generation: *turn, renew_at, ends_at });
        self.current.store(Some(held.clone()));
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    #[derive(Debug, Default)]
    struct Counting {
        issued: AtomicU32,
        away: AtomicBool,
    }

    #[async_trait]
    impl Issuer for Counting {
        type Value = u32;

        async fn issue(&self) -> Result<Issued<u32>, Outcome> {
            sleep(Duration::from_millis(50)).await;
            if self.away.load(Ordering::Relaxed) {
                return Err(Outcome::AccountRefused { detail: "away".into() });
            }
            let value = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(Issued { value, lives: Duration::from_secs(7_200), early: Duration::from_secs(300) })
        }
    }

    struct ForEver;

    #[async_trait]
    impl Issuer for ForEver {
        type Value = ();

        async fn issue(&self) -> Result<Issued<()>, Outcome> {
            Ok(Issued { value: (), lives: Duration::MAX, early: Duration::ZERO })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_to_last_for_ever_is_renewed_after_a_year() {
        let credential = Credential::new(ForEver);
        assert_eq!(credential.get().await.unwrap().generation, 1);
        advance(LONGEST).await;
        assert_eq!(credential.get().await.unwrap().generation, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_ask_at_once_share_one() {
        let credential = Credential::new(Counting::default());
        let held = join_all((0..100).map(|_| credential.get())).await;
        assert!(held.into_iter().all(|held| held.unwrap().value == 1));
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_were_refused_at_once_renew_once() {
        let credential = Credential::new(Counting::default());
        let first = credential.get().await.unwrap();
        let renewed = join_all((0..100).map(|_| credential.renew(&first))).await;
        assert!(renewed.into_iter().all(|held| held.unwrap().value == 2));
        assert_eq!(credential.renew(&first).await.unwrap().value, 2);
        assert_eq!(credential.issuer.issued.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn near_its_end_one_renews_and_nobody_waits_for_an_issuer_that_is_away() {
        let credential = Credential::new(Counting::default());
        credential.get().await.unwrap();
        advance(Duration::from_secs(7_000)).await;
        credential.issuer.away.store(true, Ordering::Relaxed);
        assert_eq!(credential.get().await.unwrap().value, 1);
        credential.issuer.away.store(false, Ordering::Relaxed);
        let both = join_all([credential.get(), credential.get()]).await;
        let values: Vec<u32> = both.into_iter().map(|held| held.unwrap().value).collect();
        assert_eq!(values, [2, 1]);
        credential.issuer.away.store(true, Ordering::Relaxed);
        advance(Duration::from_secs(7_300)).await;
        assert!(credential.get().await.is_err());
    }
}
