//! A template's syntax tree: what it calls, what it reads, and the changes that keep rendering safe.
//!
//! Each helper call of every branch is tried with its literal arguments, so that a wrong name, number of arguments
//! or option is found when the template is loaded, not when it is sent.

use std::collections::BTreeSet;

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use handlebars::{Path, Template};

use super::guard::{BLOCKS, Escape};
use super::helper::{self, Arg};
use super::mark::Mark;
use super::problem::Complaint;
use super::scope::Fields;

/// Checks a compiled template, makes its loops count their work, and returns what it reads.
///
/// # Errors
/// Every call that cannot work.
pub(super) fn settle(template: &mut Template, escape: Escape) -> Result<Fields, Vec<Complaint>> {
    let mut walk = Walk { fields: Fields::Named(BTreeSet::new()), complaints: Vec::new(), line: None };
    walk.template(template, 0);
    if escape == Escape::None {
        escape_all(template);
    }
    count_work(template);
    if walk.complaints.is_empty() { Ok(walk.fields) } else { Err(walk.complaints) }
}

struct Walk {
    fields: Fields,
    complaints: Vec<Complaint>,
    line: Option<usize>,
}

impl Walk {
    fn complain(&mut self, message: String) {
        self.complaints.push(Complaint { line: self.line, message });
    }

