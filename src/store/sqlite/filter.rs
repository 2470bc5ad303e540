//! FILTER on SQLite: judged here, contact by contact, since SQL would coerce what it compares. Looks into the store only
//! for what a contact did.

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};
use rusqlite::params;
use serde_json::{Map, Number, Value};

use super::connection::Connection;
use crate::model::filter::{Engaged, Filter, LastEvent, Order, Span, Test};
use crate::store::Result;

/// What a filter looks at.
pub(super) struct Person {
    pub(super) number: i64,
    pub(super) attributes: Map<String, Value>,
    pub(super) tags: Vec<String>,
}

/// A filter at work.
pub(super) struct Segment<'a> {
    pub(super) connection: &'a Connection,
    pub(super) filter: &'a Filter,
    /// When planning started: what spans count back from.
    pub(super) instant: Timestamp,
}

impl Segment<'_> {
    pub(super) fn has(&self, person: &Person) -> Result<bool> {
        self.holds(self.filter, person)
    }

    fn holds(&self, filter: &Filter, person: &Person) -> Result<bool> {
        Ok(match filter {
            Filter::All(parts) => {
                for part in parts {
                    if !self.holds(part, person)? {
                        return Ok(false);
                    }
                }
                true
            }
            Filter::Any(parts) => {
                for part in parts {
                    if self.holds(part, person)? {
                        return Ok(true);
                    }
                }
                false
            }
            Filter::Not(part) => !self.holds(part, person)?,
            Filter::Tag(tag) => person.tags.contains(tag),
            Filter::Attribute { name, test } => passes(test, person.attributes.get(name)),
            Filter::Opened(engaged) => self.engaged(engaged, person, OPENED)?,
            Filter::Clicked(engaged) => self.engaged(engaged, person, CLICKED)?,
            Filter::LastEvent(when) => match (self.last(person, OPENED.last)?, when) {
                (Some(last), LastEvent::Before(at)) => last < at.as_microsecond(),
                (Some(last), LastEvent::After(at)) => last > at.as_microsecond(),
                (None, _) => false,
            },
        })
    }

    fn engaged(&self, engaged: &Engaged, person: &Person, what: What) -> Result<bool> {
        match engaged {
            Engaged::Campaign(id) => {
                Ok(self.connection.prepare_cached(what.in_campaign)?.exists(params![id, person.number])?)
            }
            Engaged::Within(Span(seconds)) => {
                let span = SignedDuration::from_secs(*seconds);
                let since = self.instant.saturating_sub(span).unwrap_or(Timestamp::MIN);
                Ok(self.last(person, what.last)?.is_some_and(|last| last >= since.as_microsecond()))
            }
        }
    }

    /// In microseconds.
    fn last(&self, person: &Person, sql: &str) -> Result<Option<i64>> {
        let mut last = self.connection.prepare_cached(sql)?;
        let mut rows = last.query([person.number])?;
        Ok(match rows.next()? {
            Some(row) => row.get(0)?,
            None => None,
        })
    }
}

/// How the store knows that a contact opened or clicked.
#[derive(Clone, Copy)]
struct What {
    in_campaign: &'static str,
    last: &'static str,
}

/// Whoever clicked has opened.
const OPENED: What = What {
    in_campaign: "SELECT 1 FROM campaigns k JOIN engagement e ON e.campaign = k.number
        WHERE k.id = ?1 AND e.contact = ?2 AND (e.first_open_at IS NOT NULL OR e.first_click_at IS NOT NULL)",
    last: "SELECT max(coalesce(last_open_at, last_click_at), coalesce(last_click_at, last_open_at))
        FROM contact_engagement WHERE contact = ?1",
};
const CLICKED: What = What {
    in_campaign: "SELECT 1 FROM campaigns k JOIN engagement e ON e.campaign = k.number
        WHERE k.id = ?1 AND e.contact = ?2 AND e.first_click_at IS NOT NULL",
    last: "SELECT last_click_at FROM contact_engagement WHERE contact = ?1",
};

