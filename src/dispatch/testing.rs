//! Accounts for the tests of this module; nothing is sent through them.

use crate::dispatch::{Account, Format, Limit, OnDoubt};
use crate::provider::{Provider, Session};

#[derive(Debug)]
struct Silent;

impl Provider for Silent {
    fn session(&self) -> Box<dyn Session> {
        panic!("nothing is sent")
    }

    fn chunk_size(&self) -> usize {
        1
    }
}

pub(super) fn account(name: &str, app: Option<&str>, on_doubt: OnDoubt) -> Account {
    Account {
        name: name.into(),
        provider: std::sync::Arc::new(Silent),
        format: Format::Content,
        app: app.map(Into::into),
        weight: None,
        limit: Limit::default(),
        on_doubt,
    }
}
