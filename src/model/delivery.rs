//! The states of a delivery, the closed list of reasons, and which change of state is legal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::channel::vocabulary;

vocabulary! {
    /// Where a delivery stands. `sending` is derived from a batch's watermark and never stored.
    State {
        Planned = 1 => "planned",
        Sending = 2 => "sending",
        Accepted = 3 => "accepted",
        Delivered = 4 => "delivered",
        Bounced = 5 => "bounced",
        Rejected = 6 => "rejected",
        Failed = 7 => "failed",
        Unknown = 8 => "unknown",
        Excluded = 9 => "excluded",
        Expired = 10 => "expired",
        Cancelled = 11 => "cancelled",
    }
}

vocabulary! {
    /// Why a delivery stands where it stands. Exclusions are listed in the order in which they are judged.
    Reason {
        /// The list or the audience names this recipient more than once.
        Duplicate = 1 => "duplicate",
        /// The list names an id that no contact has.
        UnknownContact = 2 => "unknown_contact",
        /// The address given with the recipient is none of the channel.
        InvalidAddress = 3 => "invalid_address",
        /// The contact has no usable address on the channel.
        NoAddress = 4 => "no_address",
        /// The address stands on the suppression list.
        Suppressed = 5 => "suppressed",
        /// The contact unsubscribed from the channel.
        Unsubscribed = 6 => "unsubscribed",
        /// The contact never agreed to marketing on the channel.
        NoConsent = 7 => "no_consent",
        /// The channel does not carry this purpose.
        PurposeForbidden = 8 => "purpose_forbidden",
        /// The contact was erased after planning.
        Erased = 9 => "erased",
        /// Held out of an experiment.
        ControlGroup = 10 => "control_group",
        /// The contact already got as many messages as allowed.
        FrequencyCapped = 11 => "frequency_capped",

        /// The template could not be rendered for this recipient.
        RenderError = 20 => "render_error",
        /// Every attempt of the schedule failed for a temporary cause.
        RetriesExhausted = 21 => "retries_exhausted",
        /// No provider is configured that reaches this address.
        NoProvider = 22 => "no_provider",
        /// The channel's rules want a signature, and this text has none.
        NoSignature = 23 => "no_signature",
        /// The channel's rules want a way to opt out, and this text has none.
        NoOptOut = 24 => "no_opt_out",

        /// The provider knows no such recipient.
        UnknownRecipient = 30 => "unknown_recipient",
        /// The recipient's mailbox is full.
        MailboxFull = 31 => "mailbox_full",
        /// Policy, reputation or spam filter; says nothing about the recipient.
        PolicyRefused = 32 => "policy_refused",
        /// The provider refuses this message whoever gets it.
        MessageRefused = 33 => "message_refused",
        /// The provider refuses without saying more.
        RecipientRefused = 34 => "recipient_refused",

        /// The daemon stopped between handing over and recording.
        Crash = 40 => "crash",
        /// The provider did not answer in time after the request had left.
        NoAnswer = 41 => "no_answer",
        /// The connection broke after the request had left.
        ConnectionLost = 42 => "connection_lost",

        /// The campaign's `expires_at` passed.
        CampaignExpired = 50 => "campaign_expired",
        /// The campaign was cancelled.
        CampaignCancelled = 51 => "campaign_cancelled",
        /// Settled by hand with `resolve`.
        ResolvedByHand = 52 => "resolved_by_hand",

        /// The provider asks to come back later for this recipient.
        TemporaryFailure = 60 => "temporary_failure",
        /// The provider asks to slow down.
        Throttled = 61 => "throttled",
        /// The provider could not be reached; nothing was handed over.
        ConnectionFailed = 62 => "connection_failed",
        /// The provider refuses the account.
        AccountRefused = 63 => "account_refused",
    }
}

impl State {
    /// Whether the provider took the message: what reports count as `sent`.
    pub fn is_sent(self) -> bool {
        matches!(self, State::Accepted | State::Delivered | State::Bounced)
    }

    /// The states that a row may hold just before it becomes `self`. A change from any other state is a repeat
    /// or a late arrival and changes nothing.
    pub fn predecessors(self) -> &'static [State] {
        match self {
            State::Planned => &[State::Unknown],
            State::Sending => &[],
            State::Accepted => &[State::Planned, State::Unknown],
            State::Delivered => &[State::Planned, State::Accepted, State::Unknown],
            State::Bounced => &[State::Planned, State::Accepted, State::Delivered, State::Unknown],
            State::Rejected => &[State::Planned, State::Unknown],
            State::Failed | State::Excluded | State::Expired | State::Cancelled | State::Unknown => {
                &[State::Planned]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            assert_eq!(reason.as_str().parse::<Reason>().unwrap(), *reason);
        }
        assert_eq!(State::from_code(99), None);
    }

    #[test]
    fn nothing_leaves_a_final_state_but_by_a_receipt_or_a_hand() {
        let finals = [
            State::Rejected,
            State::Failed,
            State::Excluded,
            State::Expired,
            State::Cancelled,
            State::Bounced,
        ];
        for next in State::ALL {
            for last in finals {
                assert!(!next.predecessors().contains(&last), "{last} -> {next}");
            }
        }
    }
}
