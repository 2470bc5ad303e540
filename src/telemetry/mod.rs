//! What operators see of a running daemon: metrics, logs, health. No part holds a global; each is made once and handed
//! around.

pub mod health;
pub mod logs;
pub mod metrics;
mod outage;

pub use health::{Component, Health, Heartbeat, router};
pub use metrics::Metrics;
pub use outage::Outage;
