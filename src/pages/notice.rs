//! The pages that stand in for one that cannot be shown.

use std::error::Error as _;

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::{Shell, answer};
use crate::store;

/// Seconds after which the page may be there.
const RETRY_AFTER: u32 = 5;

#[derive(Template)]
#[template(path = "pages/notice.html")]
struct Notice {
    shell: Shell,
    title: &'static str,
    advice: &'static str,
}

/// There is no such campaign.
pub(super) fn no_campaign(shell: Shell) -> Response {
    let (title, advice) = (shell.words.no_campaign, shell.words.no_campaign_advice);
    answer(StatusCode::NOT_FOUND, shell.language, &Notice { shell, title, advice })
}

/// The store did not answer; one that is away may be back soon.
pub(super) fn no_store(mut shell: Shell, error: &store::Error) -> Response {
    let words = shell.words;
    if !error.is_transient() {
        // One level of causes and no more: what PostgreSQL says below it may quote a row.
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, cause, "a page could not be read from the store");
        let notice = Notice { shell, title: words.store_failed, advice: words.store_failed_advice };
        return answer(StatusCode::INTERNAL_SERVER_ERROR, notice.shell.language, &notice);
    }
    shell.refresh = RETRY_AFTER;
    let notice = Notice { shell, title: words.store_away, advice: words.store_away_advice };
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, notice.shell.language, &notice);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
    response
}
