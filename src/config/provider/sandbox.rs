//! The settings of kind `sandbox`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::grammar;
use crate::config::reader::Table;

/// A provider inside the program, for trying things out: nothing leaves the machine. Shares run from 0 to 1.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Everything that happens by chance follows from it.
    pub seed: u64,
    /// The median of a call's time.
    pub latency: Duration,
    /// One call in a hundred takes longer.
    pub latency_p99: Duration,
    /// Share of calls that are told to slow down.
    pub throttled: f64,
    /// Messages a second; what comes faster is told to slow down.
    pub capacity: Option<NonZeroU32>,
    /// Share of attempts that are refused for now.
    pub soft: f64,
    /// Share of messages that are refused for good.
    pub hard: f64,
    /// Share of attempts that get no answer in time; half of them arrive all the same.
    pub no_answer: f64,
    /// Whether receipts come at all.
    pub receipts: bool,
    /// The median time from the answer to the receipt.
    pub receipt_delay: Duration,
    /// Share of receipts that come before the answer.
    pub early_receipts: f64,
    /// Share of the messages taken that bounce.
    pub bounced: f64,
    /// Share of the e-mails taken that are called spam.
    pub complained: f64,
    /// Share of the SMS and WeChat messages taken that are answered by opting out.
    pub opted_out: f64,
    /// Messages of each channel that stay readable.
    pub keep: usize,
}

/// The largest `keep`.
const MAX_KEEP: u16 = 10_000;

impl Default for SandboxSettings {
    fn default() -> Self {
        SandboxSettings {
            seed: 1,
            latency: Duration::from_millis(20),
            latency_p99: Duration::from_millis(100),
            throttled: 0.001,
            capacity: None,
            soft: 0.01,
            hard: 0.005,
            no_answer: 0.001,
            receipts: true,
            receipt_delay: Duration::from_secs(2),
            early_receipts: 0.001,
            bounced: 0.01,
            complained: 0.000_5,
            opted_out: 0.002,
            keep: 1_000,
        }
    }
}

pub(super) fn sandbox(table: &mut Table<'_>) -> SandboxSettings {
    let usual = SandboxSettings::default();
    let latency = table.text("latency", grammar::duration).unwrap_or(usual.latency);
    let latency_p99 = table.text("latency_p99", grammar::duration);
    if latency_p99.is_some_and(|p99| p99 < latency) {
        table.problem("latency_p99", "is below `latency`, which half of the calls exceed");
    }
    let settings = SandboxSettings {
        seed: table.number("seed", "a whole number").unwrap_or(usual.seed),
        latency,
        latency_p99: latency_p99.unwrap_or(latency * 5),
        throttled: table.share("throttled").unwrap_or(usual.throttled),
        capacity: table.number("capacity", "a whole number from 1 to 4294967295"),
        soft: table.share("soft").unwrap_or(usual.soft),
        hard: table.share("hard").unwrap_or(usual.hard),
        no_answer: table.share("no_answer").unwrap_or(usual.no_answer),
        receipts: table.flag("receipts").unwrap_or(usual.receipts),
        receipt_delay: table.text("receipt_delay", grammar::duration).unwrap_or(usual.receipt_delay),
        early_receipts: table.share("early_receipts").unwrap_or(usual.early_receipts),
        bounced: table.share("bounced").unwrap_or(usual.bounced),
        complained: table.share("complained").unwrap_or(usual.complained),
        opted_out: table.share("opted_out").unwrap_or(usual.opted_out),
        keep: keep(table).unwrap_or(usual.keep),
    };
    if settings.soft + settings.no_answer > 1.0 {
        table.problem("soft", "and `no_answer` are shares of the same attempts: together at most 1");
    }
    if settings.bounced + settings.complained.max(settings.opted_out) > 1.0 {
        table.problem(
            "bounced",
            "and `complained`, or `opted_out`, are shares of the same messages: together at most 1",
        );
    }
    settings
}

fn keep(table: &mut Table<'_>) -> Option<usize> {
    let keep: u16 = table.number("keep", "a whole number from 0 to 10000")?;
    if keep > MAX_KEEP {
        table.problem("keep", format!("at most {MAX_KEEP}: they are held in memory"));
    }
    Some(keep.min(MAX_KEEP).into())
}
