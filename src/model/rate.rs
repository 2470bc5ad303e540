//! Rates as people write them: `500/s`, `30000/h`, or a list of which each must hold.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `count` messages per `period`. SMS counts segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    pub count: u32,
    pub period: Period,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

impl Period {
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Period::Second => 1,
            Period::Minute => 60,
            Period::Hour => 3_600,
            Period::Day => 86_400,
        })
    }

    fn letter(self) -> char {
        match self {
            Period::Second => 's',
            Period::Minute => 'm',
            Period::Hour => 'h',
            Period::Day => 'd',
        }
    }
}

impl Rate {
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / self.period.duration().as_secs_f64()
    }

    /// A tenth of a second's worth, at least 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a u32 count over ten fits")]
    pub fn default_burst(self) -> u32 {
        ((self.per_second() / 10.0) as u32).max(1)
    }
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = || format!("`{text}` is not a rate: write N/s, N/m, N/h or N/d, as in `500/s`");
        let (count, period) = text.trim().split_once('/').ok_or_else(explain)?;
        let count = count.trim().parse().map_err(|_| explain())?;
        if count == 0 {
            return Err(format!("`{text}` lets nothing through; pause the campaign or leave the rate out"));
        }
        let period = match period.trim() {
            "s" => Period::Second,
            "m" => Period::Minute,
            "h" => Period::Hour,
            "d" => Period::Day,
            _ => return Err(explain()),
        };
        Ok(Rate { count, period })
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.count, self.period.letter())
    }
}

/// One rate or a list of them; empty means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rates(pub Vec<Rate>);

impl Rates {
    /// The rate that lets the least through over a long time.
    pub fn narrowest(&self) -> Option<Rate> {
        self.0.iter().copied().min_by(|a, b| a.per_second().total_cmp(&b.per_second()))
    }
}

impl std::fmt::Display for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.0.iter().map(Rate::to_string).collect();
        f.write_str(&words.join(", "))
    }
}

impl Serialize for Rates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Rate::to_string))
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Rates;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a rate such as \"500/s\", or a list of rates")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Rates, E> {
                text.parse().map(|rate| Rates(vec![rate])).map_err(E::custom)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Rates, A::Error> {
                let mut rates = Vec::new();
                while let Some(text) = seq.next_element::<String>()? {
                    rates.push(text.parse().map_err(serde::de::Error::custom)?);
                }
                Ok(Rates(rates))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Rates {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rates".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "N/s, N/m, N/h or N/d, or a list of which each must hold",
            "anyOf": [
                {"type": "string", "pattern": "^[1-9][0-9]*/[smhd]$"},
                {"type": "array", "items": {"type": "string", "pattern": "^[1-9][0-9]*/[smhd]$"}}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        let rates: Rates = serde_json::from_str(r#"["100/s", "500000/d"]"#).unwrap();
        assert_eq!(rates.narrowest().unwrap().to_string(), "500000/d");
        assert_eq!(serde_json::from_str::<Rates>(r#""50/s""#).unwrap().to_string(), "50/s");
        for bad in ["0/s", "5", "5/x", "-1/s", "1.5/s", ""] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn burst_is_a_tenth_of_a_second() {
        assert_eq!("50/s".parse::<Rate>().unwrap().default_burst(), 5);
        assert_eq!("600/h".parse::<Rate>().unwrap().default_burst(), 1);
    }

    proptest! {
        #[test]
        fn text_round_trips(count in 1u32.., letter in "[smhd]") {
            let text = format!("{count}/{letter}");
            prop_assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }
}
