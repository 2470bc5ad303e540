//! What a template can see: the recipient, under the job's data, under the recipient's own data.
//!
//! Only the fields that the template names are put there, and the job's part is copied once for all recipients.

use std::collections::BTreeSet;

use handlebars::Context;
use serde_json::{Map, Value};

/// Where helpers find the recipient's own locale and time zone, whatever the data calls `locale`. No template can
/// spell these names: control characters are refused in templates.
pub(super) const LOCALE_KEY: &str = "\u{1}locale";
pub(super) const TIMEZONE_KEY: &str = "\u{1}timezone";

pub(super) const EXTERNAL_ID: &str = "external_id";
pub(super) const UNSUBSCRIBE_URL: &str = "unsubscribe_url";
const LOCALE: &str = "locale";
const ATTRIBUTES: &str = "attributes";

/// Who gets the message, as far as templates care.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    pub external_id: &'a str,
    /// BCP 47.
    pub locale: Option<&'a str>,
    /// IANA name.
    pub timezone: Option<&'a str>,
    pub attributes: &'a Map<String, Value>,
    /// What the job says about this recipient alone.
    pub own_data: Option<&'a Map<String, Value>>,
}

/// The top-level names that a template reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fields {
    /// It reads its whole scope, so everything has to be there.
    All,
    Named(BTreeSet<String>),
}

impl Fields {
    /// Whether the template reads this name.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Fields::All => true,
            Fields::Named(names) => names.contains(name),
        }
    }

    pub(super) fn merge(&mut self, other: Fields) {
        match (&mut *self, other) {
            (Fields::Named(names), Fields::Named(more)) => names.extend(more),
            _ => *self = Fields::All,
        }
    }
}

/// The data of one recipient after another, over the same job data.
#[derive(Debug)]
pub(super) struct Scope<'t> {
    fields: &'t Fields,
    job: Map<String, Value>,
    context: Context,
    /// Names of the job's that the last recipient had a value of their own for.
    overridden: Vec<String>,
}

impl<'t> Scope<'t> {
    pub(super) fn new(fields: &'t Fields, job_data: &Map<String, Value>) -> Self {
        let job: Map<String, Value> = job_data
            .iter()
            .filter(|(name, _)| fields.contains(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Scope { fields, context: Context::from(Value::Object(job.clone())), job, overridden: Vec::new() }
    }

    /// The context of this recipient; `unsubscribe_url` is asked for only where the template names it.
    pub(super) fn enter(
        &mut self,
        recipient: &Recipient<'_>,
        unsubscribe_url: impl FnOnce() -> String,
    ) -> &Context {
        let mut root = match self.context.data_mut().take() {
            Value::Object(root) => root,
            _ => Map::new(),
        };
        match self.fields {
            Fields::Named(names) => {
                for name in self.overridden.drain(..) {
                    let shared = self.job.get(&name).cloned().unwrap_or_default();
                    root.insert(name, shared);
                }
                for name in names {
                    self.settle(&mut root, name, recipient);
                }
            }
            Fields::All => {
                root = recipient.attributes.clone();
                root.insert(ATTRIBUTES.into(), recipient.attributes.clone().into());
                root.extend(recipient.locale.map(|locale| (LOCALE.to_owned(), locale.into())));
                root.extend(self.job.clone());
                root.extend(recipient.own_data.cloned().unwrap_or_default());
            }
        }
        if self.fields.contains(EXTERNAL_ID) {
            root.insert(EXTERNAL_ID.into(), recipient.external_id.into());
        }
        if self.fields.contains(UNSUBSCRIBE_URL) {
            root.insert(UNSUBSCRIBE_URL.into(), unsubscribe_url().into());
        }
        root.insert(LOCALE_KEY.into(), recipient.locale.into());
        root.insert(TIMEZONE_KEY.into(), recipient.timezone.into());
        *self.context.data_mut() = Value::Object(root);
        &self.context
    }

    /// Puts one name's value in place; the job's stays where it is as long as no recipient has one of their own.
    fn settle(&mut self, root: &mut Map<String, Value>, name: &str, recipient: &Recipient<'_>) {
        if let Some(own) = recipient.own_data.and_then(|data| data.get(name)) {
            root.insert(name.to_owned(), own.clone());
            if self.job.contains_key(name) {
                self.overridden.push(name.to_owned());
            }
        } else if self.job.contains_key(name) {
            // It is there already.
        } else if let Some(value) = contact_value(recipient, name) {
            root.insert(name.to_owned(), value);
        } else {
            root.remove(name);
        }
    }
}

fn contact_value(recipient: &Recipient<'_>, name: &str) -> Option<Value> {
    match name {
        LOCALE => recipient.locale.map(Value::from),
        ATTRIBUTES => Some(recipient.attributes.clone().into()),
        _ => recipient.attributes.get(name).cloned(),
    }
}
