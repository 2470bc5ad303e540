//! Filters at work, for the checks of `crate::fuzzing`.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::connection::Connection;
use super::filter::{Person, Segment};
use super::migrate;
use crate::model::Filter;

thread_local! {
    static EMPTY: Connection = {
        let connection = Connection::in_memory();
        migrate::run(&connection).expect("the schema");
        connection
    };
}

/// Whether the filter holds of a person who never opened or clicked anything.
pub(crate) fn holds(filter: &Filter, attributes: &Map<String, Value>, tags: &[&str]) -> bool {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let person = Person { number: 1, attributes: attributes.clone(), tags };
    EMPTY.with(|connection| {
        let segment = Segment { connection, filter, instant: Timestamp::UNIX_EPOCH };
        segment.has(&person).expect("no statement fails")
    })
}
