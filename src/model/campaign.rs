//! A campaign's status, derived from facts that are each set once, and the controls that users have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::channel::vocabulary;

vocabulary! {
    CampaignStatus {
        Scheduled = 1 => "scheduled",
        Planning = 2 => "planning",
        Running = 3 => "running",
        Paused = 4 => "paused",
        Finished = 5 => "finished",
        Cancelled = 6 => "cancelled",
        Standing = 7 => "standing",
    }
}

vocabulary! {
    /// What a user may ask of a campaign.
    Control { Pause = 1 => "pause", Resume = 2 => "resume", Cancel = 3 => "cancel" }
}

vocabulary! {
    /// Why a campaign was paused by itself.
    PauseCause {
        /// Too many of its recipients bounced.
        Bounces = 1 => "bounces",
        /// Too many of its recipients complained.
        Complaints = 2 => "complaints",
        /// Its provider refuses the template, whoever gets it.
        TemplateRefused = 3 => "template_refused",
    }
}

/// What says whether a campaign's list is good, in deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// Taken by the provider, or refused since it knows no such recipient.
    pub sent: i64,
    /// Bounced later, or refused so at once.
    pub bounced: i64,
    pub complained: i64,
}

impl Quality {
    /// What came since `before`.
    pub fn since(self, before: Option<Quality>) -> Quality {
        let before = before.unwrap_or_default();
        Quality {
            sent: self.sent - before.sent,
            bounced: self.bounced - before.bounced,
            complained: self.complained - before.complained,
        }
    }
}

/// From which shares of what was sent a channel's campaigns are paused by themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AutoPause {
    pub bounce: Option<f64>,
    pub complaint: Option<f64>,
    /// Before so many were sent, shares say little.
    pub after: i64,
}

impl AutoPause {
    pub fn judge(&self, quality: Quality) -> Option<PauseCause> {
        if quality.sent < self.after.max(1) {
            return None;
        }
        let reaches = |most: Option<f64>, n: i64| {
            most.is_some_and(|most| n > 0 && n as f64 >= most * quality.sent as f64)
        };
        if reaches(self.complaint, quality.complained) {
            Some(PauseCause::Complaints)
        } else if reaches(self.bounce, quality.bounced) {
            Some(PauseCause::Bounces)
        } else {
            None
        }
    }
}

/// The facts behind a status; each is one column of the campaign's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact with its own column")]
pub struct Facts {
    pub standing: bool,
    pub paused: bool,
    pub cancelled: bool,
    pub started: bool,
    pub planned: bool,
    pub finished: bool,
}

impl Facts {
    pub fn status(self) -> CampaignStatus {
        match self {
            Facts { cancelled: true, .. } => CampaignStatus::Cancelled,
            Facts { finished: true, .. } => CampaignStatus::Finished,
            Facts { paused: true, .. } => CampaignStatus::Paused,
            Facts { standing: true, .. } => CampaignStatus::Standing,
            Facts { started: false, .. } => CampaignStatus::Scheduled,
            Facts { planned: false, .. } => CampaignStatus::Planning,
            _ => CampaignStatus::Running,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_judged_by_its_shares_once_enough_was_sent() {
        let rules = AutoPause { bounce: Some(0.05), complaint: Some(0.003), after: 1_000 };
        let judged = |sent, bounced, complained| rules.judge(Quality { sent, bounced, complained });
        assert_eq!(judged(999, 999, 999), None);
        assert_eq!(judged(1_000, 49, 2), None);
        assert_eq!(judged(1_000, 50, 2), Some(PauseCause::Bounces));
        assert_eq!(judged(1_000, 50, 3), Some(PauseCause::Complaints));
        let silent = AutoPause { bounce: None, complaint: None, after: 0 };
        assert_eq!(silent.judge(Quality { sent: 10, bounced: 10, complained: 10 }), None);
        let strict = AutoPause { bounce: Some(0.0), complaint: None, after: 0 };
        assert_eq!(strict.judge(Quality { sent: 10, bounced: 0, complained: 0 }), None);
    }

    #[test]
    fn what_was_forgiven_does_not_count_again() {
        let before = Quality { sent: 1_000, bounced: 100, complained: 7 };
        let now = Quality { sent: 1_500, bounced: 110, complained: 7 };
        assert_eq!(now.since(Some(before)), Quality { sent: 500, bounced: 10, complained: 0 });
        assert_eq!(now.since(None), now);
    }
}
