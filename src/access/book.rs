//! The live tokens in memory, read anew every two seconds: so long a revocation takes to hold, at most. While the store
//! is away the last reading counts, since nothing can be revoked there either and monitoring must not go blind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;
use tracing::warn;

use super::token::hash;
use crate::lifecycle::Shutdown;
use crate::model::access::{Actor, Caller};
use crate::store::tokens::LiveToken;
use crate::store::{Error, Store};

/// How often the tokens are read.
const READ: Duration = Duration::from_secs(2);
/// How exactly it is known when a token was last used.
const NOTED: SignedDuration = SignedDuration::from_mins(1);

/// Clones are the same book.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// `None` until the first reading.
    live: ArcSwapOption<Vec<LiveToken>>,
    /// Last uses by number, of live tokens alone; those that the store knows, too.
    used: Mutex<BTreeMap<i64, Use>>,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    last: Timestamp,
    /// What the store knows.
    noted: Option<Timestamp>,
}

/// Why a token opens nothing. The caller is never told which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// No live token, or none any more.
    Token,
    /// The tokens could not be read yet.
    Book,
}

impl Book {
    /// Whose token this is. Takes as long for each live token as for none: every one is compared, in constant time.
    pub(super) fn caller(&self, presented: &str, now: Timestamp) -> Result<Caller, Unknown> {
        let live = self.0.live.load();
        let Some(live) = live.as_deref() else { return Err(Unknown::Book) };
        let hash = hash(presented);
        let mut found = None;
        for token in live {
            if verify_slices_are_equal(&token.hash, &hash).is_ok() {
                found = Some(token);
            }
        }
        let valid = |token: &&LiveToken| token.expires_at.is_none_or(|at| at > now);
        let token = found.filter(valid).ok_or(Unknown::Token)?;
        self.used(token.number, now);
        Ok(Caller { actor: Actor::token(&token.name), scopes: token.scopes })
    }

    fn used(&self, number: i64, now: Timestamp) {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let one = used.entry(number).or_insert(Use { last: now, noted: None });
        one.last = one.last.max(now);
    }

    /// Takes over a reading; uses of tokens that are gone are forgotten.
    pub(super) fn replace(&self, live: Vec<LiveToken>) {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|number, _| live.iter().any(|token| token.number == *number));
        self.0.live.store(Some(Arc::new(live)));
    }

    /// Uses that the store should know by now.
    fn to_note(&self) -> Vec<(i64, Timestamp)> {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = |one: &Use| one.noted.is_none_or(|noted| one.last.duration_since(noted) >= NOTED);
        used.iter().filter(|(_, one)| stale(one)).map(|(number, one)| (*number, one.last)).collect()
    }

    fn noted(&self, uses: &[(i64, Timestamp)]) {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, at) in uses {
            if let Some(one) = used.get_mut(number) {
                one.noted = Some(*at);
            }
        }
    }
}

/// Keeps a book up to date.
#[derive(Debug)]
pub struct Keeper {
    pub book: Book,
    pub store: Arc<dyn Store>,
    pub shutdown: Shutdown,
}

impl Keeper {
    /// Reads once, so that tokens open from the first request on.
    pub async fn begin(&self) {
        if let Err(error) = self.round().await {
            warn!(error = &error as &dyn std::error::Error, "the API tokens could not be read; trying again");
        }
    }

    /// # Errors
    /// When the store refuses.
    pub async fn run(self) -> Result<(), Error> {
        while !self.shutdown.is_asked() {
            tokio::select! {
                () = self.shutdown.asked() => {}
                () = sleep(READ) => {}
            }
            match self.round().await {
                // The store's own watch tells that it is away.
                Err(error) if !error.is_transient() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn round(&self) -> Result<(), Error> {
        self.book.replace(self.store.live_tokens().await?);
        let uses = self.book.to_note();
        if !uses.is_empty() {
            self.store.tokens_used(&uses).await?;
            self.book.noted(&uses);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Token;
    use crate::model::access::{Scope, Scopes};

    fn live(number: i64, token: &Token, expires_at: Option<Timestamp>) -> LiveToken {
        let scopes = Scopes::from_iter([Scope::Read]);
        LiveToken { number, name: format!("t{number}"), hash: token.hash(), scopes, expires_at }
    }

    #[test]
    fn a_token_opens_from_the_reading_that_has_it_to_the_one_that_has_not() {
        let (book, token) = (Book::default(), Token::generate().unwrap());
        let now = Timestamp::now();
        assert_eq!(book.caller(token.reveal(), now), Err(Unknown::Book));
        book.replace(vec![live(1, &Token::generate().unwrap(), None), live(2, &token, None)]);
        let caller = book.caller(token.reveal(), now).unwrap();
        assert_eq!((caller.actor.as_str(), caller.scopes.names()), ("token:t2", vec!["read"]));
        for wrong in ["", "cmpd_", token.reveal().get(..47).unwrap(), &format!("{}x", token.reveal())] {
            assert_eq!(book.caller(wrong, now), Err(Unknown::Token), "{wrong}");
        }
        book.replace(Vec::new());
        assert_eq!(book.caller(token.reveal(), now), Err(Unknown::Token));
    }

    #[test]
    fn a_token_ends_at_its_time_between_two_readings() {
        let (book, token, now) = (Book::default(), Token::generate().unwrap(), Timestamp::now());
        book.replace(vec![live(1, &token, Some(now + SignedDuration::from_secs(1)))]);
        assert!(book.caller(token.reveal(), now).is_ok());
        assert!(book.caller(token.reveal(), now + SignedDuration::from_secs(1)).is_err());
    }

    #[test]
    fn a_use_is_noted_once_a_minute() {
        let (book, token, now) = (Book::default(), Token::generate().unwrap(), Timestamp::now());
        book.replace(vec![live(7, &token, None)]);
        assert!(book.to_note().is_empty());
        for (after, noted) in [(0, true), (10, false), (59, false), (61, true), (61, false)] {
            let at = now + SignedDuration::from_secs(after);
            book.caller(token.reveal(), at).unwrap();
            let uses = book.to_note();
            assert_eq!(uses, if noted { vec![(7, at)] } else { Vec::new() }, "{after}");
            book.noted(&uses);
        }
        book.replace(Vec::new());
        assert!(book.0.used.lock().unwrap().is_empty());
    }
}
