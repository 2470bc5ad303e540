//! As much of JSON Schema as the API's document uses; a field that no schema names is a fault.

use serde_json::Value;

/// What is wrong with `value`, with its place; nothing where it is as `schema` says.
pub(super) fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        let target = document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"));
        return faults(document, target, value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let fits = choices.iter().any(|choice| faults(document, choice, value, at).is_empty());
        return if fits { Vec::new() } else { vec![format!("{at}: {value} fits none of {choices:?}")] };
    }
    let mut found = Vec::new();
    if schema["type"].as_str().is_some_and(|name| !is_a(name, value)) {
        return vec![format!("{at}: {value} is no {}", schema["type"])];
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value))
        || schema.get("const").is_some_and(|word| word != value)
    {
        found.push(format!("{at}: {value} is not in the list"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(document, &schema["items"], item, &format!("{at}[{index}]")));
    }
    if let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                found.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, field) in fields {
            match properties.get(name) {
                Some(schema) => found.extend(faults(document, schema, field, &format!("{at}.{name}"))),
                None => found.push(format!("{at}: `{name}` is not in the document")),
            }
        }
    }
    found
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("`{other}` is no type of JSON Schema"),
    }
}
