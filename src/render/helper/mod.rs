//! The helpers that templates may call: one table, checked when a template is loaded, called when it is rendered.
//!
//! A helper is a pure function of its arguments and of the recipient's locale and time zone. It never sees other
//! data, and its errors never repeat a value.

mod currency;
mod date;
mod logic;
mod number;
mod text;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, PathAndJson, RenderContext, RenderErrorReason, ScopedJson,
};
use icu_locale_core::Locale;
use serde_json::Value;

use super::scope::{LOCALE_KEY, TIMEZONE_KEY};

/// One helper: how it may be called, and what it does.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) params: RangeInclusive<usize>,
    pub(super) options: &'static [&'static str],
    run: fn(&Call<'_>) -> Result<Value, Refusal>,
}

impl Spec {
    const fn new(
        name: &'static str,
        params: RangeInclusive<usize>,
        options: &'static [&'static str],
        run: fn(&Call<'_>) -> Result<Value, Refusal>,
    ) -> Self {
        Spec { name, params, options, run }
    }

    /// Tries a call with what is written in the template itself: data counts as missing.
    ///
    /// # Errors
    /// What would be wrong for every recipient.
    pub(super) fn try_out(&self, params: &[Arg<'_>], options: &[(&str, Arg<'_>)]) -> Result<(), String> {
        match (self.run)(&Call { params, options, locale: None, timezone: None }) {
            Err(Refusal::Wrong(problem)) => Err(format!("{}: {problem}", self.name)),
            Ok(_) | Err(Refusal::Missing(_)) => Ok(()),
        }
    }
}

/// All helpers of ours. Blocks (`if`, `unless`, `each`, `with`) and `lookup` are the engine's.
pub(super) const SPECS: &[Spec] = &[
    Spec::new("default", 2..=2, &[], logic::default),
    Spec::new("eq", 2..=2, &[], logic::eq),
    Spec::new("ne", 2..=2, &[], logic::ne),
    Spec::new("gt", 2..=2, &[], logic::gt),
    Spec::new("gte", 2..=2, &[], logic::gte),
    Spec::new("lt", 2..=2, &[], logic::lt),
    Spec::new("lte", 2..=2, &[], logic::lte),
    Spec::new("and", 2..=8, &[], logic::and),
    Spec::new("or", 2..=8, &[], logic::or),
    Spec::new("not", 1..=1, &[], logic::not),
    Spec::new("len", 1..=1, &[], logic::len),
    Spec::new("upper", 1..=1, &[], text::upper),
    Spec::new("lower", 1..=1, &[], text::lower),
    Spec::new("truncate", 2..=2, &["end"], text::truncate),
    Spec::new("join", 1..=2, &[], text::join),
    Spec::new("url_encode", 1..=1, &[], text::url_encode),
    Spec::new("date", 1..=2, &["format", "zone"], date::date),
    Spec::new("number", 1..=1, &["digits"], number::number),
    Spec::new("plural", 1..=1, number::PLURAL_OPTIONS, number::plural),
    Spec::new("currency", 2..=2, &["digits"], currency::currency),
];

pub(super) fn find(name: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.name == name)
}

/// Puts all helpers into an engine.
pub(super) fn register(engine: &mut Handlebars<'static>) {
    for spec in SPECS {
        engine.register_helper(spec.name, Box::new(spec));
    }
}

/// Why a helper yields nothing.
pub(super) enum Refusal {
    /// The named variable is not there.
    Missing(Option<String>),
    /// The call is wrong; the text says how, without any of the data.
    Wrong(String),
}

pub(super) fn wrong(problem: impl Into<String>) -> Refusal {
    Refusal::Wrong(problem.into())
}

/// One argument: where it came from, and what it is, `None` if missing.
#[derive(Clone, Copy)]
pub(super) struct Arg<'a> {
    pub(super) path: Option<&'a str>,
    pub(super) value: Option<&'a Value>,
}

