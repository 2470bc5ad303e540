//! Templates against their channel's rules: when the program starts, and when a job comes.

use std::path::Path;

use crate::config::{Config, ProviderKind};
use crate::model::sms_rules::{Breach, TextRules};
use crate::model::{Channel, Purpose};
use crate::render::{Problem, Registry, SmsForms};

/// What a template can be refused for: here, or with a job of marketing.
#[derive(Debug)]
pub struct Templates {
    pub registry: Registry,
    /// Whose marketing jobs are refused; their other jobs are not.
    pub no_marketing: Vec<Problem>,
}

/// Reads the templates and holds them to the rules of `config`; without one, to none.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn templates(dir: &Path, config: Option<&Config>) -> Result<Templates, Vec<Problem>> {
    let registry = Registry::load(dir)?;
    let (mut wrong, mut no_marketing) = (Vec::new(), Vec::new());
    if let Some((rules, used)) = config.and_then(rules) {
        for template in registry.names().filter_map(|name| registry.get(name)) {
            for (breach, problem) in template.breaches(rules, Purpose::Marketing, used) {
                let list = if breach == Breach::OptOut { &mut no_marketing } else { &mut wrong };
                list.push(problem);
            }
        }
    }
    if wrong.is_empty() { Ok(Templates { registry, no_marketing }) } else { Err(wrong) }
}

fn rules(config: &Config) -> Option<(&TextRules, SmsForms)> {
    let channel = config.channels.get(&Channel::Sms)?;
    let carriers = config.providers.values().filter(|provider| provider.carries(Channel::Sms));
    Some((&channel.rules.text, forms(carriers.map(|provider| &provider.kind))))
}

/// What these accounts use of a template.
pub(super) fn forms<'k>(kinds: impl Iterator<Item = &'k ProviderKind>) -> SmsForms {
    let mut forms = SmsForms::default();
    for kind in kinds {
        match kind {
            ProviderKind::Aliyun(_) => forms.aliyun = true,
            ProviderKind::Tencent(_) => forms.tencent = true,
            _ => forms.text = true,
        }
    }
    forms
}
