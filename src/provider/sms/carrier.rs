//! What Chinese carriers say of a message, in the codes that Aliyun and Tencent Cloud hand on.
//!
//! Carriers publish no list; the rows are those that the providers' pages name. What no row knows is a failure that
//! says nothing against the number.

use crate::model::Reason;
use crate::model::receipt::{Bounce, News};

const CODES: &[(&str, Fate)] = &[
    ("DELIVERED", Fate::Delivered),
    ("DELIVRD", Fate::Delivered),
    ("0", Fate::Delivered),
    // No such number.
    ("MK:0001", Fate::Dead),
    ("CB:0001", Fate::Dead),
    ("MI:0073", Fate::Dead),
    ("MI:0210", Fate::Dead),
    // Suspended, such as for an unpaid bill.
    ("MK:0005", Fate::Away),
    ("MK:0013", Fate::Away),
    // Switched off or out of reach for as long as the carrier tried.
    ("EXPIRED", Fate::Away),
    ("MK:0010", Fate::Away),
    ("MK:0023", Fate::Away),
    // On a list of people who opted out.
    ("MBBLACK", Fate::OptedOut),
    ("DBBLACK", Fate::OptedOut),
    ("TDBLACK", Fate::OptedOut),
    ("DB:0144", Fate::OptedOut),
    // The carrier's limits.
    ("IB:0008", Fate::Limited),
    ("MI:0061", Fate::Limited),
    // What the text says.
    ("MK:0115", Fate::Text),
    ("KEYWORD", Fate::Text),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered,
    Dead,
    Away,
    OptedOut,
    Limited,
    Text,
}

/// The news in a receipt with this code, the message's own first.
pub(in crate::provider) fn news(success: bool, code: &str) -> Vec<News> {
    let code = code.trim();
    let known = CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, fate)| *fate);
    let bounced = |bounce, reason| News::Bounced { bounce, reason };
    match known {
        _ if success => vec![News::Delivered],
        Some(Fate::Dead) => vec![bounced(Bounce::Hard, Reason::UnknownRecipient)],
        Some(Fate::OptedOut) => vec![bounced(Bounce::Block, Reason::RecipientRefused), News::Unsubscribed],
        Some(Fate::Limited) => vec![bounced(Bounce::Soft, Reason::TemporaryFailure)],
        Some(Fate::Text) => vec![bounced(Bounce::Block, Reason::MessageRefused)],
        // A failure that is worded as a success is none that says anything.
        Some(Fate::Away | Fate::Delivered) | None => vec![bounced(Bounce::Soft, Reason::RecipientRefused)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_news() {
        for (code, fate) in CODES {
            let news = news(*fate == Fate::Delivered, &code.to_lowercase());
            let wanted = match fate {
                Fate::Delivered => (News::Delivered, 1),
                Fate::Dead => (News::Bounced { bounce: Bounce::Hard, reason: Reason::UnknownRecipient }, 1),
                Fate::Away => (News::Bounced { bounce: Bounce::Soft, reason: Reason::RecipientRefused }, 1),
                Fate::OptedOut => {
                    assert_eq!(news[1], News::Unsubscribed);
                    (News::Bounced { bounce: Bounce::Block, reason: Reason::RecipientRefused }, 2)
                }
                Fate::Limited => {
                    (News::Bounced { bounce: Bounce::Soft, reason: Reason::TemporaryFailure }, 1)
                }
                Fate::Text => (News::Bounced { bounce: Bounce::Block, reason: Reason::MessageRefused }, 1),
            };
            assert_eq!((news[0].clone(), news.len()), wanted, "{code}");
        }
        let unknown = News::Bounced { bounce: Bounce::Soft, reason: Reason::RecipientRefused };
        assert_eq!(news(false, "XX:9999"), vec![unknown.clone()]);
        assert_eq!((news(true, ""), news(false, "DELIVRD")), (vec![News::Delivered], vec![unknown]));
    }
}
