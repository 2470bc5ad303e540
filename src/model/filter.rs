//! FILTER of the contract: which contacts a segment names. Parsed with limits; the store compiles it to SQL.
//!
//! A comparison with an absent attribute is false, `not` is plain negation, types never coerce.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Deeper filters are refused: nobody writes them by hand, and each level costs the planner.
pub const MAX_DEPTH: usize = 16;
/// All conditions of one filter together.
pub const MAX_CONDITIONS: usize = 500;

#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Tag(String),
    Attribute { name: String, test: Test },
    Opened(Engaged),
    Clicked(Engaged),
    LastEvent(LastEvent),
}

/// One comparison of an attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Eq(Value),
    Ne(Value),
    In(Vec<Value>),
    /// Numbers with numbers, texts with texts; anything else is false.
    Order(Order, Value),
    Exists(bool),
    /// A text that contains this text, or a list that has this element.
    Contains(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Gt,
    Gte,
    Lt,
    Lte,
}

/// Whether the contact, as a person, opened or clicked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Engaged {
    /// In the campaign with this id.
    Campaign(String),
    /// In any campaign within this span before planning, as `30d`.
    Within(Span),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LastEvent {
    #[serde(deserialize_with = "super::instant::deserialize")]
    Before(#[schemars(with = "String")] Timestamp),
    #[serde(deserialize_with = "super::instant::deserialize")]
    After(#[schemars(with = "String")] Timestamp),
}

const LONGEST_SPAN: i64 = 100 * 366 * 86_400;

/// A span as `45s`, `20m`, `12h`, `30d`, `4w`; kept in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub i64);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = || format!("`{text}` is no span: write a number and s, m, h, d or w, as in `30d`");
        let unit = text.chars().last().ok_or_else(explain)?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(explain()),
        };
        let digits =
            text.strip_suffix(unit).filter(|n| n.bytes().all(|b| b.is_ascii_digit())).ok_or_else(explain)?;
        let count: i64 = digits.parse().map_err(|_| explain())?;
        match count.checked_mul(factor) {
            Some(seconds) if seconds <= LONGEST_SPAN => Ok(Span(seconds)),
            _ => Err(format!("`{text}` is longer than 100 years")),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}s", self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9]+[smhdw]$", "examples": ["30d"]})
    }
}

impl Filter {
    /// Whether the filter stays within the limits.
    ///
    /// # Errors
    /// Says which limit it breaks.
    pub fn check(&self) -> Result<(), String> {
        let (depth, conditions) = self.size();
        if depth > MAX_DEPTH {
            return Err(format!("a filter nests at most {MAX_DEPTH} levels, this one {depth}"));
        }
        if conditions > MAX_CONDITIONS {
            return Err(format!("a filter has at most {MAX_CONDITIONS} conditions, this one {conditions}"));
        }
        Ok(())
    }

    fn size(&self) -> (usize, usize) {
        match self {
            Filter::All(parts) | Filter::Any(parts) => {
                let sizes = parts.iter().map(Filter::size);
                let (depth, conditions) =
                    sizes.fold((0, 0), |(d, c), (depth, count)| (d.max(depth), c + count));
                (depth + 1, conditions + 1)
            }
            Filter::Not(part) => {
                let (depth, conditions) = part.size();
                (depth + 1, conditions + 1)
            }
            _ => (1, 1),
        }
    }
}

const KEYS: &[&str] = &["all", "any", "not", "tag", "attribute", "opened", "clicked", "last_event"];
const TESTS: &[&str] = &["eq", "ne", "in", "gt", "gte", "lt", "lte", "exists", "contains"];

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FilterVisitor;
        impl<'de> Visitor<'de> for FilterVisitor {
            type Value = Filter;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a condition: an object with one of {}", KEYS.join(", "))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Filter, A::Error> {
                read_condition(map)
            }
        }
        deserializer.deserialize_map(FilterVisitor)
    }
}

