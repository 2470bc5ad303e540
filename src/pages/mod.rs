//! The pages on the admin listener: all campaigns, and one of them in numbers; in English and Chinese.
//!
//! Whole in themselves: style and script stand in the page, nothing comes from another host, and the policy names both
//! by their hashes. They only read, at most a page of campaigns or one campaign's counters a request, never the ledger's
//! rows. Whatever comes from jobs, templates or the request is escaped. Who may look is decided by the listener.

mod campaign;
mod chart;
mod list;
mod notice;
mod words;

use std::fmt;
use std::sync::Arc;

use askama::Template;
use askama::filters::HtmlSafe;
use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use self::words::Words;
use crate::http::{Language, problem};
use crate::model::CampaignStatus;
use crate::report::{Ratio, percent};
use crate::store::Store;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");

/// Nothing but the style and the script above, the page's own address again, and the search.
const POLICY: &str = "default-src 'none'; style-src 'sha256-yk6Ko4KuHN0mada+Hgqw0mQHoa0XAr9PlgpK8Ffbpug='; script-src 'sha256-DuRkgFQSw6caOEjAj/4L1kgQ9KQbE4m052elbyepkxg='; connect-src 'self'; \
img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Seconds between two looks while something is sent, and otherwise.
const SOON: u32 = 2;
const LATER: u32 = 30;

#[derive(Debug, Clone)]
struct Pages {
    store: Arc<dyn Store>,
    sandbox: bool,
}

/// `/` and `/campaigns/{id}`. With `sandbox`, the pages lead to `/sandbox`, too. Sets no fallback.
pub fn router(store: Arc<dyn Store>, sandbox: bool) -> Router {
    Router::new()
        .route("/", get(list::show))
        .route("/campaigns/{id}", get(campaign::show))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(Pages { store, sandbox })
}

/// What every page has around its content.
struct Shell {
    language: Language,
    words: &'static Words,
    sandbox: bool,
    /// What was searched for.
    search: String,
    /// Seconds until the page looks again.
    refresh: u32,
}

impl Shell {
    fn new(pages: &Pages, headers: &HeaderMap) -> Self {
        let language = Language::preferred(headers);
        Shell {
            language,
            words: Words::of(language),
            sandbox: pages.sandbox,
            search: String::new(),
            refresh: LATER,
        }
    }

    /// Looks again soon where one of these still changes by itself.
    fn follow(&mut self, statuses: impl IntoIterator<Item = CampaignStatus>) {
        use CampaignStatus::{Cancelled, Finished, Paused, Planning, Running, Scheduled, Standing};
        let moving = |status| match status {
            Planning | Running | Standing => true,
            Scheduled | Paused | Finished | Cancelled => false,
        };
        if statuses.into_iter().any(moving) {
            self.refresh = SOON;
        }
    }

    fn style(&self) -> &'static str {
        STYLE
    }

    fn script(&self) -> &'static str {
        SCRIPT
    }
}

fn answer(status: StatusCode, language: Language, page: &impl Template) -> Response {
    let Ok(html) = page.render() else {
        tracing::error!("a page could not be written");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_LANGUAGE, language.tag()),
        (header::VARY, "Accept-Language"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)));
    (status, headers, Html(html)).into_response()
}

/// A share of a line's width.
struct Bar(f64);

impl Bar {
    fn of(part: i64, whole: i64) -> Self {
        Bar(share(part, whole).unwrap_or(0.0))
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is more than nothing shows.
        let width = if self.0 > 0.0 { (self.0 * 100.0).clamp(1.0, 100.0) } else { 0.0 };
        write!(
            f,
            "<svg class=\"bar\" aria-hidden=\"true\"><rect width=\"{width:.2}%\" height=\"100%\"/></svg>"
        )
    }
}

/// Writes numbers alone.
impl HtmlSafe for Bar {}

/// A rate as a line shows it.
struct Rate {
    /// `n/a` where the channel cannot observe it, `–` where there is nothing yet that it would be a share of.
    text: String,
    bar: Option<Bar>,
}

impl Rate {
    fn new(ratio: Ratio) -> Self {
        let text = match ratio {
            Ratio { numerator: Some(_), value: None, .. } => "–".to_owned(),
            Ratio { value, .. } => percent(value),
        };
        Rate { text, bar: ratio.value.map(Bar) }
    }
}

fn share(part: i64, whole: i64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "exact to 2^53 deliveries")]
    let share = (whole > 0).then(|| part as f64 / whole as f64);
    share
}

/// To the minute, in UTC.
fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// An id as a segment of a path.
fn segment(id: &str) -> String {
    utf8_percent_encode(id, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_names_style_and_script() {
        for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
            let hash = BASE64_STANDARD.encode(Sha256::digest(text));
            let source = format!("{kind}-src 'sha256-{hash}'");
            assert!(POLICY.contains(&source), "the {kind}'s hash is now {hash}");
        }
    }

    #[test]
    fn style_and_script_ask_no_other_host() {
        for text in [STYLE, SCRIPT] {
            assert!(!["://", "@import", "url("].iter().any(|way| text.contains(way)), "{text}");
        }
    }

    #[test]
    fn bars_stay_in_their_line() {
        assert!(Bar::of(1, 1_000_000).to_string().contains("width=\"1.00%\""));
        assert!(Bar::of(3, 2).to_string().contains("width=\"100.00%\""));
        assert!(Bar::of(0, 0).to_string().contains("width=\"0.00%\""));
    }

    #[test]
    fn rates_tell_unknown_from_not_yet() {
        let ratio = |numerator, value| Ratio { numerator, denominator: Some(0), value };
        assert_eq!(Rate::new(ratio(None, None)).text, "n/a");
        assert_eq!(Rate::new(ratio(Some(0), None)).text, "–");
        assert_eq!(Rate::new(ratio(Some(1), Some(0.5))).text, "50.00 %");
    }
}
