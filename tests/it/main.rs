//! The parts against a real PostgreSQL and a real RabbitMQ, and the rules that the source keeps.
//!
//! Needs `scripts/test`, or `scripts/services up` and `eval "$(scripts/services env)"`.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod dashboards;
#[cfg(test)]
mod dkim;
#[cfg(test)]
mod docs;
#[cfg(test)]
pub mod harness;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod signatures;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod store;
