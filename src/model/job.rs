//! Jobs: what a marketing system enqueues. Reads untrusted JSON into validated values, or says what is wrong where.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use super::audience::{Audience, Recipient};
use super::contact::{Contact, Problem, check_id};
use super::{Channel, Control, Lane, Purpose, Rates, json};

/// Larger bodies are answered with 413, or dead-lettered.
pub const MAX_JOB_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Job {
    Campaign(CampaignJob),
    Message(MessageJob),
    Contacts(ContactsJob),
    Control(ControlJob),
}

/// One template to one audience on one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CampaignJob {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    pub channel: Channel,
    pub purpose: Purpose,
    pub template: String,
    #[serde(default = "bulk")]
    pub lane: Lane,
    pub audience: Audience,
    /// In every recipient's scope.
    #[serde(default)]
    pub data: Map<String, Value>,
    #[serde(default, deserialize_with = "super::instant::optional")]
    #[schemars(with = "Option<String>")]
    pub send_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "super::instant::optional")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
    #[serde(default)]
    pub rate: Rates,
    /// Messages that may go at once; default a tenth of a second's worth, at least 1.
    #[serde(default)]
    pub burst: Option<std::num::NonZeroU32>,
    /// A provider of the configuration; default: the channel's list decides.
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub tracking: Tracking,
}

/// One urgent recipient under a standing campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageJob {
    pub id: String,
    /// The standing campaign; the first message with a new name opens it.
    pub campaign: String,
    pub channel: Channel,
    pub purpose: Purpose,
    pub template: String,
    #[serde(default = "transactional")]
    pub lane: Lane,
    pub to: MessageTo,
    #[serde(default)]
    pub data: Map<String, Value>,
    #[serde(default, deserialize_with = "super::instant::optional")]
    #[schemars(with = "Option<String>")]
    pub send_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "super::instant::optional")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub tracking: Tracking,
}

/// Exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageTo {
    ExternalId(String),
    Address(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactsJob {
    pub id: String,
    pub upsert: Vec<Contact>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlJob {
    pub id: String,
    pub campaign: String,
    pub action: Control,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tracking {
    #[serde(default = "yes")]
    pub opens: bool,
    #[serde(default = "yes")]
    pub clicks: bool,
}

impl Default for Tracking {
    fn default() -> Self {
        Tracking { opens: true, clicks: true }
    }
}

fn bulk() -> Lane {
    Lane::Bulk
}
fn transactional() -> Lane {
    Lane::Transactional
}
fn yes() -> bool {
    true
}

/// Why a body is no job; every line names its JSON path from `$`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidJob(pub Vec<Problem>);

impl InvalidJob {
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        InvalidJob(vec![Problem::new(path, message)])
    }
}

/// A job that was read, with the hash of its content as parsed JSON: key order and white space do not count.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadJob {
    pub job: Job,
    pub content_hash: [u8; 32],
}

impl Job {
    pub fn id(&self) -> &str {
        match self {
            Job::Campaign(job) => &job.id,
            Job::Message(job) => &job.id,
            Job::Contacts(job) => &job.id,
            Job::Control(job) => &job.id,
        }
    }

    /// The `type` of the wire, also a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Job::Campaign(_) => "campaign",
            Job::Message(_) => "message",
            Job::Contacts(_) => "contacts",
            Job::Control(_) => "control",
        }
    }

    /// Reads and validates a body.
    ///
    /// # Errors
    /// Broken JSON, a wrong type, an unknown field, a broken rule: each with its path.
    pub fn read(body: &[u8]) -> Result<ReadJob, InvalidJob> {
        if body.len() > MAX_JOB_BYTES {
            return Err(InvalidJob::at(
                "$",
                format!("a job has at most 16 MiB, this one {} bytes", body.len()),
            ));
        }
        let value = json::read(body).map_err(|problem| InvalidJob(vec![problem]))?;
        let canonical = serde_json::to_vec(&value).map_err(|error| InvalidJob::at("$", error.to_string()))?;
        let content_hash = Sha256::digest(&canonical).into();
        let Value::Object(mut fields) = value else {
            return Err(InvalidJob::at("$", "a job is a JSON object"));
        };
        let kind = fields.remove("type").ok_or_else(|| InvalidJob::at("$.type", "missing"))?;
        let mut job = match kind.as_str() {
            Some("campaign") => Job::Campaign(typed(fields)?),
            Some("message") => Job::Message(typed(fields)?),
            Some("contacts") => Job::Contacts(typed(fields)?),
            Some("control") => Job::Control(typed(fields)?),
            _ => {
                return Err(InvalidJob::at(
                    "$.type",
                    format!("{kind} is none of campaign, message, contacts, control"),
                ));
            }
        };
        let mut problems = Vec::new();
        if let Err(problem) = check_id(job.id()) {
            problems.push(Problem::new("$.id", problem));
        }
        match &mut job {
            Job::Campaign(job) => job.check(&mut problems),
            Job::Message(job) => job.check(&mut problems),
            Job::Contacts(job) => job.check(&mut problems),
            Job::Control(job) => check_campaign_id(&job.campaign, &mut problems),
        }
        if problems.is_empty() { Ok(ReadJob { job, content_hash }) } else { Err(InvalidJob(problems)) }
    }
}

