//! What a test needs of the services: a database of its own, a virtual host of its own, patience.
//!
//! A test without its service fails and says how to start it. Both test binaries use this module.

pub mod broker;
pub mod database;
pub mod wait;

/// The variable's value; without it the test fails.
fn service_url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set: run scripts/test, or scripts/services up and eval \"$(scripts/services env)\""
        )
    })
}
