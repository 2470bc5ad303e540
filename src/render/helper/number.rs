//! Numbers and plural forms as the recipient's language writes them (Unicode CLDR).

use icu_decimal::DecimalFormatter;
use icu_decimal::input::{Decimal, SignDisplay};
use icu_plurals::{PluralCategory, PluralRules};
use serde_json::Value;

use super::{Arg, Call, Refusal, wrong};

/// The most fraction digits that can be asked for.
pub(super) const MAX_DIGITS: i16 = 8;

pub(super) const PLURAL_OPTIONS: &[&str] = &["zero", "one", "two", "few", "many", "other"];

/// `1234.5` as `1,234.5`, `1.234,5`, ...; `digits` sets how many fraction digits there are.
pub(super) fn number(call: &Call<'_>) -> Result<Value, Refusal> {
    let digits = call.option_count("digits", MAX_DIGITS)?;
    let Some(decimal) = decimal(call.param(0), digits)? else { return Ok(Value::Null) };
    Ok(format(call, &decimal)?.into())
}

/// The form of a word that fits the number: `{{plural n one="item" other="items"}}`.
pub(super) fn plural(call: &Call<'_>) -> Result<Value, Refusal> {
    let other = call
        .option("other")
        .ok_or_else(|| wrong("`other` is needed: the form for every number that has no form of its own"))?;
    let Some(decimal) = decimal(call.param(0), None)? else { return Ok(Value::Null) };
    let rules = PluralRules::try_new_cardinal(call.locale().into())
        .map_err(|_| wrong("the locale has no plural rules"))?;
    let name = match rules.category_for(&decimal) {
        PluralCategory::Zero => "zero",
        PluralCategory::One => "one",
        PluralCategory::Two => "two",
        PluralCategory::Few => "few",
        PluralCategory::Many => "many",
        PluralCategory::Other => "other",
    };
    Ok(call.option(name).unwrap_or(other).text()?.into_owned().into())
}

/// A number, or a text that is one, rounded half to even; `None` for null.
pub(super) fn decimal(arg: Arg<'_>, digits: Option<i16>) -> Result<Option<Decimal>, Refusal> {
    let parsed = match arg.required()? {
        Value::Null => return Ok(None),
        Value::Number(number) => Decimal::try_from_str(&number.to_string()),
        Value::String(text) => Decimal::try_from_str(text.trim()),
        _ => return Err(wrong(format!("{} is not a number", arg.label()))),
    };
    let mut decimal = parsed.map_err(|_| wrong(format!("{} is not a number", arg.label())))?;
    if let Some(digits) = digits {
        decimal.round(-digits);
        decimal.absolute.pad_end(-digits);
    }
    decimal.apply_sign_display(SignDisplay::Negative);
    Ok(Some(decimal))
}

/// Digits, grouping and signs of the recipient's locale.
pub(super) fn format(call: &Call<'_>, decimal: &Decimal) -> Result<String, Refusal> {
    let formatter = DecimalFormatter::try_new(call.locale().into(), Default::default())
        .map_err(|_| wrong("the locale has no number format"))?;
    Ok(formatter.format(decimal).to_string())
}

#[cfg(test)]
mod tests {
    use super::super::tests::eval;
    use serde_json::json;

    #[test]
    fn numbers_follow_the_locale() {
        let data = json!({"n": 1234567.891, "text": "1234.5", "big": 9007199254740993_i64, "null": null});
        for (expression, locale, answer) in [
            ("number n", "en-US", "1,234,567.891"),
            ("number n", "de_DE", "1.234.567,891"),
            ("number n", "zh-CN", "1,234,567.891"),
            ("number n digits=1", "en", "1,234,567.9"),
            ("number text digits=2", "de", "1.234,50"),
            ("number big", "en", "9,007,199,254,740,993"),
            ("number n digits=0", "not a locale", "1,234,568"),
            ("number null", "en", ""),
        ] {
            assert_eq!(
                eval(expression, data.clone(), locale, "UTC").unwrap(),
                answer,
                "{expression} {locale}"
            );
        }
        assert_eq!(
            eval("number x", json!({"x": "many"}), "en", "UTC").unwrap_err(),
            "number: `x` is not a number"
        );
        assert!(eval("number n digits=99", data, "en", "UTC").unwrap_err().contains("from 0 to 8"));
    }

    #[test]
    fn plural_forms_follow_the_language() {
        let forms = r#"plural n one="1 item" few="few items" other="items""#;
        for (n, locale, answer) in [
            (json!(1), "en", "1 item"),
            (json!(2), "en", "items"),
            (json!("1"), "en", "1 item"),
            (json!(1.5), "en", "items"),
            (json!(3), "ru", "few items"),
            (json!(1), "zh", "items"),
        ] {
            assert_eq!(eval(forms, json!({"n": n}), locale, "UTC").unwrap(), answer, "{n} {locale}");
        }
    }
}