/// PostgreSQL's text and jsonb hold no NUL; it is refused here, where its path is known.
const NUL: &str = "has a NUL character, which no store keeps";

fn typed<T: for<'de> Deserialize<'de>>(fields: Map<String, Value>) -> Result<T, InvalidJob> {
    let value = Value::Object(fields);
    if let Some(path) = find_nul(&value, &mut String::from("$")) {
        return Err(InvalidJob::at(path, NUL));
    }
    if let Some(path) = OBJECTS.iter().find_map(|steps| find_array(&value, steps, String::from("$"))) {
        return Err(InvalidJob::at(path, "is a list where an object is expected"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => "$".to_owned(),
            path => format!("$.{path}"),
        };
        InvalidJob::at(path, error.into_inner().to_string())
    })
}

/// Where jobs hold objects; `[]` stands for every element. The deserializer would read a list's elements as an
/// object's fields in their order.
const OBJECTS: &[&[&str]] = &[
    &["audience"],
    &["audience", "recipients", "[]"],
    &["tracking"],
    &["upsert", "[]"],
    &["upsert", "[]", "addresses", "[]"],
];

fn find_array(value: &Value, steps: &[&str], path: String) -> Option<String> {
    match (steps, value) {
        ([], value) => value.is_array().then_some(path),
        (["[]", rest @ ..], Value::Array(items)) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| find_array(item, rest, format!("{path}[{index}]"))),
        ([key, rest @ ..], Value::Object(fields)) => {
            fields.get(*key).and_then(|item| find_array(item, rest, format!("{path}.{key}")))
        }
        _ => None,
    }
}

fn find_nul(value: &Value, path: &mut String) -> Option<String> {
    let length = path.len();
    match value {
        Value::String(text) => text.contains('\0').then(|| path.clone()),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            path.truncate(length);
            path.push_str(&format!("[{index}]"));
            find_nul(item, path)
        }),
        Value::Object(fields) => fields.iter().find_map(|(key, item)| {
            path.truncate(length);
            path.push('.');
            path.push_str(key);
            if key.contains('\0') { Some(path.replace('\0', "\\0")) } else { find_nul(item, path) }
        }),
        _ => None,
    }
}

fn check_campaign_id(id: &str, problems: &mut Vec<Problem>) {
    if let Err(problem) = check_id(id) {
        problems.push(Problem::new("$.campaign", problem));
    }
}

fn check_window(send_at: Option<Timestamp>, expires_at: Option<Timestamp>, problems: &mut Vec<Problem>) {
    if let (Some(send_at), Some(expires_at)) = (send_at, expires_at)
        && expires_at <= send_at
    {
        problems.push(Problem::new("$.expires_at", "is not later than send_at"));
    }
}

impl CampaignJob {
    fn check(&mut self, problems: &mut Vec<Problem>) {
        check_window(self.send_at, self.expires_at, problems);
        if self.burst.is_some() && self.rate.0.is_empty() {
            problems.push(Problem::new("$.burst", "stands beside `rate` only"));
        }
        match &self.audience {
            Audience::All => {}
            Audience::Segment(filter) => {
                if let Err(problem) = filter.check() {
                    problems.push(Problem::new("$.audience.segment", problem));
                }
            }
            Audience::Contacts(ids) => {
                for (index, id) in ids.iter().enumerate() {
                    if let Err(problem) = check_id(id) {
                        problems.push(Problem::new(format!("$.audience.contacts[{index}]"), problem));
                    }
                }
            }
            Audience::Recipients { recipients, .. } => {
                for (index, recipient) in recipients.iter().enumerate() {
                    if let Some(Err(problem)) = recipient.external_id.as_deref().map(check_id) {
                        problems.push(Problem::new(
                            format!("$.audience.recipients[{index}].external_id"),
                            problem,
                        ));
                    }
                }
            }
        }
        problems.truncate(100);
    }
}

impl MessageJob {
    fn check(&mut self, problems: &mut Vec<Problem>) {
        check_campaign_id(&self.campaign, problems);
        check_window(self.send_at, self.expires_at, problems);
        match &mut self.to {
            MessageTo::ExternalId(id) => {
                if let Err(problem) = check_id(id) {
                    problems.push(Problem::new("$.to.external_id", problem));
                }
            }
            MessageTo::Address(address) => match super::address::canonical(self.channel, address) {
                Ok(canonical) => *address = canonical,
                Err(problem) => problems.push(Problem::new("$.to.address", problem.to_string())),
            },
        }
    }
}