impl<'a> Arg<'a> {
    fn of(param: &'a PathAndJson<'_>) -> Self {
        Arg {
            path: param.relative_path().map(String::as_str),
            value: (!param.is_value_missing()).then(|| param.value()),
        }
    }

    fn required(self) -> Result<&'a Value, Refusal> {
        self.value.ok_or_else(|| Refusal::Missing(self.path.map(str::to_owned)))
    }

    fn text(self) -> Result<Cow<'a, str>, Refusal> {
        Ok(match self.required()? {
            Value::String(text) => Cow::Borrowed(text),
            Value::Null => Cow::Borrowed(""),
            Value::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Value::Number(number) => Cow::Owned(number.to_string()),
            Value::Array(_) | Value::Object(_) => {
                return Err(wrong(format!("{} is a list or an object where text is needed", self.label())));
            }
        })
    }

    /// How errors name this argument.
    fn label(self) -> String {
        self.path.map_or_else(|| "the value".into(), |path| format!("`{path}`"))
    }
}

/// One call of a helper.
pub(super) struct Call<'a> {
    params: &'a [Arg<'a>],
    options: &'a [(&'a str, Arg<'a>)],
    locale: Option<&'a str>,
    timezone: Option<&'a str>,
}

impl<'a> Call<'a> {
    /// A positional argument; one that was not written counts as missing.
    fn param(&self, index: usize) -> Arg<'a> {
        self.params.get(index).copied().unwrap_or(Arg { path: None, value: None })
    }

    fn option(&self, name: &str) -> Option<Arg<'a>> {
        self.options.iter().find(|(key, _)| *key == name).map(|(_, arg)| *arg)
    }

    fn option_text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.option(name).map(Arg::text).transpose()
    }

    /// A whole number from 0 to `max`.
    fn option_count(&self, name: &str, max: i16) -> Result<Option<i16>, Refusal> {
        let Some(arg) = self.option(name) else { return Ok(None) };
        let count = arg.required()?.as_i64().and_then(|count| i16::try_from(count).ok());
        match count {
            Some(count) if (0..=max).contains(&count) => Ok(Some(count)),
            _ => Err(wrong(format!("`{name}` is a whole number from 0 to {max}"))),
        }
    }

    /// The recipient's locale; English where none is known.
    fn locale(&self) -> Locale {
        self.locale
            .and_then(|tag| Locale::try_from_str(&tag.replace('_', "-")).ok())
            .unwrap_or(icu_locale_core::locale!("en"))
    }
}

impl HelperDef for &'static Spec {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, handlebars::RenderError> {
        let params: Vec<Arg<'_>> = helper.params().iter().map(Arg::of).collect();
        let options: Vec<(&str, Arg<'_>)> =
            helper.hash().iter().map(|(name, option)| (*name, Arg::of(option))).collect();
        let call = Call {
            params: &params,
            options: &options,
            locale: context.data().get(LOCALE_KEY).and_then(Value::as_str),
            timezone: context.data().get(TIMEZONE_KEY).and_then(Value::as_str),
        };
        (self.run)(&call).map(ScopedJson::Derived).map_err(|refusal| match refusal {
            Refusal::Missing(path) => RenderErrorReason::MissingVariable(path).into(),
            Refusal::Wrong(problem) => RenderErrorReason::Other(format!("{}: {problem}", self.name)).into(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Renders one expression for a recipient of this locale and time zone.
    pub(in crate::render) fn eval(
        expression: &str,
        data: Value,
        locale: &str,
        zone: &str,
    ) -> Result<String, String> {
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        engine.register_escape_fn(handlebars::no_escape);
        register(&mut engine);
        let mut data = data;
        data[LOCALE_KEY] = locale.into();
        data[TIMEZONE_KEY] = zone.into();
        engine.render_template(&format!("{{{{{expression}}}}}"), &data).map_err(|e| e.reason().to_string())
    }

    pub(in crate::render) fn english(expression: &str, data: Value) -> String {
        eval(expression, data, "en-US", "UTC").unwrap()
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = SPECS.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SPECS.len());
    }
}