fn passes(test: &Test, value: Option<&Value>) -> bool {
    let Some(value) = value else { return *test == Test::Exists(false) };
    match test {
        Test::Eq(wanted) => same(value, wanted),
        Test::Ne(other) => !same(value, other),
        Test::In(wanted) => wanted.iter().any(|wanted| same(value, wanted)),
        Test::Exists(flag) => *flag,
        Test::Order(order, bound) => {
            let ordering = match (value, bound) {
                (Value::Number(value), Value::Number(bound)) => Some(compare(value, bound)),
                (Value::String(value), Value::String(bound)) => Some(value.cmp(bound)),
                _ => None,
            };
            ordering.is_some_and(|ordering| match order {
                Order::Gt => ordering.is_gt(),
                Order::Gte => ordering.is_ge(),
                Order::Lt => ordering.is_lt(),
                Order::Lte => ordering.is_le(),
            })
        }
        Test::Contains(wanted) => match (value, wanted) {
            (Value::Array(elements), wanted) => elements.iter().any(|element| same(element, wanted)),
            (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
            _ => false,
        },
    }
}

/// Whether two values are one; 5 and 5.0 are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare(one, other).is_eq(),
        _ => one == other,
    }
}

/// By value, exactly: also where a double cannot tell two integers apart.
fn compare(one: &Number, other: &Number) -> Ordering {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(whole), None) => compare_whole(whole, double(other)),
        (None, Some(whole)) => compare_whole(whole, double(one)).reverse(),
        (None, None) => compare_doubles(double(one), double(other)),
    }
}

fn double(number: &Number) -> f64 {
    number.as_f64().unwrap_or_default()
}

/// JSON has no NaN, so any two have an order.
fn compare_doubles(one: f64, other: f64) -> Ordering {
    one.partial_cmp(&other).unwrap_or(Ordering::Equal)
}

#[expect(clippy::cast_possible_truncation, reason = "the double equals a 64-bit integer, so nothing is cut")]
fn compare_whole(whole: i128, double: f64) -> Ordering {
    match compare_doubles(whole as f64, double) {
        Ordering::Equal => whole.cmp(&(double as i128)),
        unequal => unequal,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn number(value: &Value) -> &Number {
        value.as_number().unwrap()
    }

    #[test]
    fn integers_that_no_double_tells_apart_differ() {
        let (big, bigger) = (json!(9_007_199_254_740_992_i64), json!(9_007_199_254_740_993_i64));
        let double = json!(9_007_199_254_740_992.0);
        assert!(!same(&big, &bigger) && same(&big, &double) && !same(&bigger, &double));
        assert_eq!(compare(number(&double), number(&bigger)), Ordering::Less);
        assert!(same(&json!(0), &json!(-0.0)) && same(&json!(u64::MAX), &json!(u64::MAX)));
    }

    proptest::proptest! {
        #[test]
        fn numbers_have_one_order(whole: i64, half in -1e19..1e19_f64) {
            let (one, other) = (json!(whole), json!(half));
            let order = compare(number(&one), number(&other));
            proptest::prop_assert_eq!(order.reverse(), compare(number(&other), number(&one)));
            proptest::prop_assert_eq!(compare(number(&one), number(&one)), Ordering::Equal);
            let near = json!(whole as f64 / 2.0);
            proptest::prop_assert_eq!(compare(number(&one), number(&near)).is_gt(), whole > 0);
        }

        #[test]
        fn a_test_and_its_opposite_share_those_who_have_the_attribute(value: i32, bound: i32) {
            let (value, bound) = (json!(value), json!(bound));
            for (test, opposite) in [
                (Test::Eq(bound.clone()), Test::Ne(bound.clone())),
                (Test::Order(Order::Lt, bound.clone()), Test::Order(Order::Gte, bound.clone())),
                (Test::Order(Order::Gt, bound.clone()), Test::Order(Order::Lte, bound.clone())),
                (Test::Exists(true), Test::Exists(false)),
            ] {
                proptest::prop_assert_ne!(passes(&test, Some(&value)), passes(&opposite, Some(&value)));
            }
        }
    }

    #[test]
    fn what_is_absent_passes_no_comparison() {
        for test in [
            Test::Eq(json!(1)),
            Test::Ne(json!(1)),
            Test::In(vec![json!(1)]),
            Test::Contains(json!("")),
            Test::Exists(true),
        ] {
            assert!(!passes(&test, None), "{test:?}");
        }
        assert!(passes(&Test::Exists(false), None));
    }
}
