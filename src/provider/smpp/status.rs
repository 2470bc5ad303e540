//! What a command status means for a message: the error table of SMPP 3.4 (section 5.1.3), as data.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::{CodeClass, Codes};
use crate::model::{Outcome, Reason};
use crate::provider::sms::code::Means;

pub(super) const OK: u32 = 0;
/// The provider holds the connection for unbound: whatever is submitted over it meets the same.
pub(super) const NOT_BOUND: u32 = 0x04;
const MESSAGE_QUEUE_FULL: u32 = 0x14;
const THROTTLED: u32 = 0x58;
/// Ours, to the provider: come again with this `deliver_sm`.
pub(super) const COME_AGAIN: u32 = 0x64;
/// How long to leave an account alone that was told to slow down; the protocol names no time.
pub(super) const REST: Duration = Duration::from_secs(1);

/// Status, name, class. What is not here refuses the message.
const STATUSES: &[(u32, &str, CodeClass)] = &[
    (0x01, "ESME_RINVMSGLEN", CodeClass::Content),
    (0x02, "ESME_RINVCMDLEN", CodeClass::Content),
    (0x03, "ESME_RINVCMDID", CodeClass::Content),
    (NOT_BOUND, "ESME_RINVBNDSTS", CodeClass::Retry),
    (0x05, "ESME_RALYBND", CodeClass::Account),
    (0x06, "ESME_RINVPRTFLG", CodeClass::Content),
    (0x07, "ESME_RINVREGDLVFLG", CodeClass::Content),
    (0x08, "ESME_RSYSERR", CodeClass::Retry),
    (0x0A, "ESME_RINVSRCADR", CodeClass::Content),
    (0x0B, "ESME_RINVDSTADR", CodeClass::HardBounce),
    (0x0D, "ESME_RBINDFAIL", CodeClass::Account),
    (0x0E, "ESME_RINVPASWD", CodeClass::Account),
    (0x0F, "ESME_RINVSYSID", CodeClass::Account),
    (MESSAGE_QUEUE_FULL, "ESME_RMSGQFUL", CodeClass::Throttled),
    (0x15, "ESME_RINVSERTYP", CodeClass::Content),
    (0x33, "ESME_RINVNUMDESTS", CodeClass::HardBounce),
    (0x34, "ESME_RINVDLNAME", CodeClass::HardBounce),
    (0x43, "ESME_RINVESMCLASS", CodeClass::Content),
    (0x44, "ESME_RCNTSUBDL", CodeClass::Content),
    (0x45, "ESME_RSUBMITFAIL", CodeClass::Retry),
    (0x48, "ESME_RINVSRCTON", CodeClass::Content),
    (0x49, "ESME_RINVSRCNPI", CodeClass::Content),
    (0x50, "ESME_RINVDSTTON", CodeClass::Content),
    (0x51, "ESME_RINVDSTNPI", CodeClass::Content),
    (0x53, "ESME_RINVSYSTYP", CodeClass::Account),
    (THROTTLED, "ESME_RTHROTTLED", CodeClass::Throttled),
    (0x61, "ESME_RINVSCHED", CodeClass::Content),
    (0x62, "ESME_RINVEXPIRY", CodeClass::Content),
    (COME_AGAIN, "ESME_RX_T_APPN", CodeClass::Retry),
    (0x65, "ESME_RX_P_APPN", CodeClass::Content),
    (0x66, "ESME_RX_R_APPN", CodeClass::Content),
    (0xC0, "ESME_RINVOPTPARSTREAM", CodeClass::Content),
    (0xC1, "ESME_ROPTPARNOTALLWD", CodeClass::Content),
    (0xC2, "ESME_RINVPARLEN", CodeClass::Content),
    (0xC3, "ESME_RMISSINGOPTPARAM", CodeClass::Content),
    (0xC4, "ESME_RINVOPTPARAMVAL", CodeClass::Content),
    (0xFE, "ESME_RDELIVERYFAILURE", CodeClass::Blocked),
    (0xFF, "ESME_RUNKNOWNERR", CodeClass::Retry),
];

fn row(status: u32) -> (&'static str, CodeClass) {
    let known = STATUSES.iter().find(|(known, _, _)| *known == status);
    known.map_or(("a status of the provider's own", CodeClass::Content), |(_, name, class)| (*name, *class))
}

/// What the configuration says of a status, by its number or its name, else its row.
fn class(codes: &Codes, status: u32) -> CodeClass {
    let (name, class) = row(status);
    codes.get(&format!("0x{status:X}")).or_else(|| codes.get(name)).unwrap_or(class)
}

/// The status with its name, as the specification writes them.
pub(super) fn named(status: u32) -> String {
    format!("0x{status:02X} {}", row(status).0)
}

/// Whether the provider asks to slow down.
pub(super) fn is_throttle(codes: &Codes, status: u32) -> bool {
    class(codes, status) == CodeClass::Throttled
}

/// Whether the same message may be taken in a moment.
pub(super) fn is_passing(codes: &Codes, status: u32) -> bool {
    matches!(class(codes, status), CodeClass::Throttled | CodeClass::Retry)
}

/// Of a message that the provider did not take.
pub(super) fn refused(codes: &Codes, status: u32, now: Timestamp) -> Outcome {
    let detail = named(status);
    match class(codes, status) {
        CodeClass::Throttled => Outcome::Throttled { after: Some(REST), detail },
        class => Means::from(class).outcome(detail, now),
    }
}

/// Of a bind that the provider did not grant.
pub(super) fn not_bound(status: u32) -> Outcome {
    let name = named(status);
    match row(status).1 {
        CodeClass::Throttled => {
            Outcome::Throttled { after: Some(REST), detail: format!("not bound: {name}") }
        }
        CodeClass::Retry => {
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
                let outcome = refused(&Codes::default(), *status, Timestamp::UNIX_EPOCH);
                assert_eq!((outcome.as_str(), outcome.reason()), (label, reason), "{status:#x}");
            }
        }
        let (none, now) = (Codes::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(refused(&none, 0x58, now).detail(), Some("0x58 ESME_RTHROTTLED"));
        assert_eq!(refused(&none, 0x400, now).detail(), Some("0x400 a status of the provider's own"));
        let codes: Codes = [("0x00000400", CodeClass::Throttled), ("ESME_RSUBMITFAIL", CodeClass::Blocked)]
            .into_iter()
            .collect();
        assert!(is_throttle(&codes, 0x400) && is_passing(&codes, 0x400) && !is_passing(&codes, 0x45));
        assert_eq!(refused(&codes, 0x400, now).as_str(), "throttled");
        assert_eq!(refused(&codes, 0x45, now).reason(), Some(Reason::RecipientRefused));
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
