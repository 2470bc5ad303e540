//! What a template's text messages break of their channel's rules, whoever they go to. What only a rendered text can
//! break is found when it is rendered.

use super::manifest::{MANIFEST, Manifest, merged};
use super::problem::Problem;
use crate::model::sms_rules::{Breach, TextRules};
use crate::model::{Channel, Purpose};

/// Which keys of `[sms]` are used, by the providers that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SmsForms {
    pub text: bool,
    pub aliyun: bool,
    pub tencent: bool,
}

/// A text, or the name of a signature, as `template.toml` has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    line: usize,
    form: Form,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Text,
    Aliyun,
    Tencent,
}

const FORMS: [(&[&str], Form); 3] = [
    (&["text"], Form::Text),
    (&["aliyun", "sign_name"], Form::Aliyun),
    (&["tencent", "sign_name"], Form::Tencent),
];

/// Of every language, each once.
pub(super) fn sources(manifest: &Manifest) -> Vec<Source> {
    let Some(sections) = manifest.get(&Channel::Sms) else { return Vec::new() };
    let languages = sections.languages.keys().map(|language| Some(language.as_str()));
    let mut sources = Vec::new();
    for section in languages.chain([None]).map(|language| merged(sections, language)) {
        for (path, form) in FORMS {
            let path: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
            let entry = section.get(&path);
            sources.extend(entry.map(|entry| Source { line: entry.line, form, text: entry.text.clone() }));
        }
    }
    sources.sort();
    sources.dedup();
    sources
}

/// The problems of the template named `template`.
pub(super) fn breaches(
    template: &str,
    sources: &[Source],
    rules: &TextRules,
    purpose: Purpose,
    used: SmsForms,
) -> Vec<(Breach, Problem)> {
    let told = |source: &Source| {
        let (breach, message) = match source.form {
            Form::Text if used.text => {
                let breach = rules.certain_breach(&source.text, purpose)?;
                (breach, format!("`text`: {breach}"))
            }
            Form::Aliyun if used.aliyun && !rules.takes_name(&source.text) => named("aliyun"),
            Form::Tencent if used.tencent && !rules.takes_name(&source.text) => named("tencent"),
            _ => return None,
        };
        let (template, file) = (template.to_owned(), MANIFEST.to_owned());
        Some((breach, Problem { template, file, line: Some(source.line), message }))
    };
    sources.iter().filter_map(told).collect()
}

fn named(provider: &str) -> (Breach, String) {
    let message = format!(
        "`{provider}.sign_name`: the channel's rules want 2 to 12 characters without 【】, which the provider adds"
    );
    (Breach::Signature, message)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::parse;
    use super::*;
    use crate::model::SmsRules;

    const ALL: SmsForms = SmsForms { text: true, aliyun: true, tencent: true };

    fn told(used: SmsForms, purpose: Purpose) -> Vec<(Breach, usize)> {
        let manifest = parse(
            "[sms]\ntext = \"【商店】{{name}}，再见\"\naliyun = {sign_name = \"【商店】\", template_code = \"S\"}\n\
             [zh.sms]\naliyun = {sign_name = \"商店\"}\n[en.sms]\ntext = \"Hi\"\n\
             [de.sms.tencent]\nsign_name = \"S\"\ntemplate_id = \"1\"\n",
        );
        let sources = sources(&manifest.unwrap());
        let found = breaches("spring", &sources, &SmsRules::china().text, purpose, used);
        found.into_iter().map(|(breach, problem)| (breach, problem.line.unwrap())).collect()
    }

    #[test]
    fn every_language_and_form_that_is_used_is_held_to_the_rules() {
        let signature = |line| (Breach::Signature, line);
        let service = [signature(3), signature(7), signature(9)];
        assert_eq!(told(ALL, Purpose::Service), service);
        let marketing = [(Breach::OptOut, 2), signature(3), signature(7), signature(9)];
        assert_eq!(told(ALL, Purpose::Marketing), marketing);
        assert_eq!(told(SmsForms { text: true, ..SmsForms::default() }, Purpose::Service), [signature(7)]);
        assert_eq!(told(SmsForms::default(), Purpose::Marketing), []);
    }
}
