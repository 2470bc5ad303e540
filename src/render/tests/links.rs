//! Tracked links, the pixel and the unsubscribe address.

use proptest::prelude::*;

use super::*;

#[test]
fn a_constant_link_carries_its_number_and_a_varying_one_its_address() {
    let html = r#"<a href="https://a.example/?x=1&amp;y=2">c</a> <a href="https://a.example/{{p}}?q={{q}}&amp;z">v</a>"#;
    let template = Template::compile(html_source(html)).unwrap();
    assert_eq!(template.links(), ["https://a.example/?x=1&y=2", "https://a.example/{{p}}?q={{q}}&z"]);
    let setting = Setting::tracked(json!({"p": "b&c", "q": "上'海=\""}));
    let Content::Email(email) = setting.render(&template, Channel::Email).unwrap() else { panic!() };
    for text in [email.html.unwrap(), email.text] {
        let claims = clicks(&text);
        assert_eq!(claims[0], Claims { delivery: delivery(), link: Some(LinkNo(10)), url: None });
        assert_eq!(claims[1].link, Some(LinkNo(11)));
        assert_eq!(claims[1].url.as_deref(), Some("https://a.example/b&c?q=上'海=\"&z"));
        assert!(!text.contains("a.example"), "{text}");
    }
}

#[test]
fn a_link_in_a_loop_is_one_link() {
    let html = r#"{{#each items}}<a href="{{url}}">{{@index}}</a>{{/each}}"#;
    let items = json!({"items": [{"url": "https://a.example/1"}, {"url": "https://a.example/2?a=b&c"}]});
    let claims = clicks(&Setting::tracked(items).html(html));
    assert_eq!(claims.iter().map(|claim| claim.link).collect::<Vec<_>>(), [Some(LinkNo(10)); 2]);
    assert_eq!(claims[1].url.as_deref(), Some("https://a.example/2?a=b&c"));
}

#[test]
fn an_address_may_be_made_of_blocks() {
    let html = r#"<a href="{{#if vip}}https://a.example/vip{{else}}https://a.example/{{/if}}">x</a>"#;
    for (vip, url) in [(true, "https://a.example/vip"), (false, "https://a.example/")] {
        let claims = clicks(&Setting::tracked(json!({"vip": vip})).html(html));
        assert_eq!(claims[0].url.as_deref(), Some(url));
    }
}

#[test]
fn what_is_no_web_address_stays() {
    let html = r##"<a href="mailto:x@y.example">1</a><a href="#top">2</a><a href="{{u}}">3</a><a href="{{unsubscribe_url}}">4</a>"##;
    let rendered = Setting::tracked(json!({"u": "tel:+49"})).html(html);
    assert!(clicks(&rendered).is_empty());
    assert!(rendered.contains("mailto:x@y.example") && rendered.contains("tel:+49"), "{rendered}");
    let token = rendered.split("https://track.example/u/").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(keyring().verify(Kind::Unsubscribe, token).unwrap().delivery, delivery());
    let indirect =
        Setting::tracked(json!({"on": true})).html(r#"<a href="{{#if on}}{{unsubscribe_url}}{{/if}}">x</a>"#);
    assert!(indirect.contains("/u/") && !indirect.contains("/c/"), "{indirect}");
}

#[test]
fn an_address_that_runs_code_leads_nowhere() {
    for url in ["javascript:alert(1)", " JaVa\tScript:x", "data:text/html,x"] {
        let rendered = Setting::job(json!({"u": url})).html(r#"<a href="{{u}}">x</a>"#);
        assert!(rendered.starts_with(r##"<a href="#">x</a>"##), "{rendered}");
    }
}

#[test]
fn without_tracking_links_are_left_as_they_are() {
    let rendered = Setting::job(json!({"p": "a&b"}))
        .html(r#"<body><a href="https://a.example/{{p}}?x&amp;y">x</a></body>"#);
    assert_eq!(rendered, r#"<body><a href="https://a.example/a&amp;b?x&amp;y">x</a></body>"#);
    let long = json!({"p": "x".repeat(3_000)});
    assert!(clicks(&Setting::tracked(long).html(r#"<a href="https://a.example/{{p}}">x</a>"#)).is_empty());
}

#[test]
fn a_test_message_carries_every_address() {
    let test = DeliveryKey { campaign: CampaignNo(0), ..delivery() };
    let setting = Setting { delivery: test, ..Setting::tracked(json!({})) };
    let claims = clicks(&setting.html(r#"<a href="https://a.example/">x</a>"#));
    assert_eq!(claims[0].url.as_deref(), Some("https://a.example/"));
    assert!(claims[0].is_test());
}

#[test]
fn text_messages_are_tracked_too() {
    let text =
        Setting::tracked(json!({"id": 7})).sms("看 https://a.example/{{id}}，或 http://b.example。").unwrap();
    let claims = clicks(&text);
    assert_eq!(claims[0].url.as_deref(), Some("https://a.example/7"));
    assert_eq!((claims[1].link, &claims[1].url), (Some(LinkNo(11)), &None));
    assert!(text.ends_with('。') && text.contains('，'), "{text}");
}

#[test]
fn the_pixel_stands_at_the_end_of_the_body() {
    let rendered = Setting::tracked(json!({})).html("<body><p>x</p></body></html>");
    let (before, after) = rendered.split_once("<img src=\"https://track.example/o/").unwrap();
    assert_eq!(before, "<body><p>x</p>");
    let (token, after) = after.split_once('"').unwrap();
    assert!(keyring().verify(Kind::Open, token).is_some());
    assert_eq!(after, " width=\"1\" height=\"1\" alt=\"\"></body></html>");
    assert!(Setting::tracked(json!({})).html("x").contains("/o/"));
    assert!(!Setting::default().html("<body></body>").contains("img"));
}

proptest! {
    #[test]
    fn the_redirect_leads_exactly_to_what_was_rendered(value in "\\PC{0,40}") {
        let html = r#"<a href="https://a.example/{{v}}?x&amp;y">x</a>"#;
        let claims = clicks(&Setting::tracked(json!({"v": value})).html(html));
        let expected = format!("https://a.example/{value}?x&y");
        prop_assert_eq!(claims[0].url.as_deref(), Some(expected.as_str()));
    }
}