/// Reads key by key, so that an error's path leads to the very value.
fn read_condition<'de, A: MapAccess<'de>>(mut map: A) -> Result<Filter, A::Error> {
    let mut filter = None;
    let mut attribute = None;
    let mut test = None;
    while let Some(key) = map.next_key::<String>()? {
        let key = key.as_str();
        if TESTS.contains(&key) {
            if test.replace(read_test(key, &mut map)?).is_some() {
                return Err(A::Error::custom(
                    "an attribute is compared once; join two comparisons with `all`",
                ));
            }
            continue;
        }
        let read = match key {
            "all" => Filter::All(map.next_value()?),
            "any" => Filter::Any(map.next_value()?),
            "not" => Filter::Not(map.next_value()?),
            "tag" => Filter::Tag(map.next_value()?),
            "opened" => Filter::Opened(map.next_value()?),
            "clicked" => Filter::Clicked(map.next_value()?),
            "last_event" => Filter::LastEvent(map.next_value()?),
            "attribute" => {
                attribute = Some(map.next_value::<String>()?);
                continue;
            }
            _ => return Err(A::Error::unknown_field(key, KEYS)),
        };
        if filter.replace(read).is_some() {
            return Err(A::Error::custom("one object holds one condition; join several with `all` or `any`"));
        }
    }
    match (filter, attribute, test) {
        (Some(filter), None, None) => Ok(filter),
        (None, Some(name), Some(test)) => Ok(Filter::Attribute { name, test }),
        (None, Some(_), None) => {
            Err(A::Error::custom(format!("an attribute needs one of {}", TESTS.join(", "))))
        }
        (None, None, None) => Err(A::Error::custom(format!("empty condition: one of {}", KEYS.join(", ")))),
        (None, None, Some(_)) => Err(A::Error::missing_field("attribute")),
        (Some(_), ..) => {
            Err(A::Error::custom("one object holds one condition; join several with `all` or `any`"))
        }
    }
}

fn read_test<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Test, A::Error> {
    Ok(match key {
        "eq" => Test::Eq(map.next_value::<Scalar>()?.0),
        "ne" => Test::Ne(map.next_value::<Scalar>()?.0),
        "in" => Test::In(map.next_value::<Vec<Scalar>>()?.into_iter().map(|scalar| scalar.0).collect()),
        "exists" => Test::Exists(map.next_value()?),
        "contains" => Test::Contains(map.next_value::<Scalar>()?.0),
        "gt" => Test::Order(Order::Gt, map.next_value::<Ordered>()?.0),
        "gte" => Test::Order(Order::Gte, map.next_value::<Ordered>()?.0),
        "lt" => Test::Order(Order::Lt, map.next_value::<Ordered>()?.0),
        _ => Test::Order(Order::Lte, map.next_value::<Ordered>()?.0),
    })
}

/// What attributes are compared with.
struct Scalar(Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(_) | Value::Array(_) | Value::Null => Err(D::Error::invalid_type(
                Unexpected::Other("this value"),
                &"a text, a number, true or false",
            )),
            value => Ok(Scalar(value)),
        }
    }
}

/// What has an order.
struct Ordered(Value);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            value @ (Value::Number(_) | Value::String(_)) => Ok(Ordered(value)),
            _ => Err(D::Error::invalid_type(Unexpected::Other("this value"), &"a number or a text")),
        }
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Filter::All(parts) => map.serialize_entry("all", parts)?,
            Filter::Any(parts) => map.serialize_entry("any", parts)?,
            Filter::Not(part) => map.serialize_entry("not", part)?,
            Filter::Tag(tag) => map.serialize_entry("tag", tag)?,
            Filter::Opened(engaged) => map.serialize_entry("opened", engaged)?,
            Filter::Clicked(engaged) => map.serialize_entry("clicked", engaged)?,
            Filter::LastEvent(when) => map.serialize_entry("last_event", when)?,
            Filter::Attribute { name, test } => {
                map.serialize_entry("attribute", name)?;
                match test {
                    Test::Eq(value) => map.serialize_entry("eq", value)?,
                    Test::Ne(value) => map.serialize_entry("ne", value)?,
                    Test::In(values) => map.serialize_entry("in", values)?,
                    Test::Exists(flag) => map.serialize_entry("exists", flag)?,
                    Test::Contains(value) => map.serialize_entry("contains", value)?,
                    Test::Order(order, value) => map.serialize_entry(order.as_str(), value)?,
                }
            }
        }
        map.end()
    }
}

