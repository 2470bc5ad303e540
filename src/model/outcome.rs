//! What became of one attempt. A failed delivery is a value, not an error.

use std::time::Duration;

use super::Reason;

/// The provider's answer for one message, classified; every channel uses these and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took the message; `provider_ref` is its id for it, or the ids of its parts with spaces between.
    Accepted { provider_ref: Option<String> },
    /// The provider refused for good. `detail` is its answer, free of addresses where possible, cut short.
    Rejected { reason: Reason, detail: String },
    /// Our side gave up before anything left.
    Failed { reason: Reason, detail: String },
    /// The provider may have it.
    Unknown { reason: Reason, detail: String },
    /// Certainly not taken; try again by the schedule. Burns an attempt.
    Retry { reason: Reason, after: Option<Duration>, detail: String },
    /// Certainly not taken; the provider asks the account to slow down. Burns no attempt.
    Throttled { after: Option<Duration>, detail: String },
    /// Certainly not taken; the provider asks to leave this recipient alone for a while. Burns no attempt.
    Deferred { after: Duration, detail: String },
    /// Certainly not taken; the provider refuses the campaign's template, whoever gets it. Burns no attempt, pauses the
    /// campaign where it repeats.
    CampaignRefused { detail: String },
    /// Certainly not taken; the provider refuses the account. Burns no attempt, pauses the provider.
    AccountRefused { detail: String },
    /// Never attempted: a rule that became true after planning.
    Excluded { reason: Reason },
    /// Never attempted: the message's own `expires_at` passed.
    Expired,
    /// Never attempted: handed back by a pause, a drain or a cut connection. Burns no attempt.
    Returned,
}

impl Outcome {
    /// The metric label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Accepted { .. } => "accepted",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Failed { .. } => "failed",
            Outcome::Unknown { .. } => "unknown",
            Outcome::Retry { .. } => "retry",
            Outcome::Throttled { .. } => "throttled",
            Outcome::Deferred { .. } => "deferred",
            Outcome::CampaignRefused { .. } => "campaign_refused",
            Outcome::AccountRefused { .. } => "account_refused",
            Outcome::Excluded { .. } => "excluded",
            Outcome::Expired => "expired",
            Outcome::Returned => "returned",
        }
    }

    /// The provider's words, or its id for what it took.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Outcome::Accepted { provider_ref } => provider_ref.as_deref(),
            Outcome::Rejected { detail, .. }
            | Outcome::Failed { detail, .. }
            | Outcome::Unknown { detail, .. }
            | Outcome::Retry { detail, .. }
            | Outcome::Throttled { detail, .. }
            | Outcome::Deferred { detail, .. }
            | Outcome::CampaignRefused { detail }
            | Outcome::AccountRefused { detail } => Some(detail),
            Outcome::Excluded { .. } | Outcome::Expired | Outcome::Returned => None,
        }
    }

    pub fn reason(&self) -> Option<Reason> {
        match self {
            Outcome::Rejected { reason, .. }
            | Outcome::Failed { reason, .. }
            | Outcome::Unknown { reason, .. }
            | Outcome::Retry { reason, .. }
            | Outcome::Excluded { reason } => Some(*reason),
            Outcome::Throttled { .. } | Outcome::Deferred { .. } => Some(Reason::Throttled),
            Outcome::CampaignRefused { .. } => Some(Reason::MessageRefused),
            Outcome::AccountRefused { .. } => Some(Reason::AccountRefused),
            Outcome::Expired => Some(Reason::CampaignExpired),
            Outcome::Accepted { .. } | Outcome::Returned => None,
        }
    }
}