impl ContactsJob {
    fn check(&mut self, problems: &mut Vec<Problem>) {
        for (index, contact) in self.upsert.iter_mut().enumerate() {
            if let Err(found) = contact.canonicalize() {
                problems
                    .extend(found.into_iter().map(|problem| problem.under(&format!("$.upsert[{index}]"))));
            }
        }
        problems.truncate(100);
    }
}

/// The JSON Schema of all jobs.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Job).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "campaignd job".into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        Job::read(json.as_bytes()).unwrap_err().to_string()
    }

    const CAMPAIGN: &str = r#"{"type": "campaign", "id": "spring-sale-2026", "name": "Spring sale", "channel": "email",
        "purpose": "marketing", "template": "spring-sale", "lane": "bulk",
        "audience": {"segment": {"all": [{"tag": "vip"}, {"attribute": "city", "in": ["上海", "Berlin"]}]}},
        "data": {"discount": "20 %"}, "send_at": "2026-04-01T09:00:00+08:00", "expires_at": "2026-04-03T00:00:00+08:00",
        "rate": "500/s", "tracking": {"opens": true, "clicks": true}}"#;

    #[test]
    fn reads_the_contracts_campaign() {
        let Job::Campaign(job) = Job::read(CAMPAIGN.as_bytes()).unwrap().job else { panic!() };
        assert_eq!(job.send_at.unwrap().to_string(), "2026-04-01T01:00:00Z");
        assert!(matches!(job.audience, Audience::Segment(_)));
    }

    #[test]
    fn the_same_content_in_another_order_is_the_same() {
        let hash = |json: &str| Job::read(json.as_bytes()).unwrap().content_hash;
        let one = hash(r#"{"type":"control","id":"c1","campaign":"x","action":"pause"}"#);
        assert_eq!(one, hash(r#"{ "action": "pause", "campaign": "x", "id": "c1", "type": "control" }"#));
        assert_ne!(one, hash(r#"{"type":"control","id":"c1","campaign":"x","action":"resume"}"#));
    }

    #[test]
    fn errors_name_the_path() {
        let broken = CAMPAIGN.replace("\"vip\"", "7");
        assert!(error(&broken).starts_with("$.audience.segment.all[0].tag: "), "{}", error(&broken));
        assert!(error("{").starts_with("$: not JSON"));
        assert!(error("[]").starts_with("$: a job is"));
        assert!(error(r#"{"type": "sms"}"#).starts_with("$.type: "));
        assert!(error(&CAMPAIGN.replace("email", "fax")).starts_with("$.channel: "));
        assert!(
            error(&CAMPAIGN.replace("\"rate\"", "\"variants\": [], \"rate\""))
                .contains("unknown field `variants`")
        );
        assert!(error(&CAMPAIGN.replace("2026-04-03", "2026-03-03")).starts_with("$.expires_at: "));
        assert!(error(&CAMPAIGN.replace("20 %", "a\\u0000b")).starts_with("$.data.discount: "));
        let long_ago = CAMPAIGN.replace("2026-04-01T09:00:00+08:00", "-009000-01-01T00:00:00Z");
        assert!(error(&long_ago).starts_with("$.send_at: an instant before"), "{}", error(&long_ago));
        assert!(
            error(&CAMPAIGN.replace("{\"segment\"", "{\"all\": true, \"segment\"")).contains("exactly one")
        );
        let contacts = r#"{"type": "contacts", "id": "i", "upsert": [{"external_id": "a"}, {"external_id": "b", "addresses": [{"channel": "email", "address": "x"}]}]}"#;
        assert!(error(contacts).starts_with("$.upsert[1].addresses[0].address: "), "{}", error(contacts));
    }

    #[test]
    fn a_list_is_no_object() {
        let contacts = |upsert: &str| format!(r#"{{"type": "contacts", "id": "i", "upsert": {upsert}}}"#);
        assert!(error(&contacts(r#"[{"external_id": "a"}, ["b"]]"#)).starts_with("$.upsert[1]: is a list"));
        let nested = r#"[{"external_id": "a", "addresses": [["email", "a@b.de"]]}]"#;
        assert!(error(&contacts(nested)).starts_with("$.upsert[0].addresses[0]: is a list"));
        assert!(
            error(&CAMPAIGN.replace(r#"{"opens": true, "clicks": true}"#, "[true]"))
                .starts_with("$.tracking: ")
        );
    }

    #[test]
    fn a_message_goes_to_one_of_two() {
        let message = |to: &str| {
            format!(
                r#"{{"type": "message", "id": "o-1", "campaign": "thanks", "channel": "email", "purpose": "service", "template": "t", "to": {to}}}"#
            )
        };
        let Job::Message(job) = Job::read(message(r#"{"address": "A@B.de"}"#).as_bytes()).unwrap().job else {
            panic!()
        };
        assert_eq!((job.to, job.lane), (MessageTo::Address("a@b.de".into()), Lane::Transactional));
        assert!(Job::read(message("{}").as_bytes()).is_err());
        assert!(error(&message(r#"{"address": "nobody"}"#)).starts_with("$.to.address: "));
    }
}
