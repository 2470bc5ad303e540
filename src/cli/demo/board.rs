//! Progress on standard error: a bar a campaign on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::funnel::Account;
use crate::cli::exit::tell;
use crate::model::State;

/// How often plain lines come.
const LINES: Duration = Duration::from_secs(5);

pub(super) enum Board {
    Bars(Vec<ProgressBar>),
    Lines { next: Instant },
}

impl Board {
    /// # Errors
    /// Never, unless the style of the bars is wrong.
    pub(super) fn new(accounts: &[Account]) -> Result<Board> {
        if !stderr().is_terminal() {
            return Ok(Board::Lines { next: Instant::now() + LINES });
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{prefix:14} {bar:28.green/dim} {pos:>6}/{len:6} {msg}")?
            .progress_chars("━╸─");
        let bar = |account: &Account| {
            let bar = ProgressBar::new(account.expected.targeted).with_style(style.clone());
            all.add(bar.with_prefix(account.expected.id))
        };
        let bars = accounts.iter().map(bar).collect();
        Ok(Board::Bars(bars))
    }

    pub(super) fn show(&mut self, accounts: &[Account]) {
        match self {
            Board::Bars(bars) => {
                for (bar, account) in bars.iter().zip(accounts) {
                    bar.set_message(news(account));
                    bar.set_position(account.settled());
                }
            }
            Board::Lines { next } if Instant::now() >= *next => {
                *next += LINES;
                lines(accounts);
            }
            Board::Lines { .. } => {}
        }
    }

    /// The last state, which stays.
    pub(super) fn end(mut self, accounts: &[Account]) {
        self.show(accounts);
        match self {
            Board::Bars(bars) => {
                bars.iter().for_each(ProgressBar::abandon);
                // The last bar ends without a line break.
                tell("");
            }
            Board::Lines { .. } => lines(accounts),
        }
    }
}

fn lines(accounts: &[Account]) {
    for account in accounts {
        let (id, settled, targeted) = (account.expected.id, account.settled(), account.expected.targeted);
        tell(&format!("{id}: {settled}/{targeted} {}", news(account)));
    }
}

/// `1203 delivered, 412 opened, 80 clicked`.
fn news(account: &Account) -> String {
    let Some(report) = &account.report else { return "waits".to_owned() };
    let delivered = report.states.get(&State::Delivered).copied().unwrap_or(0);
    let opened = report.opens.map(|opens| format!(", {} opened", opens.unique)).unwrap_or_default();
    format!("{delivered} delivered{opened}, {} clicked", report.clicks.unique)
}
