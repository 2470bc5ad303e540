//! Statements that run for every message or receipt find their rows by key, however large the tables are.

use super::connection::Connection;
use super::dispatching::WAITING;
use super::granting::member_sql;
use super::leases::FREE;
use super::migrate;
use super::moving::find_sql;
use super::receipts::OWNER;
use super::recording::MOVE_PLANNED;
use super::tracking::CONTEXT;

/// The steps by which SQLite would run a statement.
fn plan(sql: &str) -> Vec<String> {
    let connection = Connection::in_memory();
    migrate::run(&connection).unwrap();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let unbound = std::iter::repeat_n(0, statement.parameter_count());
    let rows = statement.query_map(rusqlite::params_from_iter(unbound), |row| row.get(3)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn no_statement_of_a_message_scans() {
    for sql in
        [MOVE_PLANNED, FREE, WAITING, CONTEXT, &find_sql(), OWNER, &member_sql(false), &member_sql(true)]
    {
        let plan = plan(sql);
        assert!(plan.iter().any(|step| step.starts_with("SEARCH")), "{sql}: {plan:?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{sql}: {plan:?}");
    }
}

#[test]
fn an_address_is_found_without_its_app() {
    assert!(plan(OWNER).iter().any(|step| step.contains("channel=? AND address=?")), "{:?}", plan(OWNER));
}
