//! Jobs and the filters in them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::model::filter::{Filter, Test};
use crate::model::job::{Audience, InvalidJob};
use crate::model::{Job, job};
use crate::store::{postgres, sqlite};

/// A body is refused with paths, or is a job that reads the same once we have written it.
pub(super) fn job(input: &[u8]) {
    let read = match Job::read(input) {
        Ok(read) => read,
        Err(InvalidJob(problems)) => {
            assert!((1..=100).contains(&problems.len()), "{} problems", problems.len());
            for problem in problems {
                assert!(problem.path.starts_with('$') && !problem.message.is_empty(), "{problem}");
            }
            return;
        }
    };
    let written = serde_json::to_vec(&read.job).expect("a job is JSON");
    assert_eq!(Job::read(&written).expect("what was written").job, read.job);
    let value: Value = serde_json::from_slice(input).expect("a job is JSON");
    let otherwise = serde_json::to_vec_pretty(&value).expect("JSON");
    let again = Job::read(&otherwise).expect("the same content");
    assert_eq!(again.content_hash, read.content_hash, "white space and the order of keys do not count");
}

/// A filter is refused with its path, or means the same once stored, binds every value and negates plainly.
pub(super) fn filter(input: &[u8]) {
    let Ok(segment) = serde_json::from_slice::<Value>(input) else { return };
    let body = json!({"type": "campaign", "id": "c", "channel": "email", "purpose": "service", "template": "t",
        "audience": {"segment": segment}});
    let filter = match Job::read(body.to_string().as_bytes()) {
        Ok(job::ReadJob { job: Job::Campaign(campaign), .. }) => match campaign.audience {
            Audience::Segment(filter) => filter,
            other => panic!("{other:?}"),
        },
        Ok(other) => panic!("{other:?}"),
        Err(InvalidJob(problems)) => {
            for problem in problems {
                let too_deep = problem.message.contains("recursion limit");
                assert!(problem.path.starts_with("$.audience") || too_deep, "{problem}");
            }
            return;
        }
    };
    let stored = serde_json::to_string(&filter).expect("a filter is JSON");
    assert_eq!(serde_json::from_str::<Filter>(&stored).expect("what was stored"), filter);

    let (sql, parameters) = postgres::fuzzing::compiled(&filter, Timestamp::UNIX_EPOCH);
    let mut bound: Vec<usize> = sql.split('$').skip(1).map(number_at_front).collect();
    bound.sort_unstable();
    bound.dedup();
    assert!(bound.into_iter().eq(1..=parameters), "each of {parameters} parameters stands in: {sql}");
    // Whatever the values are, the statement is the same: nothing of them is in it.
    assert_eq!(sql, postgres::fuzzing::compiled(&blind(&filter), Timestamp::UNIX_EPOCH).0);

    let negated = Filter::Not(Box::new(filter.clone()));
    for attributes in people() {
        let holds = |filter: &Filter| sqlite::fuzzing::holds(filter, &attributes, &["vip", ""]);
        assert_ne!(holds(&filter), holds(&negated), "{stored} of {attributes:?}");
    }
}

fn number_at_front(text: &str) -> usize {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a parameter has a number")
}

/// The filter with every value replaced by one of its type.
fn blind(filter: &Filter) -> Filter {
    let all = |parts: &[Filter]| parts.iter().map(blind).collect();
    match filter {
        Filter::All(parts) => Filter::All(all(parts)),
        Filter::Any(parts) => Filter::Any(all(parts)),
        Filter::Not(part) => Filter::Not(Box::new(blind(part))),
        Filter::Tag(_) => Filter::Tag("x".to_owned()),
        Filter::Attribute { test, .. } => Filter::Attribute { name: "x".to_owned(), test: blind_test(test) },
        engaged => engaged.clone(),
    }
}

fn blind_test(test: &Test) -> Test {
    let value = |value: &Value| match value {
        Value::String(_) => "x".into(),
        Value::Number(_) => 0.into(),
        other => other.clone(),
    };
    match test {
        Test::Eq(wanted) => Test::Eq(value(wanted)),
        Test::Ne(other) => Test::Ne(value(other)),
        Test::In(_) => Test::In(Vec::new()),
        Test::Order(order, bound) => Test::Order(*order, value(bound)),
        Test::Exists(_) => Test::Exists(true),
        Test::Contains(wanted) => Test::Contains(value(wanted)),
    }
}

fn people() -> [Map<String, Value>; 3] {
    [
        json!({}),
        json!({"city": "上海", "a": 1, "b": [1, "x", null], "": "", "c": true}),
        json!({"city": "Berlin", "a": -1.5e300, "b": "text", "c": null, "points": 18_446_744_073_709_551_615_u64}),
    ]
    .map(|attributes| attributes.as_object().cloned().unwrap_or_default())
}
