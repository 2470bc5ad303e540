//! What is written is read back by a parser that is not ours.

use mail_parser::{Address, HeaderValue, MessageParser, PartType};
use proptest::prelude::*;

use super::*;

fn shop() -> Mailbox {
    "Shop <news@shop.example>".parse().unwrap()
}

fn headers(from: &Mailbox) -> Headers<'_> {
    Headers {
        from,
        reply_to: None,
        to: "anna@example.com",
        to_name: Some("Anna Ü"),
        message_id: "c1.k2@shop.example",
        date: "2026-04-01T09:00:00+08:00".parse().unwrap(),
        list_id: Some("news.shop.example"),
        feedback_id: Some("spring-sale:shop:marketing:campaignd"),
        unsubscribe: Some("https://t.shop.example/u/AbC_1-2"),
        unsubscribe_mailto: Some("leave@shop.example"),
        bulk: true,
        service: &[],
    }
}

fn content(subject: &str, text: &str, html: Option<&str>) -> EmailContent {
    EmailContent {
        subject: subject.to_owned(),
        text: text.to_owned(),
        html: html.map(str::to_owned),
        ..EmailContent::default()
    }
}

fn built(content: &EmailContent) -> String {
    let from = shop();
    String::from_utf8(message(content, &headers(&from)).unwrap().to_vec()).unwrap()
}

/// RFC 5322 section 2.1.1 and 2.3: CRLF alone, short lines, no NUL.
fn assert_safe(message: &str) {
    assert!(message.is_ascii());
    assert!(message.ends_with("\r\n") && !message.contains('\0'));
    for line in message.split_terminator("\r\n") {
        assert!(!line.contains(['\r', '\n']), "{line:?}");
        assert!(line.len() <= 78, "{line:?}");
    }
}

#[test]
fn a_campaigns_message_reads_as_documented() {
    let message = built(&content("Spring sale", "Hello\n", Some("<p>Hello</p>\n")));
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let boundary = head.split_once("boundary=\"").unwrap().1.trim_end_matches('"').to_owned();
    assert_eq!(
        head.replace(&boundary, "B"),
        "From: \"Shop\" <news@shop.example>\r\n\
         To: =?utf-8?Q?Anna_=C3=9C?= <anna@example.com>\r\n\
         Subject: Spring sale\r\n\
         Date: Wed, 1 Apr 2026 01:00:00 +0000\r\n\
         Message-ID: <c1.k2@shop.example>\r\n\
         List-Id: <news.shop.example>\r\n\
         List-Unsubscribe: <https://t.shop.example/u/AbC_1-2>,\r\n <mailto:leave@shop.example>\r\n\
         List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
         Feedback-ID: spring-sale:shop:marketing:campaignd\r\n\
         Precedence: bulk\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/alternative;\r\n boundary=\"B\""
    );
    assert_eq!(body.matches(&boundary).count(), 3);
    assert_safe(&message);
}

#[test]
fn a_service_message_is_no_list_mail() {
    let from = shop();
    let plain = Headers {
        list_id: None,
        feedback_id: None,
        unsubscribe: None,
        unsubscribe_mailto: None,
        bulk: false,
        ..headers(&from)
    };
    let message = message(&content("Your order", "Thanks", None), &plain).unwrap();
    let message = String::from_utf8(message.to_vec()).unwrap();
    for absent in ["List-", "Feedback-ID", "Precedence", "Auto-Submitted", "multipart"] {
        assert!(!message.contains(absent), "{absent}");
    }
    assert!(message.ends_with("\r\n\r\nThanks\r\n"), "{message}");
}

