//! Rates that carry what they were made of, so that nobody compares two of different bases.

use std::fmt;

use serde::Serialize;

/// A share. `None` anywhere means that the channel cannot observe it, and a value of a share of nothing is `None`, too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    pub numerator: Option<i64>,
    pub denominator: Option<i64>,
    /// From 0; 1 is all.
    pub value: Option<f64>,
}

impl Ratio {
    pub(super) const UNKNOWN: Ratio = Ratio { numerator: None, denominator: None, value: None };

    pub(super) fn of(numerator: Option<i64>, denominator: i64) -> Ratio {
        #[expect(clippy::cast_precision_loss, reason = "exact to 2^53 deliveries")]
        let value =
            numerator.filter(|_| denominator > 0).map(|numerator| numerator as f64 / denominator as f64);
        Ratio { numerator, denominator: Some(denominator), value }
    }
}

/// What the rates of engagement are a share of: `delivered` where receipts arrive, else `sent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    Delivered,
    Sent,
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Base::Delivered => "delivered",
            Base::Sent => "sent",
        })
    }
}

/// Each under its name in the report; `base` is the report's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Delivered, of sent.
    pub delivery: Ratio,
    /// Deliveries that a person opened or clicked, of base.
    pub open: Ratio,
    /// Deliveries that a person clicked, of base.
    pub click: Ratio,
    /// Deliveries that a person clicked, of those opened or clicked.
    pub click_to_open: Ratio,
    /// Unsubscribes, of base.
    pub unsubscribe: Ratio,
    /// Complaints, of base.
    pub complaint: Ratio,
    /// Bounced, of sent; unknown until the first receipt where nothing says that receipts come.
    pub bounce: Ratio,
    /// Receipts of either kind, of sent: how far `delivered` can be trusted.
    pub receipt: Ratio,
}

impl Rates {
    pub(super) fn named(&self) -> [(&'static str, Ratio); 8] {
        [
            ("delivery", self.delivery),
            ("open", self.open),
            ("click", self.click),
            ("click_to_open", self.click_to_open),
            ("unsubscribe", self.unsubscribe),
            ("complaint", self.complaint),
            ("bounce", self.bounce),
            ("receipt", self.receipt),
        ]
    }
}