    /// `depth` is how many `each` and `with` are around: names reach the whole scope only from 0.
    fn template(&mut self, template: &Template, depth: usize) {
        for (index, element) in template.elements.iter().enumerate() {
            self.line = template.mapping.get(index).map(|mapping| mapping.0).or(self.line);
            match element {
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
                TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                    self.expression(call, depth);
                }
                TemplateElement::HelperBlock(call) => self.block(call, depth),
                _ => self.complain("partials and decorators are not supported".into()),
            }
        }
    }

    fn block(&mut self, call: &HelperTemplate, depth: usize) {
        let name = name_of(&call.name).unwrap_or_default();
        if !BLOCKS.contains(&name) {
            self.complain(format!("`{name}` is no block; there are {}", BLOCKS.join(", ")));
        }
        if call.params.len() != 1 {
            self.complain(format!("`#{name}` takes one value, not {}", call.params.len()));
        }
        let options: &[&str] = if matches!(name, "if" | "unless") { &["includeZero"] } else { &[] };
        self.check_options(name, options, call);
        self.arguments(call, depth);
        let inside = depth + usize::from(matches!(name, "each" | "with"));
        if let Some(body) = &call.template {
            self.template(body, inside);
        }
        if let Some(body) = &call.inverse {
            self.template(body, depth);
        }
    }

    fn expression(&mut self, call: &HelperTemplate, depth: usize) {
        let bare = call.params.is_empty() && call.hash.is_empty();
        match name_of(&call.name) {
            Some(name) if bare && helper::find(name).is_none() && !is_engines(name) => {
                self.read(&call.name, depth);
            }
            Some(name) => self.call(name, call, depth),
            None => match &call.name {
                Parameter::Subexpression(inner) if bare => self.subexpression(inner.as_element(), depth),
                _ => self.complain("a tag begins with a variable or a helper".into()),
            },
        }
    }

    fn subexpression(&mut self, element: &TemplateElement, depth: usize) {
        if let TemplateElement::Expression(call) = element {
            match name_of(&call.name) {
                Some(name) => self.call(name, call, depth),
                None => self.complain("a bracket begins with a helper's name".into()),
            }
        }
    }

    fn call(&mut self, name: &str, call: &HelperTemplate, depth: usize) {
        self.arguments(call, depth);
        if name == "lookup" {
            if call.params.len() != 2 {
                self.complain("`lookup` takes a list or object, and a key".into());
            }
            return self.check_options(name, &[], call);
        }
        let Some(spec) = helper::find(name) else {
            let known = helper::SPECS.iter().map(|spec| spec.name);
            let nearest = known.max_by(|a, b| similarity(name, a).total_cmp(&similarity(name, b)));
            let hint = nearest.filter(|near| similarity(name, near) > 0.7);
            let hint = hint.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return self.complain(format!("there is no helper `{name}`{hint}"));
        };
        if call.params.is_empty() && call.hash.is_empty() {
            return self.complain(format!(
                "`{name}` is a helper and needs a value; a variable of that name is written `this.{name}`"
            ));
        }
        let (least, most) = (*spec.params.start(), *spec.params.end());
        if !spec.params.contains(&call.params.len()) {
            let range = if least == most { format!("{least}") } else { format!("{least} to {most}") };
            return self.complain(format!("`{name}` takes {range} values, not {}", call.params.len()));
        }
        self.check_options(name, spec.options, call);
        let params: Vec<Arg<'_>> = call.params.iter().map(literal).collect();
        let options: Vec<(&str, Arg<'_>)> =
            call.hash.iter().map(|(name, option)| (name.as_str(), literal(option))).collect();
        if let Err(problem) = spec.try_out(&params, &options) {
            self.complain(problem);
        }
    }

    fn check_options(&mut self, name: &str, known: &[&str], call: &HelperTemplate) {
        let mut unknown: Vec<&String> =
            call.hash.keys().filter(|option| !known.contains(&option.as_str())).collect();
        unknown.sort();
        for option in unknown {
            self.complain(format!("`{name}` has no option `{option}`"));
        }
    }

    fn arguments(&mut self, call: &HelperTemplate, depth: usize) {
        for argument in call.params.iter().chain(call.hash.values()) {
            match argument {
                Parameter::Subexpression(inner) => self.subexpression(inner.as_element(), depth),
                Parameter::Path(_) | Parameter::Name(_) => self.read(argument, depth),
                _ => {}
            }
        }
    }

    /// Notes a name that is read. A name inside of `each` may be an entry's: to note it does no harm.
    fn read(&mut self, parameter: &Parameter, depth: usize) {
        if matches!(parameter, Parameter::Path(Path::Local(_))) {
            return;
        }
        let Some(raw) = name_of(parameter) else { return };
        let from_root = raw.strip_prefix("@root").map(|rest| rest.trim_start_matches(['.', '/']));
        let mut path = from_root.unwrap_or(raw);
        let mut ups = 0;
        while let Some(rest) = path.strip_prefix("../") {
            path = rest;
            ups += 1;
        }
        let path = path.strip_prefix("./").unwrap_or(path);
        let mut segments = path
            .split(['.', '/'])
            .map(|segment| segment.trim_matches(['[', ']']))
            .skip_while(|s| *s == "this");
        let first = segments.next().unwrap_or_default();
        let whole = match (first, segments.next()) {
            ("", _) => from_root.is_some() || ups >= depth,
            // `[a.b]` and the like are not worth splitting right.
            _ if path.contains('[') => true,
            ("attributes", Some(name)) => {
                self.note(name);
                self.note(first);
                false
            }
            ("attributes", None) => true,
            _ => {
                self.note(first);
                false
            }
        };
        if whole {
            self.fields = Fields::All;
        }
    }

    fn note(&mut self, name: &str) {
        if let Fields::Named(names) = &mut self.fields {
            names.insert(name.to_owned());
        }
    }
}

/// The engine's own helpers that the guard lets nobody shadow; only `lookup` may be called.
fn is_engines(name: &str) -> bool {
    matches!(name, "lookup" | "raw" | "log") || BLOCKS.contains(&name)
}

fn similarity(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b)
}

fn name_of(parameter: &Parameter) -> Option<&str> {
    match parameter {
        Parameter::Name(name) => Some(name),
        Parameter::Path(Path::Relative((_, raw)) | Path::Local((_, _, raw))) => Some(raw),
        _ => None,
    }
}

