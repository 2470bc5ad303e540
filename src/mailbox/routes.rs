//! The routes, and what each answer may do in a browser.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::json;
use super::pages::{LetterPage, ListPage};
use crate::http::Problem;
use crate::model::{Channel, Content};
use crate::provider::sandbox::{Letter, Mailbox};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");

/// Our own style, script and frames, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// A mail's own styles, and images that it brings along; links open outside of the frame. What stands in `srcdoc` would
/// inherit the page's policy, which allows no inline style: hence an address of its own.
const EMAIL_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; \
style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'";
/// Makes the links of a mail open outside of its frame; a doctype that follows in the mail itself is ignored.
const EMAIL_HEAD: &str = "<!doctype html><base target=\"_blank\">";

/// Messages on a page.
const PAGE: usize = 50;
/// Messages in a JSON answer, unless told.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

type Shared = State<Arc<Mailbox>>;

/// The routes under `/sandbox`; sets no fallback.
pub fn router(mailbox: Arc<Mailbox>) -> Router {
    Router::new()
        .route("/sandbox", get(list))
        .route("/sandbox/messages", get(messages).delete(clear))
        .route(
            "/sandbox/style.css",
            get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)),
        )
        .route("/sandbox/live.js", get(async || ([(header::CONTENT_TYPE, "text/javascript")], SCRIPT)))
        .route("/sandbox/{id}", get(one))
        .route("/sandbox/{id}/email.html", get(email))
        .layer(map_response(private))
        .with_state(mailbox)
}

/// What the list is narrowed to.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Listed {
    /// Empty for all.
    channel: String,
    /// Part of an address.
    to: String,
    /// Only what came before this number.
    before: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    /// Empty for all.
    channel: String,
    /// Only what came after this number.
    after: u64,
    limit: Option<usize>,
}

async fn list(
    State(mailbox): Shared,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(listed) = query.map_err(|rejection| bad_request(&rejection.body_text()))?;
    let channel = channel(&listed.channel)?;
    let before = listed.before.unwrap_or(u64::MAX);
    let mut letters = mailbox.newest(channel, &listed.to, before, PAGE + 1);
    let more = letters.len() > PAGE;
    letters.truncate(PAGE);
    page(&ListPage::new(&mailbox, &letters, channel, &listed.to, listed.before.is_some(), more))
}

async fn one(State(mailbox): Shared, id: Result<Path<u64>, PathRejection>) -> Result<Response, Problem> {
    let (id, letter) = found(&mailbox, id)?;
    page(&LetterPage::new(id, &letter))
}

async fn email(State(mailbox): Shared, id: Result<Path<u64>, PathRejection>) -> Result<Response, Problem> {
    let (_, letter) = found(&mailbox, id)?;
    let Content::Email(email) = &letter.content else { return Err(gone()) };
    let Some(html) = &email.html else { return Err(gone()) };
    let policy = [(header::CONTENT_SECURITY_POLICY, EMAIL_POLICY)];
    Ok((policy, Html(format!("{EMAIL_HEAD}{html}"))).into_response())
}

async fn messages(
    State(mailbox): Shared,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<json::Messages>, Problem> {
    let Query(asked) = query.map_err(|rejection| bad_request(&rejection.body_text()))?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(bad_request(&format!("`limit` is {limit}; give 1 to {MAX_LIMIT}")));
    }
    let kept = mailbox.after(channel(&asked.channel)?, asked.after, limit);
    Ok(Json(json::Messages::new(&kept, asked.after)))
}

async fn clear(State(mailbox): Shared) -> StatusCode {
    mailbox.clear();
    StatusCode::NO_CONTENT
}

fn channel(word: &str) -> Result<Option<Channel>, Problem> {
    match word {
        "" => Ok(None),
        word => {
            word.parse().map(Some).map_err(|problem: String| bad_request(&format!("`channel`: {problem}")))
        }
    }
}

fn found(mailbox: &Mailbox, id: Result<Path<u64>, PathRejection>) -> Result<(u64, Arc<Letter>), Problem> {
    let Path(id) = id.map_err(|_| gone())?;
    mailbox.letter(id).map(|letter| (id, letter)).ok_or_else(gone)
}

fn page(page: &impl askama::Template) -> Result<Response, Problem> {
    let html = page
        .render()
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be made."))?;
    Ok(([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(html)).into_response())
}

fn bad_request(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn gone() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "The sandbox has no such message, or has it no more: it keeps the last ones.",
    )
}

/// Messages are people's data: no cache keeps them, no other site learns an address, no browser guesses.
async fn private(mut response: Response) -> Response {
    let rules: [(HeaderName, &str); 3] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in rules {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
