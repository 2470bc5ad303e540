//! JSON as a value, with every key of an object standing once.
//!
//! RFC 8259 leaves open what a repeated key means, and programs differ: what one reads as the recipient's city another
//! never sees. So a repeated key is a problem with a path, like any other.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::contact::Problem;

/// The value in `text`.
///
/// # Errors
/// What is not JSON, at `$`; a key that stands twice in one object, at its path.
pub(super) fn read(text: &[u8]) -> Result<Value, Problem> {
    let mut twice = None;
    let mut json = serde_json::Deserializer::from_slice(text);
    let place = Place { path: &mut String::from("$"), twice: &mut twice };
    let read = place.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    let value = read.map_err(|error| Problem::new("$", format!("not JSON: {error}")))?;
    match twice {
        Some(path) => Err(Problem::new(path, "the key stands twice in its object: leave one out")),
        None => Ok(value),
    }
}

/// Where a value stands, and the first key that stood twice.
struct Place<'p> {
    path: &'p mut String,
    twice: &'p mut Option<String>,
}

impl Place<'_> {
    /// The place one step further in; the path is cut back to `length` before.
    fn at(&mut self, length: usize, step: fmt::Arguments<'_>) -> Place<'_> {
        self.path.truncate(length);
        // A String takes whatever is written.
        fmt::Write::write_fmt(self.path, step).unwrap_or_default();
        Place { path: self.path, twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let length = self.path.len();
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.at(length, format_args!("[{}]", list.len())))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let length = self.path.len();
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let place = self.at(length, format_args!(".{key}"));
            if place.twice.is_none() && object.contains_key(&key) {
                *place.twice = Some(place.path.clone());
            }
            let value = entries.next_value_seed(place)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_repeated_key_is_told_by_its_path() {
        assert_eq!(problem(r#"{"a": 1, "a": 1}"#), "$.a: the key stands twice in its object: leave one out");
        let nested = r#"{"data": {"x": 1}, "to": [{"x": 1}, {"x": {"y": [], "z": 2, "y": 3}}]}"#;
        assert!(problem(nested).starts_with("$.to[1].x.y: "), "{}", problem(nested));
        assert!(problem(r#"{"a": 1, "\u0061": 2}"#).starts_with("$.a: "), "however it is spelled");
        assert!(problem(r#"[{"a": {"b": 1, "b": 2}}, {"c": 1, "c": 2}]"#).starts_with("$[0].a.b: "));
        assert!(problem(r#"{"a": 1, "a": "#).starts_with("$: not JSON: "));
        assert!(problem("{} {}").starts_with("$: not JSON: trailing"));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in value()) {
            prop_assert_eq!(read(value.to_string().as_bytes()), Ok(value));
        }

        #[test]
        fn any_text_is_read_as_serde_json_reads_it(text in r#"([\[\]{}:,"\\ae01.-]|null|true|\\u00e9|"a":|"b":){0,30}"#) {
            match (read(text.as_bytes()), serde_json::from_str::<Value>(&text)) {
                (Ok(ours), theirs) => prop_assert_eq!(Some(ours), theirs.ok()),
                (Err(problem), Ok(_)) => prop_assert!(problem.message.contains("twice")),
                (Err(problem), Err(_)) => prop_assert!(problem.message.contains("not JSON")),
            }
        }
    }
}
