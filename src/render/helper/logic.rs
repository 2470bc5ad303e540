//! Fallbacks and comparisons, for use in `{{#if (...)}}`.
//!
//! Comparing never fails: with something missing or of another type the answer is no, as in an audience's filter.

use std::cmp::Ordering;

use handlebars::JsonTruthy as _;
use serde_json::Value;

use super::{Call, Refusal, wrong};

/// The first argument unless it is missing, null or empty text; else the second.
pub(super) fn default(call: &Call<'_>) -> Result<Value, Refusal> {
    match call.param(0).value {
        None | Some(Value::Null) => call.param(1).required().cloned(),
        Some(Value::String(text)) if text.is_empty() => call.param(1).required().cloned(),
        Some(value) => Ok(value.clone()),
    }
}

pub(super) fn eq(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(equal(call).into())
}

pub(super) fn ne(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok((!equal(call)).into())
}

pub(super) fn gt(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(order(call).is_some_and(Ordering::is_gt).into())
}

pub(super) fn gte(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(order(call).is_some_and(Ordering::is_ge).into())
}

pub(super) fn lt(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(order(call).is_some_and(Ordering::is_lt).into())
}

pub(super) fn lte(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(order(call).is_some_and(Ordering::is_le).into())
}

pub(super) fn and(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(call.params.iter().all(|arg| truthy(arg.value)).into())
}

pub(super) fn or(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(call.params.iter().any(|arg| truthy(arg.value)).into())
}

pub(super) fn not(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok((!truthy(call.param(0).value)).into())
}

/// Entries of a list or object, characters of a text.
pub(super) fn len(call: &Call<'_>) -> Result<Value, Refusal> {
    match call.param(0).required()? {
        Value::Array(list) => Ok(list.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        Value::String(text) => Ok(text.chars().count().into()),
        _ => Err(wrong("only lists, objects and texts have a length")),
    }
}

fn truthy(value: Option<&Value>) -> bool {
    value.is_some_and(|value| value.is_truthy(false))
}

fn equal(call: &Call<'_>) -> bool {
    match (call.param(0).value, call.param(1).value) {
        (Some(Value::Number(_)), Some(Value::Number(_))) => order(call) == Some(Ordering::Equal),
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

fn order(call: &Call<'_>) -> Option<Ordering> {
    match (call.param(0).value?, call.param(1).value?) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{english, eval};
    use serde_json::json;

    #[test]
    fn a_fallback_stands_in_for_what_is_missing_null_or_empty() {
        for data in [json!({}), json!({"name": null}), json!({"name": ""})] {
            assert_eq!(english(r#"default name "friend""#, data), "friend");
        }
        assert_eq!(english(r#"default name "friend""#, json!({"name": "Ada"})), "Ada");
        assert_eq!(english(r#"default points 5"#, json!({"points": 0})), "0");
        assert_eq!(
            eval("default name nick", json!({}), "en", "UTC").unwrap_err(),
            "Failed to access variable in strict mode Some(\"nick\")"
        );
    }

    #[test]
    fn comparisons_never_fail_and_never_coerce() {
        let data = json!({"n": 5, "f": 5.0, "s": "5", "a": "abc", "t": true, "zero": 0});
        for (expression, answer) in [
            ("eq n 5", "true"),
            ("eq n f", "true"),
            ("eq n s", "false"),
            ("eq missing 5", "false"),
            ("ne missing 5", "true"),
            ("gt n 4", "true"),
            ("gte n f", "true"),
            ("lt n 4.5", "false"),
            ("lte n missing", "false"),
            ("gt a \"abb\"", "true"),
            ("gt a 1", "false"),
            ("and t n", "true"),
            ("and t missing", "false"),
            ("or missing zero", "false"),
            ("or missing t", "true"),
            ("not missing", "true"),
            ("len a", "3"),
        ] {
            assert_eq!(english(expression, data.clone()), answer, "{expression}");
        }
    }
}
