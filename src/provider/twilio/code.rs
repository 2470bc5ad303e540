//! Twilio's codes: what refuses a message at once, and what its statuses say later.
//! <https://www.twilio.com/docs/api/errors>

use crate::config::{CodeClass, Codes};
use crate::model::receipt::News;
use crate::provider::sms::beijing::Until;
use crate::provider::sms::code::{Means, meaning, news};

/// The same codes stand in answers and in statuses.
const CODES: &[(&str, Means)] = &[
    ("20429", Means::Slower(Until::Seconds(1))),
    // The queue of the sender is full: Twilio empties it at the sender's rate.
    ("21611", Means::Slower(Until::Seconds(60))),
    ("30001", Means::Trouble),
    ("21211", Means::Dead),
    ("21614", Means::Dead),
    ("30005", Means::Dead),
    ("30006", Means::Dead),
    ("21612", Means::Closed),
    ("21408", Means::Closed),
    ("21608", Means::Closed),
    ("30004", Means::Closed),
    ("21610", Means::OptedOut),
    ("30003", Means::Trouble),
    ("30008", Means::Trouble),
    ("30007", Means::Text),
    ("21602", Means::Text),
    ("21617", Means::Text),
    ("20003", Means::Account),
    ("20404", Means::Account),
    ("21212", Means::Account),
    ("21603", Means::Account),
    ("21606", Means::Account),
    // Our hook's address, which follows public_url.
    ("21609", Means::Account),
    ("21703", Means::Account),
    ("21705", Means::Account),
    ("30002", Means::Account),
    ("30034", Means::Account),
    ("20500", Means::Doubt),
    ("20503", Means::Doubt),
];

pub(super) fn refusal(codes: &Codes, code: u32) -> Means {
    meaning(codes, CODES, &code.to_string())
}

/// The news of a message that was not delivered.
pub(super) fn undelivered(codes: &Codes, code: Option<&str>) -> Vec<News> {
    let code = code.unwrap_or_default();
    let class = codes.get(code).unwrap_or_else(|| match meaning(codes, CODES, code) {
        Means::Dead => CodeClass::HardBounce,
        Means::Closed => CodeClass::Blocked,
        Means::OptedOut => CodeClass::OptedOut,
        // A carrier's filter judges sender and text.
        Means::Text | Means::Account => CodeClass::Account,
        Means::Trouble => CodeClass::Retry,
        _ => CodeClass::SoftBounce,
    });
    news(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;
    use crate::model::receipt::Bounce;

    #[test]
    fn failures_later_say_what_they_say_of_the_number() {
        let bounced = |bounce, reason| News::Bounced { bounce, reason };
        for (code, wanted) in [
            ("30005", bounced(Bounce::Hard, Reason::UnknownRecipient)),
            ("30006", bounced(Bounce::Hard, Reason::UnknownRecipient)),
            ("30004", bounced(Bounce::Block, Reason::RecipientRefused)),
            ("30007", bounced(Bounce::Block, Reason::PolicyRefused)),
            ("30034", bounced(Bounce::Block, Reason::PolicyRefused)),
            ("30003", bounced(Bounce::Soft, Reason::TemporaryFailure)),
            ("30008", bounced(Bounce::Soft, Reason::TemporaryFailure)),
            ("39999", bounced(Bounce::Soft, Reason::RecipientRefused)),
            ("", bounced(Bounce::Soft, Reason::RecipientRefused)),
        ] {
            assert_eq!(undelivered(&Codes::default(), Some(code)), [wanted], "{code}");
        }
        assert_eq!(undelivered(&Codes::default(), Some("21610"))[1], News::Unsubscribed);
        assert_eq!(undelivered(&Codes::default(), None).len(), 1);
    }
}
