//! What a template sees, and what it says when something is missing.

use super::*;

#[test]
fn the_recipients_own_data_lies_over_the_jobs_over_the_contacts() {
    let text = "{{a}}{{b}}{{c}} {{external_id}} {{default locale \"-\"}} {{attributes.a}}";
    let setting = Setting {
        attributes: json!({"a": 1, "b": 1, "c": 1, "external_id": "X"}),
        job: json!({"b": 2, "c": 2, "external_id": "Y"}),
        own: Some(json!({"c": 3, "external_id": "Z"})),
        locale: Some("en"),
        ..Setting::default()
    };
    assert_eq!(setting.sms(text).unwrap(), "123 C-1 en 1");
    let whole = "{{#each this}}{{@key}}={{this}};{{/each}}";
    let rendered = setting.sms(whole).unwrap();
    assert!(
        rendered.contains("a=1;") && rendered.contains("b=2;") && rendered.contains("c=3;"),
        "{rendered}"
    );
    assert!(rendered.contains("external_id=C-1;"), "{rendered}");
}

#[test]
fn one_recipients_data_never_shows_in_the_next_ones_message() {
    let template =
        Template::compile(sms_source("{{default a \"-\"}}{{default b \"-\"}}{{default c \"-\"}}")).unwrap();
    let job = object(json!({"b": "job"}));
    let mut renderer = template.renderer(Channel::Sms, &job).unwrap();
    let keyring = keyring();
    let tracking = Tracking {
        keyring: &keyring,
        delivery: delivery(),
        public_url: PUBLIC,
        opens: false,
        clicks: false,
        links: &[],
    };
    let mut render = |attributes: Value, own: Value| {
        let (attributes, own) = (object(attributes), object(own));
        let recipient = Recipient {
            external_id: "C",
            locale: None,
            timezone: None,
            attributes: &attributes,
            own_data: Some(&own),
        };
        match renderer.render(&recipient, &tracking).unwrap() {
            Content::Sms(sms) => sms.text.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(render(json!({"a": "1"}), json!({"b": "own", "c": "own"})), "1ownown");
    assert_eq!(render(json!({}), json!({})), "-job-");
    assert_eq!(render(json!({"b": "2", "c": "2"}), json!({})), "-job2");
}

#[test]
fn what_is_missing_is_named_and_null_is_nothing() {
    let error = Setting::default().email(html_source("<p>\n{{#if x}}{{/if}}{{name}}</p>")).unwrap_err();
    assert!(error.to_string().starts_with("e.hbs:2: `name` is missing for this recipient"), "{error}");
    assert_eq!(Setting::job(json!({"name": null})).sms("[{{name}}]").unwrap(), "[]");
    assert_eq!(Setting::default().sms("{{#if name}}a{{else}}b{{/if}}").unwrap(), "b");
    let error = Setting::job(json!({"x": []})).sms("{{number x}}").unwrap_err();
    assert_eq!(error.to_string(), "template.toml:2: number: `x` is not a number");
}

#[test]
fn helpers_follow_the_contacts_locale_whatever_the_data_calls_locale() {
    let setting =
        Setting { locale: Some("de"), job: json!({"locale": "en", "n": 1.5}), ..Setting::default() };
    assert_eq!(setting.sms("{{number n}} {{locale}}").unwrap(), "1,5 en");
}

#[test]
fn headers_are_one_line() {
    let toml = "[email]\nsubject = \"Hi {{name}}\"\nfrom = \"{{from}}\"\ntext = \"t\"\n";
    let render = |name: &str, from: &str| {
        Setting::job(json!({"name": name, "from": from}))
            .email(source(&[("template.toml", toml), ("t", "x")]))
    };
    let email = render("A\r\nBcc: x@y\u{0}\n", "Shop <a@b.example>").unwrap();
    assert_eq!(email.subject, "Hi A Bcc: x@y");
    assert_eq!(email.from.as_deref(), Some("Shop <a@b.example>"));
    assert!(matches!(render("A", "a@b\r\nBcc: c@d"), Err(RenderError::LineBreak { .. })));
}
