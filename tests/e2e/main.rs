//! The real binary among real peers: PostgreSQL, RabbitMQ, mail servers and clients in other languages.
//!
//! Needs `scripts/test`, or `scripts/services up` and `eval "$(scripts/services env)"`.

#[cfg(test)]
mod access;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod bounces;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod control;
#[cfg(test)]
mod daemons;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod drains;
#[cfg(test)]
mod forged;
#[cfg(test)]
pub mod harness;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod mailhooks;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod permission;
#[cfg(test)]
mod push;
#[cfg(test)]
mod rate;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod schedule;
#[cfg(test)]
mod secrets;
#[cfg(test)]
#[path = "../it/harness/mod.rs"]
pub mod services;
#[cfg(test)]
mod slow_channel;
#[cfg(test)]
mod sms;
#[cfg(test)]
mod sms_rules;
#[cfg(test)]
mod smtp_by_npm;
#[cfg(test)]
mod smtp_faults;
#[cfg(test)]
mod spool;
#[cfg(test)]
mod stalls;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tracking;
#[cfg(test)]
mod turns;
#[cfg(test)]
mod webhook;
#[cfg(test)]
mod wechat;
#[cfg(test)]
mod whole_campaign;