#[test]
fn the_services_headers_stand_as_they_are() {
    let from = shop();
    let service = [("X-SMTPAPI", r#"{"unique_args":{"campaignd_delivery":"12-345-0"}}"#.to_owned())];
    let labelled = Headers { service: &service, ..headers(&from) };
    let message = message(&content("s", "t", None), &labelled).unwrap();
    let message = String::from_utf8(message.to_vec()).unwrap();
    assert!(
        message.contains("\r\nX-SMTPAPI: {\"unique_args\":{\"campaignd_delivery\":\"12-345-0\"}}\r\n"),
        "{message}"
    );
    assert_safe(&message);
    let broken = [("X-SMTPAPI", "a\r\nBcc: x@shop.example".to_owned())];
    let broken = Headers { service: &broken, ..headers(&from) };
    assert_eq!(super::message(&content("s", "t", None), &broken).unwrap_err().header, "X-SMTPAPI");
}

#[test]
fn a_template_may_name_its_own_sender() {
    let own = EmailContent {
        from: Some("\"Müller, Köln\" <koeln@shop.example>".to_owned()),
        reply_to: Some("help@shop.example".to_owned()),
        ..content("s", "t", None)
    };
    let message = built(&own);
    let parsed = MessageParser::new().parse(message.as_bytes()).unwrap();
    let from = parsed.from().and_then(Address::first).unwrap();
    assert_eq!((from.name(), from.address()), (Some("Müller, Köln"), Some("koeln@shop.example")));
    assert_eq!(parsed.reply_to().and_then(Address::first).unwrap().address(), Some("help@shop.example"));
    let broken = EmailContent { from: Some("Shop".to_owned()), ..own };
    assert_eq!(super::message(&broken, &headers(&shop())).unwrap_err().header, "From");
}

#[test]
fn mailboxes_are_read_as_people_write_them() {
    for (text, name, address) in [
        ("news@example.com", None, "news@example.com"),
        ("<news@example.com>", None, "news@example.com"),
        ("Shop <news@example.com>", Some("Shop"), "news@example.com"),
        (" 商店 Shop  <News@Example.com> ", Some("商店 Shop"), "News@Example.com"),
        (r#""Quoted, \"Name\"" <a@b>"#, Some(r#"Quoted, "Name""#), "a@b"),
    ] {
        let mailbox: Mailbox = text.parse().unwrap();
        assert_eq!((mailbox.name(), mailbox.address()), (name, address), "{text}");
    }
    for bad in [
        "",
        "Shop",
        "Shop <>",
        "Shop <a@b> x",
        "a@b, c@d",
        "A <a@b> <c@d>",
        "Shop <a b@c>",
        "S\r\nBcc: <a@b>",
        "S\0 <a@b>",
        "a@ü.example",
        "a@b@c",
    ] {
        assert!(bad.parse::<Mailbox>().is_err(), "{bad:?}");
    }
}

#[test]
fn no_value_begins_a_header_of_its_own() {
    let from = shop();
    let good = headers(&from);
    for bad in
        ["x\r\nBcc: a@b.example", "x\nBcc: a@b.example", "x\rBcc: a@b.example", "x\0", "x\r\n\r\n<script>"]
    {
        let refused = |content: EmailContent, headers: Headers<'_>| message(&content, &headers).is_err();
        let plain = || content("s", "t", None);
        assert!(refused(content(bad, "t", None), good));
        assert!(refused(EmailContent { from: Some(bad.to_owned()), ..plain() }, good));
        assert!(refused(EmailContent { from: Some(format!("{bad} <a@b>")), ..plain() }, good));
        assert!(refused(EmailContent { reply_to: Some(bad.to_owned()), ..plain() }, good));
        assert!(refused(plain(), Headers { to: bad, ..good }));
        assert!(refused(plain(), Headers { to_name: Some(bad), ..good }));
        assert!(refused(plain(), Headers { message_id: bad, ..good }));
        assert!(refused(plain(), Headers { list_id: Some(bad), ..good }));
        assert!(refused(plain(), Headers { feedback_id: Some(bad), ..good }));
        assert!(refused(plain(), Headers { unsubscribe: Some(bad), ..good }));
        assert!(refused(plain(), Headers { unsubscribe_mailto: Some(bad), ..good }));
        assert!(Mailbox::new(Some(bad.to_owned()), "a@b".to_owned()).is_err());
        assert!(Mailbox::new(None, bad.to_owned()).is_err());
    }
}

#[test]
fn bodies_keep_their_lines_and_no_line_is_a_trap() {
    for text in [
        "a\nb\r\nc\rd\0e",
        ".\n..\nFrom me\n",
        "trailing \t\nspace ",
        "上海\r.\r\n.\n=_=_\n",
        &"long ".repeat(500),
        &"漢".repeat(5_000),
        "",
        "\u{feff}🎉",
    ] {
        let message = built(&content("s", text, Some(text)));
        assert_safe(&message);
        let parsed = MessageParser::new().parse(message.as_bytes()).unwrap();
        let wanted = text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "");
        assert_eq!(parsed.body_text(0).unwrap().replace("\r\n", "\n"), wanted);
        assert_eq!(parsed.body_html(0).unwrap().replace("\r\n", "\n"), wanted);
        assert!(parsed.parts.iter().all(|part| !matches!(part.body, PartType::Binary(_))));
    }
}

#[test]
fn subjects_in_every_script_are_folded_and_come_back() {
    for subject in [
        "春季大促销：全场八折，只限今天和明天两天，千万不要错过这个难得的机会哦，点击查看详情吧亲爱的顾客朋友们",
        "تخفيضات الربيع: خصم عشرون بالمئة على كل شيء حتى يوم الأحد القادم فقط لا تفوت الفرصة",
        "🎉🎊 Ünïcödé mit Emoji 👩‍👩‍👧‍👦 und langem Text, der sicher über eine Zeile hinausgeht und weiter",
        "Plain but so long that it has to be folded somewhere, since no line may have more than 78 characters in it",
        "  leading and trailing  ",
        "",
    ] {
        let message = built(&content(subject, "t", None));
        assert_safe(&message);
        let (head, _) = message.split_once("\r\n\r\n").unwrap();
        assert!(head.lines().filter(|line| line.contains("=?")).all(|line| line.len() <= 76));
        let parsed = MessageParser::new().parse(message.as_bytes()).unwrap();
        assert_eq!(parsed.subject().unwrap_or_default().trim(), subject.trim(), "{head}");
    }
}

proptest! {
    #[test]
    fn anything_printable_comes_back(subject in "\\PC{0,200}", name in "\\PC{0,60}", text in "(\\PC|\n){0,400}") {
        let from = Mailbox::new(Some(name.clone()), "news@shop.example".to_owned()).unwrap();
        let message = message(&content(&subject, &text, Some(&text)), &headers(&from)).unwrap();
        assert_safe(std::str::from_utf8(&message).unwrap());
        let parsed = MessageParser::new().parse(&message[..]).unwrap();
        // Parsers drop white space at the ends of a header.
        prop_assert_eq!(parsed.subject().unwrap_or_default().trim(), subject.trim());
        let found = parsed.from().and_then(Address::first).unwrap();
        prop_assert_eq!(found.address(), Some("news@shop.example"));
        prop_assert_eq!(found.name().unwrap_or_default().trim(), name.trim());
        prop_assert_eq!(parsed.body_text(0).unwrap().replace("\r\n", "\n"), text.clone());
        prop_assert_eq!(parsed.body_html(0).unwrap().replace("\r\n", "\n"), text);
        prop_assert!(matches!(parsed.header("Bcc"), None | Some(HeaderValue::Empty)));
    }
}
