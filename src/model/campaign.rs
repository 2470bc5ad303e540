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
