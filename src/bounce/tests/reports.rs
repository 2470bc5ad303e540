//! What mails say, whoever wrote them.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::bounce::Reading;
use crate::model::Reason;
use crate::model::receipt::{About, Bounce, News};

const NOW: &str = "2026-11-21T18:00:00Z";

fn read_by(reader: &Reader, mail: &str, recipients: &[String]) -> Reading {
    reader.read(mail.as_bytes(), recipients, NOW.parse().unwrap())
}

fn told(name: &str) -> (Kind, Option<News>) {
    let reading = read_by(&reader(), &mail(name), &[]);
    assert!(reading.receipts.len() <= 1, "{reading:?}");
    for receipt in &reading.receipts {
        assert_eq!(receipt.about, About::Delivery(DELIVERY));
        assert!(
            receipt.detail.as_deref().is_none_or(|detail| detail.len() <= 200 && !detail.contains("anna@"))
        );
    }
    (reading.kind, reading.receipts.into_iter().next().map(|receipt| receipt.news))
}

fn bounced(bounce: Bounce, reason: Reason) -> Option<News> {
    Some(News::Bounced { bounce, reason })
}

#[test]
fn reports_of_many_servers_are_understood() {
    let hard = bounced(Bounce::Hard, Reason::UnknownRecipient);
    for (name, kind, news) in [
        ("postfix", Kind::Report, hard.clone()),
        ("gmail_unknown", Kind::Report, hard.clone()),
        ("exim_headers", Kind::Report, hard.clone()),
        ("no_action", Kind::Report, hard.clone()),
        ("smtputf8", Kind::Report, hard.clone()),
        ("two_recipients", Kind::Report, hard.clone()),
        ("exchange_full", Kind::Report, bounced(Bounce::Soft, Reason::MailboxFull)),
        ("expired", Kind::Report, bounced(Bounce::Soft, Reason::TemporaryFailure)),
        ("blocked", Kind::Report, bounced(Bounce::Block, Reason::PolicyRefused)),
        ("relayed", Kind::Report, Some(News::Delivered)),
        ("delayed", Kind::Report, None),
        ("fixed_return_path", Kind::Report, hard),
        ("arf_abuse", Kind::Complaint, Some(News::Complained)),
        ("arf_redacted", Kind::Complaint, Some(News::Complained)),
        ("arf_opt_out", Kind::Complaint, Some(News::Unsubscribed)),
        ("arf_fraud", Kind::Report, None),
        ("vacation", Kind::Other, None),
        ("stranger", Kind::Unclaimed, None),
        ("message_id_alone", Kind::Unclaimed, None),
    ] {
        assert_eq!(told(name), (kind, news), "{name}");
    }
}

#[test]
fn a_message_id_is_believed_only_where_the_settings_say_so() {
    let reader = Reader::new(keyring(), true);
    let receipts = read_by(&reader, &mail("message_id_alone"), &[]).receipts;
    assert_eq!(
        receipts.iter().map(|receipt| &receipt.about).collect::<Vec<_>>(),
        [&About::Delivery(DELIVERY)]
    );
}

#[test]
fn the_envelope_goes_before_what_the_mail_says() {
    let other = DeliveryKey { contact: ContactNo(10), ..DELIVERY };
    let mut address = "BOUNCE+".to_owned();
    keyring().mint_bounce(other, &mut address);
    let recipients = [address.to_ascii_uppercase() + "@B.EXAMPLE.COM"];
    let receipts = read_by(&reader(), &mail("postfix"), &recipients).receipts;
    assert_eq!(receipts.iter().map(|receipt| &receipt.about).collect::<Vec<_>>(), [&About::Delivery(other)]);
}

#[test]
fn a_repeat_is_the_same_receipt_and_a_wrong_clock_is_not_believed() {
    let first = read_by(&reader(), &mail("postfix"), &[]);
    assert_eq!(first, read_by(&reader(), &mail("postfix"), &[address()]));
    let at = |mail: &str| read_by(&reader(), mail, &[]).receipts.into_iter().next().unwrap().at;
    assert_eq!(at(&mail("postfix")), "2026-11-21T17:42:28Z".parse::<Timestamp>().unwrap());
    for wrong in ["21 Nov 2027", "21 Nov 1971", "no date"] {
        let mail = mail("postfix").replace("21 Nov 2026", wrong);
        assert_eq!(at(&mail), NOW.parse::<Timestamp>().unwrap(), "{wrong}");
    }
    let detail = first.receipts[0].detail.as_deref();
    assert_eq!(detail, Some("550 5.1.1 <u***@bounce.test>: mailbox unavailable"));
}

/// Every mail of the folder.
fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bounces");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| mail(name.to_str().unwrap())).collect()
}

proptest! {
    #[test]
    fn no_bytes_stop_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let reading = reader().read(&bytes, &[], Timestamp::UNIX_EPOCH);
        prop_assert!(reading.receipts.is_empty());
    }

    /// Mails of the corpus, cut short and with pieces of one in another.
    #[test]
    fn damaged_reports_name_nobody_else(
        which: proptest::sample::Index,
        other: proptest::sample::Index,
        cut: proptest::sample::Index,
        from: proptest::sample::Index,
        noise in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let corpus = corpus();
        let (mail, other) = (which.get(&corpus).as_bytes(), other.get(&corpus).as_bytes());
        let (head, tail) = (&mail[..cut.index(mail.len())], &other[from.index(other.len())..]);
        let damaged = [head, &noise, tail].concat();
        for receipt in reader().read(&damaged, &[], Timestamp::UNIX_EPOCH).receipts {
            prop_assert_eq!(receipt.about, About::Delivery(DELIVERY));
        }
    }
}
