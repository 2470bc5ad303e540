//! The real binary among real peers: PostgreSQL, RabbitMQ, mail servers and clients in other languages.
//!
//! Needs `scripts/test`, or `scripts/services up` and `eval "$(scripts/services env)"`.

#[cfg(test)]
pub mod harness;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod rate;
#[cfg(test)]
#[path = "../it/harness/mod.rs"]
pub mod services;
#[cfg(test)]
mod whole_campaign;
