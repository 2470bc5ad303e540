//! What the demo shows at its end: a funnel a campaign, why people were left out, and whether the law of the ledger holds.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use jiff::Timestamp;

use super::campaigns::Expected;
use crate::model::{CampaignStatus, Reason, State};
use crate::report::{self, Report};
use crate::store::Store;

/// A campaign's numbers, and whether they can be trusted.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) expected: Expected,
    /// `None` until the daemon has its job.
    pub(super) report: Option<Report>,
}

/// Reads the numbers of all campaigns as they are now.
///
/// # Errors
/// When the store is away.
pub(super) async fn accounts(store: &dyn Store, expected: &[Expected]) -> crate::store::Result<Vec<Account>> {
    let mut accounts = Vec::with_capacity(expected.len());
    for expected in expected {
        let report = report::load(store, expected.id).await?;
        accounts.push(Account { expected: expected.clone(), report });
    }
    Ok(accounts)
}

impl Account {
    /// Whether nothing is left to be sent to anyone.
    pub(super) fn is_done(&self) -> bool {
        self.report.as_ref().is_some_and(|report| {
            let ended = matches!(report.status, CampaignStatus::Finished | CampaignStatus::Standing);
            ended && self.settled() == self.expected.targeted
        })
    }

    /// Recipients whose fate is known.
    pub(super) fn settled(&self) -> u64 {
        let Some(report) = &self.report else { return 0 };
        let open = state(report, State::Planned) + state(report, State::Sending);
        u64::try_from(report.targeted - open).unwrap_or(0)
    }

    /// Whether no number moved since `other` was read.
    pub(super) fn says_the_same(&self, other: &Account) -> bool {
        let timeless = |account: &Account| {
            account.report.clone().map(|report| Report { as_of: Timestamp::UNIX_EPOCH, ..report })
        };
        timeless(self) == timeless(other)
    }

    /// What breaks the law of the ledger in this campaign: the counters against the rows themselves, and both against
    /// the audience that the demo named.
    ///
    /// # Errors
    /// When the store is away.
    pub(super) async fn breaches(&self, store: &dyn Store) -> crate::store::Result<Vec<String>> {
        let id = self.expected.id;
        let Some(report) = &self.report else { return Ok(vec![format!("{id}: there is no such campaign")]) };
        let rows = store.count_rows(id).await?;
        let Some(counts) = store.counts(id).await? else { return Ok(Vec::new()) };
        Ok(breaches(self, report, &tally(counts.states), &tally(rows)))
    }
}

type Tally = BTreeMap<(State, Option<Reason>), i64>;

fn tally(counts: Vec<(State, Option<Reason>, i64)>) -> Tally {
    let mut tally = Tally::new();
    for (state, reason, n) in counts.into_iter().filter(|(_, _, n)| *n != 0) {
        *tally.entry((state, reason)).or_default() += n;
    }
    tally
}

fn breaches(account: &Account, report: &Report, counters: &Tally, rows: &Tally) -> Vec<String> {
    let (id, targeted) = (account.expected.id, account.expected.targeted);
    let mut breaches = Vec::new();
    if !account.is_done() {
        let settled = account.settled();
        breaches.push(format!("{id}: {}, and {settled} of {targeted} recipients are settled", report.status));
    }
    if report.targeted.unsigned_abs() != targeted {
        breaches
            .push(format!("{id}: the audience has {targeted} recipients, the ledger {}", report.targeted));
    }
    if counters != rows {
        breaches.push(format!("{id}: counters say {counters:?}, rows say {rows:?}"));
    }
    breaches
}

fn state(report: &Report, state: State) -> i64 {
    report.states.get(&state).copied().unwrap_or(0)
}

/// The funnel and the reasons, as lines of text.
pub(super) fn tables(reports: &[&Report]) -> String {
    format!("{}\n\n{}", funnel(reports), reasons(reports))
}

fn funnel(reports: &[&Report]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header([
        "campaign",
        "channel",
        "targeted",
        "excluded",
        "sent",
        "delivered",
        "bounced",
        "opened",
        "clicked",
        "unsubscribed",
    ]);
    for report in reports {
        let numbers = [
            Some(report.targeted),
            Some(state(report, State::Excluded)),
            Some(report.sent),
            report.delivered,
            Some(state(report, State::Bounced)),
            report.opens.map(|opens| opens.unique),
            Some(report.clicks.unique),
            Some(report.unsubscribes),
        ];
        let words = [report.campaign.clone(), report.channel.to_string()];
        table.add_row(words.into_iter().chain(numbers.map(number)));
    }
    aligned(table, 2)
}

/// Why recipients got nothing, or what they got came back: a row a reason, a column a campaign.
fn reasons(reports: &[&Report]) -> String {
    let all: BTreeSet<(State, Reason)> =
        reports.iter().flat_map(|report| report.reasons.iter().map(|row| (row.state, row.reason))).collect();
    let mut table = Table::new();
    let campaigns = reports.iter().map(|report| report.campaign.clone());
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["state".to_owned(), "reason".to_owned()].into_iter().chain(campaigns));
    for (state, reason) in all {
        let counts = reports.iter().map(|report| {
            let row = report.reasons.iter().find(|row| (row.state, row.reason) == (state, reason));
            row.map_or_else(String::new, |row| number(Some(row.count)))
        });
        table.add_row([state.to_string(), reason.to_string()].into_iter().chain(counts));
    }
    aligned(table, 2)
}

/// Numbers to the right, from column `first` on.
fn aligned(mut table: Table, first: usize) -> String {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

/// `-` where the channel cannot observe it.
fn number(n: Option<i64>) -> String {
    n.map_or_else(|| "-".to_owned(), |n| n.to_string())
}
