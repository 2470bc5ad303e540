//! What a command status means for a message: the error table of SMPP 3.4 (section 5.1.3), as data.

use std::time::Duration;

use crate::model::{Outcome, Reason};

pub(super) const OK: u32 = 0;
/// The provider holds the connection for unbound: whatever is submitted over it meets the same.
pub(super) const NOT_BOUND: u32 = 0x04;
const MESSAGE_QUEUE_FULL: u32 = 0x14;
const THROTTLED: u32 = 0x58;
/// Ours, to the provider: come again with this `deliver_sm`.
pub(super) const COME_AGAIN: u32 = 0x64;
/// How long to leave an account alone that was told to slow down; the protocol names no time.
pub(super) const REST: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Throttled,
    Temporary,
    /// No such number.
    UnknownRecipient,
    /// The message, or what our side made of it.
    Message,
    /// The way, for this recipient or in general.
    Policy,
    Account,
}

/// Status, name, class. What is not here refuses the message.
const STATUSES: &[(u32, &str, Class)] = &[
    (0x01, "ESME_RINVMSGLEN", Class::Message),
    (0x02, "ESME_RINVCMDLEN", Class::Message),
    (0x03, "ESME_RINVCMDID", Class::Message),
    (NOT_BOUND, "ESME_RINVBNDSTS", Class::Temporary),
    (0x05, "ESME_RALYBND", Class::Account),
    (0x06, "ESME_RINVPRTFLG", Class::Message),
    (0x07, "ESME_RINVREGDLVFLG", Class::Message),
    (0x08, "ESME_RSYSERR", Class::Temporary),
    (0x0A, "ESME_RINVSRCADR", Class::Message),
    (0x0B, "ESME_RINVDSTADR", Class::UnknownRecipient),
    (0x0D, "ESME_RBINDFAIL", Class::Account),
    (0x0E, "ESME_RINVPASWD", Class::Account),
    (0x0F, "ESME_RINVSYSID", Class::Account),
    (MESSAGE_QUEUE_FULL, "ESME_RMSGQFUL", Class::Throttled),
    (0x15, "ESME_RINVSERTYP", Class::Message),
    (0x33, "ESME_RINVNUMDESTS", Class::UnknownRecipient),
    (0x34, "ESME_RINVDLNAME", Class::UnknownRecipient),
    (0x43, "ESME_RINVESMCLASS", Class::Message),
    (0x44, "ESME_RCNTSUBDL", Class::Message),
    (0x45, "ESME_RSUBMITFAIL", Class::Temporary),
    (0x48, "ESME_RINVSRCTON", Class::Message),
    (0x49, "ESME_RINVSRCNPI", Class::Message),
    (0x50, "ESME_RINVDSTTON", Class::Message),
    (0x51, "ESME_RINVDSTNPI", Class::Message),
    (0x53, "ESME_RINVSYSTYP", Class::Account),
    (THROTTLED, "ESME_RTHROTTLED", Class::Throttled),
    (0x61, "ESME_RINVSCHED", Class::Message),
    (0x62, "ESME_RINVEXPIRY", Class::Message),
    (COME_AGAIN, "ESME_RX_T_APPN", Class::Temporary),
    (0x65, "ESME_RX_P_APPN", Class::Message),
    (0x66, "ESME_RX_R_APPN", Class::Message),
    (0xC0, "ESME_RINVOPTPARSTREAM", Class::Message),
    (0xC1, "ESME_ROPTPARNOTALLWD", Class::Message),
    (0xC2, "ESME_RINVPARLEN", Class::Message),
    (0xC3, "ESME_RMISSINGOPTPARAM", Class::Message),
    (0xC4, "ESME_RINVOPTPARAMVAL", Class::Message),
    (0xFE, "ESME_RDELIVERYFAILURE", Class::Policy),
    (0xFF, "ESME_RUNKNOWNERR", Class::Temporary),
];

fn row(status: u32) -> (&'static str, Class) {
    let known = STATUSES.iter().find(|(known, _, _)| *known == status);
    known.map_or(("a status of the provider's own", Class::Message), |(_, name, class)| (*name, *class))
}

/// The status with its name, as the specification writes them.
pub(super) fn named(status: u32) -> String {
    format!("0x{status:02X} {}", row(status).0)
}

/// Whether the provider asks to slow down.
pub(super) fn is_throttle(status: u32) -> bool {
    row(status).1 == Class::Throttled
}

/// Whether the same message may be taken in a moment.
pub(super) fn is_passing(status: u32) -> bool {
    matches!(row(status).1, Class::Throttled | Class::Temporary)
}

/// Of a message that the provider did not take.
pub(super) fn refused(status: u32) -> Outcome {
    let detail = named(status);
    let rejected = |reason| Outcome::Rejected { reason, detail: detail.clone() };
    match row(status).1 {
        Class::Throttled => Outcome::Throttled { after: Some(REST), detail },
        Class::Temporary => Outcome::Retry { reason: Reason::TemporaryFailure, after: None, detail },
        Class::UnknownRecipient => rejected(Reason::UnknownRecipient),
        Class::Message => rejected(Reason::MessageRefused),
        Class::Policy => rejected(Reason::RecipientRefused),
        Class::Account => Outcome::AccountRefused { detail },
    }
}

/// Of a bind that the provider did not grant.
pub(super) fn not_bound(status: u32) -> Outcome {
    let name = named(status);
    match row(status).1 {
        Class::Throttled => Outcome::Throttled { after: Some(REST), detail: format!("not bound: {name}") },
        Class::Temporary => {
            let detail = format!("not bound: {name}");
            Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail }
        }
        _ => Outcome::AccountRefused {
            detail: format!("not bound: {name}; check system_id, password, system_type and binds"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_outcome() {
        let rows: [(&[u32], &str, Option<Reason>); 6] = [
            (&[0x14, 0x58], "throttled", Some(Reason::Throttled)),
            (&[0x0B, 0x33, 0x34], "rejected", Some(Reason::UnknownRecipient)),
            (
                &[0x01, 0x0A, 0x15, 0x65, 0x66, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0x02, 0x03, 0x400, 0x61],
                "rejected",
                Some(Reason::MessageRefused),
            ),
            (&[0x04, 0x08, 0x45, 0x64, 0xFF], "retry", Some(Reason::TemporaryFailure)),
            (&[0x05, 0x0D, 0x0E, 0x0F, 0x53], "account_refused", Some(Reason::AccountRefused)),
            (&[0xFE], "rejected", Some(Reason::RecipientRefused)),
        ];
        for (statuses, label, reason) in rows {
            for status in statuses {
                let outcome = refused(*status);
                assert_eq!((outcome.as_str(), outcome.reason()), (label, reason), "{status:#x}");
            }
        }
        assert_eq!(refused(0x58).detail(), Some("0x58 ESME_RTHROTTLED"));
        assert_eq!(refused(0x400).detail(), Some("0x400 a status of the provider's own"));
    }

    #[test]
    fn binds_are_refused_for_a_while_or_until_the_settings_change() {
        for (status, label) in [
            (0x0D, "account_refused"),
            (0x0E, "account_refused"),
            (0x0F, "account_refused"),
            (0x05, "account_refused"),
            (0x01, "account_refused"),
            (0x08, "retry"),
            (0x58, "throttled"),
        ] {
            assert_eq!(not_bound(status).as_str(), label, "{status:#x}");
        }
    }

    #[test]
    fn no_status_stands_twice() {
        for (index, (status, _, _)) in STATUSES.iter().enumerate() {
            assert!(STATUSES[..index].iter().all(|(other, _, _)| other != status), "{status:#x}");
        }
    }
}
