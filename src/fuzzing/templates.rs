//! Templates of strangers.

use serde_json::{Map, Value, json};

use crate::model::{CampaignNo, ContactNo, Content, DeliveryKey, LinkNo};
use crate::render::{Problem, Recipient, RenderError, Template, TemplateSource, Tracking};
use crate::token::{Key, Keyring};

/// The most bytes that one text may become, and room for our own links in it.
const LARGEST: usize = 1 << 20;

/// A template is refused with problems, or renders within limits, or says why not. The input is the text of an e-mail;
/// what stands before a NUL is the manifest.
pub(super) fn template(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let standard = "[email]\nsubject = \"Hello\"\nhtml = \"e.hbs\"\n";
    let (manifest, text) = text.split_once('\0').unwrap_or((standard, text));
    let files = [("template.toml", manifest), ("e.hbs", text)];
    let files = files.map(|(name, content)| (name.to_owned(), content.to_owned())).into();
    let template = match Template::compile(TemplateSource { name: "t".to_owned(), files }) {
        Ok(template) => template,
        Err(problems) => return assert_told(&problems),
    };
    for channel in template.channels() {
        let rendered = render(&template, channel);
        assert_eq!(rendered, render(&template, channel), "the same for the same recipient");
        if let Ok(content) = rendered {
            assert_clean(&content);
        }
    }
    let again = Template::compile(template.source().clone()).expect("what compiled before");
    assert_eq!(again.links(), template.links());
}

fn assert_told(problems: &[Problem]) {
    assert!(!problems.is_empty());
    for problem in problems {
        assert!(problem.template == "t" && !problem.message.is_empty(), "{problem:?}");
    }
}

fn render(template: &Template, channel: crate::model::Channel) -> Result<Content, RenderError> {
    let (job, attributes) = (object(job_data()), object(json!({"name": "Anna <b>", "city": "上海"})));
    let recipient = Recipient {
        external_id: "C-1",
        locale: Some("zh-CN"),
        timezone: Some("Asia/Shanghai"),
        attributes: &attributes,
        own_data: None,
    };
    let keyring = Keyring::new(Key::new(1, &[7; 32]), Vec::new());
    let delivery = DeliveryKey { campaign: CampaignNo(3), contact: ContactNo(44), occurrence: 0 };
    let links: Vec<LinkNo> = (0..).map(LinkNo).take(template.links().len()).collect();
    let tracking = Tracking {
        keyring: &keyring,
        delivery,
        public_url: "https://track.example",
        opens: true,
        clicks: true,
        links: &links,
    };
    template.renderer(channel, &job)?.render(&recipient, &tracking)
}

fn job_data() -> Value {
    json!({"a": {"b": {"c": 1}}, "b": true, "n": 19.9, "l": [1, "two", {"x": null}], "s": "x\u{1}y\"'&",
        "url": "https://shop.example/?a=1&b=2", "d": "2026-04-01T09:00:00+08:00"})
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// No text grows beyond its limit, and what orders the writer about never comes out.
fn assert_clean(content: &Content) {
    let texts = serde_json::to_value(content).expect("content is JSON");
    let mut left = vec![&texts];
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => {
                assert!(text.len() <= LARGEST, "{} bytes", text.len());
                let stray = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
                assert_eq!(stray, None, "{text:?}");
            }
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.values()),
            _ => {}
        }
    }
}
