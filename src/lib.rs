//! campaignd delivers campaigns: a template, an audience and a channel become one accountable delivery a recipient.

pub mod access;
pub mod admin;
pub mod amqp;
pub mod app;
pub mod backoff;
pub mod batcher;
pub mod bounce;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod intake;
pub mod lifecycle;
pub mod mailbox;
pub mod model;
pub mod pages;
pub mod plan;
pub mod postgres_url;
pub mod provider;
pub mod render;
pub mod report;
pub mod spool;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod track;
