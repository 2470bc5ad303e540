//! `GET /campaigns/{id}`: one campaign's report, read once.

use std::borrow::Cow;

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{self, Path};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;

use super::chart::{Chart, chart};
use super::words::Words;
use super::{Bar, Pages, Rate, Shell, answer, minute, notice, segment, share};
use crate::model::State;
use crate::model::contact::check_id;
use crate::report::{Base, Ratio, Report, number, percent};
use crate::store::campaigns::CampaignRecord;
use crate::store::reports::{Engaged, LinkCount};
use crate::store::{self, Store};

/// Links that the page lists, the busiest.
const LINKS: usize = 20;

#[derive(Template)]
#[template(path = "pages/campaign.html")]
struct Page {
    shell: Shell,
    name: String,
    id: String,
    path: String,
    status: &'static str,
    badge: &'static str,
    as_of: String,
    facts: Vec<(&'static str, String)>,
    progress: Bar,
    settled: String,
    targeted: String,
    funnel: Vec<Step>,
    states: Vec<Stand>,
    rates: Vec<RateLine>,
    engagement: Vec<Line>,
    chart: Option<Chart>,
    links: Vec<Link>,
    hidden_links: usize,
}

/// A step of the funnel.
struct Step {
    key: &'static str,
    word: &'static str,
    count: String,
    share: String,
    bar: Option<Bar>,
}

/// Where deliveries stand, and why.
struct Stand {
    badge: &'static str,
    word: &'static str,
    count: String,
    share: String,
    reasons: Vec<(Cow<'static, str>, String, String)>,
}

struct RateLine {
    word: &'static str,
    rate: Rate,
    numerator: String,
    denominator: String,
    of: &'static str,
}

/// Numbers under `unique`, `total` and `machine`; the last two are absent where only people are counted, once each.
struct Line {
    word: &'static str,
    unique: String,
    more: Option<(String, String)>,
}

struct Link {
    url: String,
    clicks: String,
    unique: String,
    bar: Bar,
}

pub(super) async fn show(
    extract::State(pages): extract::State<Pages>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let mut shell = Shell::new(&pages, &headers);
    let Some(id) = id.ok().map(|Path(id)| id).filter(|id| check_id(id).is_ok()) else {
        return notice::no_campaign(shell);
    };
    match load(&*pages.store, &id).await {
        Ok(Some((record, report))) => {
            shell.follow([record.status]);
            answer(StatusCode::OK, shell.language, &Page::new(shell, &record, &report))
        }
        Ok(None) => notice::no_campaign(shell),
        Err(error) => notice::no_store(shell, &error),
    }
}

async fn load(store: &dyn Store, id: &str) -> store::Result<Option<(CampaignRecord, Report)>> {
    // The status first: one that says `finished` then never stands beside counts from before the end.
    let Some(record) = store.campaign(id).await? else { return Ok(None) };
    let counts = store.counts(id).await?;
    Ok(counts.map(|counts| {
        let report = Report::new(&record, counts, Timestamp::now());
        (record, report)
    }))
}

impl Page {
    fn new(shell: Shell, record: &CampaignRecord, report: &Report) -> Page {
        let words = shell.words;
        let settled = record.settled;
        Page {
            name: record.name.clone().unwrap_or_else(|| record.id.clone()),
            id: record.id.clone(),
            path: segment(&record.id),
            status: words.status(record.status),
            badge: record.status.as_str(),
            as_of: report.as_of.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            facts: facts(words, record),
            progress: Bar::of(settled, record.targeted),
            settled: number(Some(settled)),
            targeted: number(Some(record.targeted)),
            funnel: funnel(words, report),
            states: states(words, report),
            rates: rates(words, report),
            engagement: engagement(words, report),
            chart: chart(&report.series, report.opens.is_some(), words),
            links: links(report),
            hidden_links: report.links.len().saturating_sub(LINKS),
            shell,
        }
    }
}

fn facts(words: &Words, record: &CampaignRecord) -> Vec<(&'static str, String)> {
    let time = |at: Option<Timestamp>| at.map(|at| format!("{} UTC", minute(at)));
    let carrier = record.provider.clone().unwrap_or_else(|| words.any_account.to_owned());
    let facts = [
        (words.paused_for, record.pause_cause.map(|cause| words.pause_cause(cause).to_owned())),
        (words.channel, Some(words.channel(record.channel).to_owned())),
        (words.carried_by, Some(carrier)),
        (words.template, Some(record.template.clone())),
        (words.purpose, Some(words.purpose(record.purpose).to_owned())),
        (words.lane, Some(words.lane(record.lane).to_owned())),
        (words.rate_limit, Some(record.rate.join(", ")).filter(|rate| !rate.is_empty())),
        (words.accepted, time(Some(record.accepted_at))),
        (words.send_at, time(record.send_at)),
        (words.started, time(record.started_at)),
        (words.finished, time(record.finished_at)),
        (words.expires, time(record.expires_at)),
    ];
    facts.into_iter().filter_map(|(word, fact)| Some((word, fact?))).collect()
}

fn funnel(words: &Words, report: &Report) -> Vec<Step> {
    let steps = [
        ("targeted", words.targeted, Some(report.targeted)),
        ("sent", words.sent, Some(report.sent)),
        ("delivered", words.delivered, report.delivered),
        ("opened", words.opened, report.opens.map(|opens| opens.unique)),
        ("clicked", words.clicked, Some(report.clicks.unique)),
    ];
    let step = |(key, word, count): (_, _, Option<i64>)| {
        let share = count.map_or_else(String::new, |count| part(count, report.targeted));
        let bar = count.map(|count| Bar::of(count, report.targeted));
        Step { key, word, count: number(count), share, bar }
    };
    steps.map(step).into()
}

/// A share of everyone; nothing where there is nobody.
fn part(count: i64, targeted: i64) -> String {
    share(count, targeted).map_or_else(String::new, |share| percent(Some(share)))
}

fn states(words: &Words, report: &Report) -> Vec<Stand> {
    let text = |count| part(count, report.targeted);
    let stand = |(state, count): (&State, &i64)| Stand {
        badge: state.as_str(),
        word: words.state(*state),
        count: number(Some(*count)),
        share: text(*count),
        reasons: report
            .reasons
            .iter()
            .filter(|row| row.state == *state)
            .map(|row| (words.reason(row.reason), number(Some(row.count)), text(row.count)))
            .collect(),
    };
    report.states.iter().filter(|(_, count)| **count != 0).map(stand).collect()
}

fn rates(words: &Words, report: &Report) -> Vec<RateLine> {
    let base = match report.base {
        Base::Delivered => words.delivered,
        Base::Sent => words.sent,
    };
    let rates = &report.rates;
    let lines = [
        (words.delivery, rates.delivery, words.sent),
        (words.open, rates.open, base),
        (words.click, rates.click, base),
        (words.click_to_open, rates.click_to_open, words.opened),
        (words.unsubscribe, rates.unsubscribe, base),
        (words.complaint, rates.complaint, base),
        (words.bounce, rates.bounce, words.sent),
        (words.receipt, rates.receipt, words.sent),
    ];
    let line = |(word, ratio, of): (_, Ratio, _)| RateLine {
        word,
        rate: Rate::new(ratio),
        numerator: number(ratio.numerator),
        denominator: number(ratio.denominator),
        of,
    };
    lines.map(line).into()
}

fn engagement(words: &Words, report: &Report) -> Vec<Line> {
    let events = |word, engaged: Option<Engaged>| Line {
        word,
        unique: number(engaged.map(|of| of.unique)),
        more: Some((number(engaged.map(|of| of.total)), number(engaged.map(|of| of.machine)))),
    };
    let people = |word, count| Line { word, unique: number(count), more: None };
    vec![
        events(words.opens, report.opens),
        events(words.clicks, Some(report.clicks)),
        people(words.unsubscribes, Some(report.unsubscribes)),
        people(words.complaints, report.complaints),
    ]
}

fn links(report: &Report) -> Vec<Link> {
    let busiest = report.links.first().map_or(0, |link| link.clicks);
    let link = |link: &LinkCount| Link {
        url: link.url.clone(),
        clicks: number(Some(link.clicks)),
        unique: number(Some(link.unique)),
        bar: Bar::of(link.clicks, busiest),
    };
    report.links.iter().take(LINKS).map(link).collect()
}
