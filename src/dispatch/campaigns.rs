//! Campaigns as they are sent: their rows and compiled templates, kept in memory and bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tracing::error;

use crate::model::{CampaignNo, LinkNo, Purpose};
use crate::render::{Template, TemplateSource};
use crate::store::dispatching::Sending;
use crate::store::{Error, Store};

/// Compiled templates and campaigns in memory, at most; beyond that all are read again.
const KEPT: usize = 512;

/// A campaign with one of its templates, ready to render.
#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) sending: Sending,
    pub(super) template: Arc<Template>,
    /// The campaign's number of each of the template's links.
    pub(super) links: Vec<LinkNo>,
}

type TemplateHash = [u8; 32];
type Kept<K, V> = Mutex<HashMap<K, Arc<V>>>;

/// Loads campaigns for all lanes.
#[derive(Debug)]
pub struct Campaigns {
    store: Arc<dyn Store>,
    loaded: Kept<(CampaignNo, TemplateHash), Campaign>,
    templates: Kept<TemplateHash, Template>,
    purposes: Kept<CampaignNo, Purpose>,
}

impl Campaigns {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Campaigns { store, loaded: Mutex::default(), templates: Mutex::default(), purposes: Mutex::default() }
    }

    /// What the campaign is for; `None` where it is gone.
    ///
    /// # Errors
    /// When the store is away.
    pub(super) async fn purpose(&self, number: CampaignNo) -> Result<Option<Purpose>, Error> {
        if let Some(known) = kept(&self.purposes, &number) {
            return Ok(Some(*known));
        }
        let Some(sending) = self.store.sending(number).await? else { return Ok(None) };
        Ok(Some(*keep(&self.purposes, number, Arc::new(sending.purpose))))
    }

    /// The campaign with the template that was pinned under `hash`; `None` where either is gone or broken.
    ///
    /// # Errors
    /// When the store is away.
    pub(super) async fn get(
        &self,
        number: CampaignNo,
        hash: [u8; 32],
    ) -> Result<Option<Arc<Campaign>>, Error> {
        if let Some(known) = kept(&self.loaded, &(number, hash)) {
            return Ok(Some(known));
        }
        let Some(sending) = self.store.sending(number).await? else { return Ok(None) };
        let Some(pinned) = self.store.template(number, hash).await? else { return Ok(None) };
        let template = match kept(&self.templates, &hash) {
            Some(template) => template,
            None => match compile(pinned.source) {
                Some(template) => keep(&self.templates, hash, Arc::new(template)),
                None => return Ok(None),
            },
        };
        let numbers: HashMap<&str, usize> =
            pinned.links.iter().enumerate().map(|(number, url)| (url.as_str(), number)).collect();
        let links = template.links().iter().map(|url| {
            let number = numbers.get(url.as_str()).and_then(|number| u16::try_from(*number).ok());
            number.map(LinkNo)
        });
        let Some(links) = links.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let campaign = Arc::new(Campaign { sending, template, links });
        Ok(Some(keep(&self.loaded, (number, hash), campaign)))
    }
}

/// A pinned template was compiled before it was pinned; one that no longer compiles met a stricter program.
fn compile(source: serde_json::Value) -> Option<Template> {
    let source: TemplateSource = serde_json::from_value(source).ok()?;
    match Template::compile(source) {
        Ok(template) => Some(template),
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            error!("a pinned template no longer compiles: {}", problems.join("; "));
            None
        }
    }
}

fn kept<K: Eq + std::hash::Hash, V>(map: &Kept<K, V>, key: &K) -> Option<Arc<V>> {
    map.lock().ok()?.get(key).cloned()
}

fn keep<K: Eq + std::hash::Hash, V>(map: &Kept<K, V>, key: K, value: Arc<V>) -> Arc<V> {
    if let Ok(mut map) = map.lock() {
        if map.len() >= KEPT {
            map.clear();
        }
        map.insert(key, value.clone());
    }
    value
}
