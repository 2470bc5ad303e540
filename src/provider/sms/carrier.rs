//! What Chinese carriers say of a message, in the codes that Aliyun and Tencent Cloud hand on.
//!
//! Carriers publish no list; the rows are those that the providers' pages name. What no row knows is a failure that
//! says nothing against the number.

use super::code;
use crate::config::{CodeClass, Codes};
use crate::model::receipt::News;

const CODES: &[(&str, CodeClass)] = &[
    // No such number.
    ("MK:0001", CodeClass::HardBounce),
    ("CB:0001", CodeClass::HardBounce),
    ("MI:0073", CodeClass::HardBounce),
    ("MI:0210", CodeClass::HardBounce),
    // Suspended, such as for an unpaid bill.
    ("MK:0005", CodeClass::SoftBounce),
    ("MK:0013", CodeClass::SoftBounce),
    // Switched off or out of reach for as long as the carrier tried.
    ("EXPIRED", CodeClass::SoftBounce),
    ("MK:0010", CodeClass::SoftBounce),
    ("MK:0023", CodeClass::SoftBounce),
    // On a list of people who opted out.
    ("MBBLACK", CodeClass::OptedOut),
    ("DBBLACK", CodeClass::OptedOut),
    ("TDBLACK", CodeClass::OptedOut),
    ("DB:0144", CodeClass::OptedOut),
    // The carrier's limits.
    ("IB:0008", CodeClass::Retry),
    ("MI:0061", CodeClass::Retry),
    // What the text says.
    ("MK:0115", CodeClass::Content),
    ("KEYWORD", CodeClass::Content),
];

/// The news in a receipt with this code, the message's own first. The provider's word that it arrived goes before
/// every code.
pub(in crate::provider) fn news(codes: &Codes, success: bool, code: &str) -> Vec<News> {
    if success {
        return vec![News::Delivered];
    }
    let code = code.trim();
    let row = || CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, class)| *class);
    code::news(codes.get(code).or_else(row).unwrap_or(CodeClass::SoftBounce))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;
    use crate::model::receipt::Bounce;

    #[test]
    fn every_row_is_news() {
        let bounced = |bounce, reason| News::Bounced { bounce, reason };
        for (code, class) in CODES {
            let news = news(&Codes::default(), false, &code.to_lowercase());
            let wanted = match class {
                CodeClass::HardBounce => bounced(Bounce::Hard, Reason::UnknownRecipient),
                CodeClass::SoftBounce => bounced(Bounce::Soft, Reason::RecipientRefused),
                CodeClass::OptedOut => bounced(Bounce::Block, Reason::RecipientRefused),
                CodeClass::Retry => bounced(Bounce::Soft, Reason::TemporaryFailure),
                CodeClass::Content => bounced(Bounce::Block, Reason::MessageRefused),
                other => panic!("{other:?}"),
            };
            assert_eq!(news[0], wanted, "{code}");
            let gone = if *class == CodeClass::OptedOut { &[News::Unsubscribed][..] } else { &[] };
            assert_eq!(news[1..], *gone, "{code}");
        }
        let unknown = bounced(Bounce::Soft, Reason::RecipientRefused);
        let none = Codes::default();
        // A failure that is worded as a success is none that says anything.
        assert_eq!(news(&none, false, "XX:9999"), std::slice::from_ref(&unknown));
        assert_eq!(
            (news(&none, true, ""), news(&none, false, "DELIVRD")),
            (vec![News::Delivered], vec![unknown])
        );
    }

    #[test]
    fn the_configuration_knows_better() {
        let codes: Codes = [
            ("MK:0001", CodeClass::SoftBounce),
            ("XX:9999", CodeClass::HardBounce),
            ("YY:1", CodeClass::Unknown),
        ]
        .into_iter()
        .collect();
        let soft = News::Bounced { bounce: Bounce::Soft, reason: Reason::RecipientRefused };
        assert_eq!(news(&codes, false, "mk:0001"), [soft]);
        assert_eq!(news(&codes, false, "XX:9999")[0].suppresses(), Some("bounced"));
        assert_eq!(news(&codes, false, "YY:1"), []);
        assert_eq!(news(&codes, true, "XX:9999"), [News::Delivered]);
    }
}
