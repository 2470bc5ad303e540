//! `GET /`: campaigns newest first, a page at a time, with a search.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{Bar, Pages, Rate, Shell, answer, minute, notice, segment};
use crate::report::{engagement, number};
use crate::store::overview::Overview;

const LINES: u32 = 25;
/// The last page that can be asked for.
const MAX_PAGE: u32 = 100_000;
/// Characters of a search, at most.
const MAX_SEARCH: usize = 200;

/// Addresses of pages are typed and cut by people: what cannot be read counts as absent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    search: String,
    #[serde(default)]
    page: String,
}

impl Asked {
    fn search(&self) -> String {
        self.search.trim().chars().filter(|c| !c.is_control()).take(MAX_SEARCH).collect()
    }

    /// From 1 on.
    fn page(&self) -> u32 {
        self.page.parse().unwrap_or(1).clamp(1, MAX_PAGE)
    }
}

#[derive(Template)]
#[template(path = "pages/list.html")]
struct List {
    shell: Shell,
    lines: Vec<Line>,
    /// Where the pages of newer and older campaigns are.
    newer: Option<String>,
    older: Option<String>,
}

struct Line {
    href: String,
    name: String,
    /// Absent where it stands for the name.
    id: Option<String>,
    status: &'static str,
    badge: &'static str,
    channel: &'static str,
    progress: Bar,
    settled: String,
    targeted: String,
    sent: String,
    open: Rate,
    click: Rate,
    /// When it started or will, else when it was accepted.
    at: String,
}

pub(super) async fn show(
    State(pages): State<Pages>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Query(asked) = asked.unwrap_or_default();
    let mut shell = Shell::new(&pages, &headers);
    let (search, page) = (asked.search(), asked.page());
    shell.search.clone_from(&search);
    // One line more than shown tells whether there is another page.
    let found = match pages.store.overview(&search, LINES + 1, (page - 1) * LINES).await {
        Ok(found) => found,
        Err(error) => return notice::no_store(shell, &error),
    };
    let older = (found.len() > LINES as usize && page < MAX_PAGE).then(|| address(&search, page + 1));
    let newer = (page > 1).then(|| address(&search, page - 1));
    let found = found.get(..LINES as usize).unwrap_or(&found);
    shell.follow(found.iter().map(|campaign| campaign.status));
    let lines = found.iter().map(|campaign| line(&shell, campaign)).collect();
    answer(StatusCode::OK, shell.language, &List { shell, lines, newer, older })
}

fn line(shell: &Shell, campaign: &Overview) -> Line {
    let [open, click] = engagement(campaign).map(Rate::new);
    Line {
        href: format!("/campaigns/{}", segment(&campaign.id)),
        name: campaign.name.clone().unwrap_or_else(|| campaign.id.clone()),
        id: campaign.name.is_some().then(|| campaign.id.clone()),
        status: shell.words.status(campaign.status),
        badge: campaign.status.as_str(),
        channel: shell.words.channel(campaign.channel),
        progress: Bar::of(campaign.settled, campaign.targeted),
        settled: number(Some(campaign.settled)),
        targeted: number(Some(campaign.targeted)),
        sent: number(Some(campaign.sent)),
        open,
        click,
        at: minute(campaign.started_at.or(campaign.send_at).unwrap_or(campaign.accepted_at)),
    }
}

fn address(search: &str, page: u32) -> String {
    match search {
        "" => format!("/?page={page}"),
        search => format!("/?search={}&page={page}", utf8_percent_encode(search, NON_ALPHANUMERIC)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_the_first_page() {
        for (page, read) in [("", 1), ("0", 1), ("-3", 1), ("x", 1), ("7", 7), ("4294967295", MAX_PAGE)] {
            assert_eq!(Asked { page: page.into(), ..Asked::default() }.page(), read, "{page}");
        }
        assert_eq!(Asked { search: " a\0b ".into(), ..Asked::default() }.search(), "ab");
    }

    proptest! {
        #[test]
        fn an_address_brings_the_search_back(search in "[^\\p{Cc}]{0,40}", page in 2..MAX_PAGE) {
            let asked = Asked { search, page: page.to_string() };
            let address = address(&asked.search(), page);
            let query = address.strip_prefix("/?").unwrap();
            let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build().unwrap();
            let Query(back) = Query::<Asked>::try_from_uri(&uri).unwrap();
            prop_assert_eq!((back.search(), back.page()), (asked.search(), page));
        }
    }
}