fn literal(parameter: &Parameter) -> Arg<'_> {
    match parameter {
        Parameter::Literal(value) => Arg { path: None, value: Some(value) },
        other => Arg { path: name_of(other), value: None },
    }
}

/// Triple braces become double: without HTML they mean the same, and only what is escaped is free of marks.
fn escape_all(template: &mut Template) {
    for element in &mut template.elements {
        match element {
            TemplateElement::HtmlExpression(call) => {
                let call = call.clone();
                *element = TemplateElement::Expression(call);
            }
            TemplateElement::HelperBlock(call) => {
                call.template.iter_mut().chain(&mut call.inverse).for_each(escape_all);
            }
            _ => {}
        }
    }
}

/// Puts a mark at the start of each loop's body that costs as much as the body has tags, and returns the tags of
/// this template that are outside of loops. A loop that writes nothing is stopped by it, too.
fn count_work(template: &mut Template) -> usize {
    let mut tags = 0;
    for element in &mut template.elements {
        match element {
            TemplateElement::HelperBlock(call) => {
                let is_loop = name_of(&call.name) == Some("each");
                tags += 1;
                if let Some(body) = &mut call.template {
                    let inside = count_work(body);
                    if is_loop {
                        body.elements
                            .insert(0, TemplateElement::RawString(Mark::Work(1 + inside).to_string()));
                        body.mapping.splice(0..0, body.mapping.first().cloned());
                    } else {
                        tags += inside;
                    }
                }
                tags += call.inverse.as_mut().map_or(0, count_work);
            }
            TemplateElement::Expression(_) | TemplateElement::HtmlExpression(_) => tags += 1,
            _ => {}
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Fields {
        settle(&mut Template::compile(source).unwrap(), Escape::None).unwrap()
    }

    fn names(names: &[&str]) -> Fields {
        Fields::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn complaints(source: &str) -> String {
        let complaints = settle(&mut Template::compile(source).unwrap(), Escape::Html).unwrap_err();
        complaints.into_iter().map(|complaint| complaint.message).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn fields_are_known_from_the_tree() {
        assert_eq!(
            read("{{name}} {{upper city}} {{default (lower a.b) c}}"),
            names(&["name", "city", "a", "c"])
        );
        assert_eq!(
            read("{{#each items}}{{title}}{{../shop}}{{@index}}{{this}}{{@root.top}}{{/each}}"),
            names(&["items", "title", "shop", "top"])
        );
        assert_eq!(read("{{attributes.city}}"), names(&["attributes", "city"]));
        assert_eq!(read("{{this.name}} {{./nick}}"), names(&["name", "nick"]));
        assert_eq!(read("{{plural n one=a other=\"x\"}}"), names(&["n", "a"]));
        for all in ["{{this}}", "{{lookup this key}}", "{{#each attributes}}{{/each}}", "{{[a b]}}"] {
            assert_eq!(read(all), Fields::All, "{all}");
        }
        assert_eq!(read("{{#each a}}{{../this}}{{/each}}"), Fields::All);
    }

    #[test]
    fn calls_are_checked_in_every_branch() {
        assert!(complaints("{{#if a}}{{uper x}}{{/if}}").contains("no helper `uper`; did you mean `upper`?"));
        assert!(complaints("{{#if a}}{{else}}{{truncate x}}{{/if}}").contains("takes 2 values, not 1"));
        assert!(complaints("{{date}}").contains("this.date"));
        assert!(complaints("{{date x \"huge\"}}").contains("the style is"));
        assert!(complaints("{{default (date x format=\"%!\") y}}").contains("strftime"));
        assert!(complaints("{{number x decimals=2}}").contains("no option `decimals`"));
        assert!(complaints("{{log x}}{{raw}}").contains("no helper `log`"));
        assert!(complaints("{{#if}}x{{/if}}").contains("`#if` takes one value"));
        assert!(complaints("{{upper (nope x)}}").contains("`nope`"));
        assert!(complaints("{{plural n one=\"x\"}}").contains("`other` is needed"));
    }
}