impl Order {
    pub fn as_str(self) -> &'static str {
        match self {
            Order::Gt => "gt",
            Order::Gte => "gte",
            Order::Lt => "lt",
            Order::Lte => "lte",
        }
    }
}

impl JsonSchema for Filter {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Filter".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let nested = generator.subschema_for::<Vec<Filter>>();
        let one = generator.subschema_for::<Filter>();
        let engaged = generator.subschema_for::<Engaged>();
        let last_event = generator.subschema_for::<LastEvent>();
        let scalar = serde_json::json!({"type": ["string", "number", "boolean"]});
        let ordered = serde_json::json!({"type": ["string", "number"]});
        let only = |key: &str, schema: serde_json::Value| serde_json::json!({"type": "object", "properties": {key: schema}, "required": [key], "additionalProperties": false});
        let compare = |key: &str, schema: &serde_json::Value| serde_json::json!({"type": "object", "properties": {"attribute": {"type": "string"}, key: schema}, "required": ["attribute", key], "additionalProperties": false});
        schemars::json_schema!({"anyOf": [
            only("all", nested.clone().into()), only("any", nested.into()), only("not", one.into()),
            only("tag", serde_json::json!({"type": "string"})),
            only("opened", engaged.clone().into()), only("clicked", engaged.into()), only("last_event", last_event.into()),
            compare("eq", &scalar), compare("ne", &scalar), compare("contains", &scalar),
            compare("in", &serde_json::json!({"type": "array", "items": scalar})),
            compare("exists", &serde_json::json!({"type": "boolean"})),
            compare("gt", &ordered), compare("gte", &ordered), compare("lt", &ordered), compare("lte", &ordered)
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Filter, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_the_contracts_example_in_any_key_order() {
        let filter =
            read(r#"{"all": [{"tag": "vip"}, {"in": ["上海", "Berlin"], "attribute": "city"}]}"#).unwrap();
        let Filter::All(parts) = &filter else { panic!("{filter:?}") };
        assert_eq!(parts[0], Filter::Tag("vip".into()));
        assert_eq!(
            serde_json::to_value(&parts[1]).unwrap(),
            serde_json::json!({"attribute": "city", "in": ["上海", "Berlin"]})
        );
    }

    #[test]
    fn errors_lead_to_the_value() {
        let cases = [
            (r#"{"all": [{"tag": 5}]}"#, "all[0].tag"),
            (r#"{"not": {"any": [{"attribute": "a", "gt": true}]}}"#, "not.any[0].gt"),
            (r#"{"opened": {"within": "30y"}}"#, "opened.within"),
            (r#"{"tga": "vip"}"#, "unknown field `tga`"),
            (r#"{"tag": "a", "any": []}"#, "one condition"),
            (r#"{"attribute": "a"}"#, "needs one of eq"),
        ];
        for (json, expected) in cases {
            let error = read(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn spans_survive_being_stored(count in 0u32..40_000, unit in "[smhdw]") {
            if let Ok(span) = format!("{count}{unit}").parse::<Span>() {
                let stored = serde_json::to_string(&span).unwrap();
                proptest::prop_assert_eq!(serde_json::from_str::<Span>(&stored).unwrap(), span);
            }
        }
    }

    #[test]
    fn what_no_store_can_hold_is_refused() {
        assert!(read(r#"{"opened": {"within": "5000000d"}}"#).unwrap_err().contains("100 years"));
        assert!(
            read(r#"{"last_event": {"before": "-009000-01-01T00:00:00Z"}}"#).unwrap_err().contains("1900")
        );
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = (0..20).fold(Filter::Tag("t".into()), |inner, _| Filter::Not(Box::new(inner)));
        assert!(deep.check().unwrap_err().contains("levels"));
        let wide = Filter::Any(vec![Filter::Tag("t".into()); 600]);
        assert!(wide.check().unwrap_err().contains("conditions"));
    }
}
