//! Texts: case, shortening, joining, URL encoding.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Arg, Call, Refusal, wrong};

/// The unreserved characters of RFC 3986, section 2.3, stay as they are.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn upper(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(call.param(0).text()?.to_uppercase().into())
}

pub(super) fn lower(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(call.param(0).text()?.to_lowercase().into())
}

/// At most so many characters, the end mark (`…` unless said otherwise) included.
pub(super) fn truncate(call: &Call<'_>) -> Result<Value, Refusal> {
    let end = call.option_text("end")?;
    let end = end.as_deref().unwrap_or("…");
    let limit = call.param(1).required()?.as_u64().and_then(|limit| usize::try_from(limit).ok());
    let limit =
        limit.filter(|limit| *limit > 0).ok_or_else(|| wrong("the length is a whole number from 1"))?;
    let text = call.param(0).text()?;
    if text.chars().count() <= limit {
        return Ok(text.into_owned().into());
    }
    let kept: String = text.chars().take(limit.saturating_sub(end.chars().count())).collect();
    Ok(format!("{}{end}", kept.trim_end()).into())
}

/// The entries of a list with a separator (`, ` unless said otherwise) between.
pub(super) fn join(call: &Call<'_>) -> Result<Value, Refusal> {
    let separator = if call.params.len() > 1 { call.param(1).text()? } else { ", ".into() };
    let Value::Array(list) = call.param(0).required()? else {
        return Err(wrong(format!("{} is not a list", call.param(0).label())));
    };
    let texts: Result<Vec<_>, _> = list
        .iter()
        .map(|entry| Arg { path: Some("an entry of the list"), value: Some(entry) }.text())
        .collect();
    Ok(texts?.join(&separator).into())
}

pub(super) fn url_encode(call: &Call<'_>) -> Result<Value, Refusal> {
    Ok(utf8_percent_encode(&call.param(0).text()?, RESERVED).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{english, eval};
    use serde_json::json;

    #[test]
    fn texts() {
        let data = json!({"name": "Zoë Straße", "long": "春天的第一场大促销", "list": ["a", 2, true], "q": "a b&c=上", "n": 12.5});
        for (expression, answer) in [
            ("upper name", "ZOË STRASSE"),
            ("lower name", "zoë straße"),
            ("lower n", "12.5"),
            ("truncate long 5", "春天的第…"),
            ("truncate long 9", "春天的第一场大促销"),
            ("truncate name 6 end=\"...\"", "Zoë..."),
            ("truncate name 5", "Zoë…"),
            ("join list", "a, 2, true"),
            ("join list \"/\"", "a/2/true"),
            ("url_encode q", "a%20b%26c%3D%E4%B8%8A"),
        ] {
            assert_eq!(english(expression, data.clone()), answer, "{expression}");
        }
    }

    #[test]
    fn errors_name_the_variable_and_never_show_its_value() {
        let error =
            |expression| eval(expression, json!({"secret": {"a": "x@y"}, "n": 1}), "en", "UTC").unwrap_err();
        assert_eq!(error("upper secret"), "upper: `secret` is a list or an object where text is needed");
        assert_eq!(error("join n"), "join: `n` is not a list");
        assert_eq!(error("upper missing"), "Failed to access variable in strict mode Some(\"missing\")");
        assert_eq!(error("truncate n 0"), "truncate: the length is a whole number from 1");
    }
}
