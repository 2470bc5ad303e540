//! Templates as authors write them and recipients get them: the parts of this module together.

mod data;
mod folder;
mod languages;
mod links;
mod safety;

use serde_json::{Map, Value, json};

use super::*;
use crate::model::Content;
use crate::model::content::EmailContent;
use crate::model::{CampaignNo, Channel, ContactNo, DeliveryKey, LinkNo};
use crate::token::{Claims, Key, Keyring, Kind};

const PUBLIC: &str = "https://track.example";
const ALL_LINKS: [LinkNo; 8] =
    [LinkNo(10), LinkNo(11), LinkNo(12), LinkNo(13), LinkNo(14), LinkNo(15), LinkNo(16), LinkNo(17)];

fn keyring() -> Keyring {
    Keyring::new(Key::new(1, &[7; 32]), Vec::new())
}

fn delivery() -> DeliveryKey {
    DeliveryKey { campaign: CampaignNo(3), contact: ContactNo(44), occurrence: 0 }
}

fn source(files: &[(&str, &str)]) -> TemplateSource {
    let files = files.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
    TemplateSource { name: "t".into(), files }
}

fn html_source(html: &str) -> TemplateSource {
    source(&[("template.toml", "[email]\nsubject = \"s\"\nhtml = \"e.hbs\"\n"), ("e.hbs", html)])
}

/// A template whose only text of interest is an SMS.
fn sms_source(text: &str) -> TemplateSource {
    source(&[("template.toml", &format!("[sms]\ntext = '''{text}'''\n"))])
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

struct Setting {
    locale: Option<&'static str>,
    job: Value,
    attributes: Value,
    own: Option<Value>,
    opens: bool,
    clicks: bool,
    delivery: DeliveryKey,
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            locale: None,
            job: json!({}),
            attributes: json!({}),
            own: None,
            opens: false,
            clicks: false,
            delivery: delivery(),
        }
    }
}

impl Setting {
    fn job(job: Value) -> Self {
        Setting { job, ..Setting::default() }
    }

    fn tracked(job: Value) -> Self {
        Setting { job, opens: true, clicks: true, ..Setting::default() }
    }

    fn render(&self, template: &Template, channel: Channel) -> Result<Content, RenderError> {
        let (attributes, own) = (object(self.attributes.clone()), self.own.clone().map(object));
        let recipient = Recipient {
            external_id: "C-1",
            locale: self.locale,
            timezone: Some("Asia/Shanghai"),
            attributes: &attributes,
            own_data: own.as_ref(),
        };
        let keyring = keyring();
        let tracking = Tracking {
            keyring: &keyring,
            delivery: self.delivery,
            public_url: PUBLIC,
            opens: self.opens,
            clicks: self.clicks,
            links: &ALL_LINKS,
        };
        template.renderer(channel, &object(self.job.clone()))?.render(&recipient, &tracking)
    }

    fn email(&self, source: TemplateSource) -> Result<EmailContent, RenderError> {
        match self.render(&Template::compile(source).unwrap(), Channel::Email)? {
            Content::Email(email) => Ok(email),
            other => panic!("{other:?}"),
        }
    }

    fn html(&self, html: &str) -> String {
        self.email(html_source(html)).unwrap().html.unwrap()
    }

    fn sms(&self, text: &str) -> Result<String, RenderError> {
        match self.render(&Template::compile(sms_source(text)).unwrap(), Channel::Sms)? {
            Content::Sms(sms) => Ok(sms.text.unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

fn problems(source: TemplateSource) -> String {
    let problems = Template::compile(source).unwrap_err();
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The claims of each click token in a text, in order.
fn clicks(text: &str) -> Vec<Claims> {
    let tokens = text.split("https://track.example/c/").skip(1).map(|rest| {
        rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next().unwrap_or_default()
    });
    tokens.map(|token| keyring().verify(Kind::Click, token).unwrap()).collect()
}
