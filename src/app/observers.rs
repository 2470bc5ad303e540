//! Metrics behind the small observer traits of the parts that know none.

use std::sync::Arc;
use std::time::Duration;

use crate::amqp::{self, SessionEnd};
use crate::http;
use crate::intake::{self, Received, Settled};
use crate::telemetry::{Component, Metrics};
use crate::track;

#[derive(Debug)]
pub(super) struct Observers {
    pub(super) metrics: Arc<Metrics>,
}

impl intake::Observe for Observers {
    fn received(&self, kind: &'static str, result: Received) {
        self.metrics.jobs_received.with_label_values(&[kind, result.as_str()]).inc();
    }

    fn settled(&self, result: Settled) {
        self.metrics.settled.with_label_values(&[result.as_str()]).inc();
    }
}

impl track::Observer for Observers {
    fn answered(&self, kind: &'static str, verdict: &'static str, code: u16, elapsed: Duration) {
        self.metrics.tracking_requests.with_label_values(&[kind, verdict, &code.to_string()]).inc();
        self.metrics.tracking_request_duration.observe(elapsed.as_secs_f64());
    }
}

impl http::Watch for Observers {
    fn opened(&self) {
        self.metrics.public_connections.inc();
    }

    fn closed(&self) {
        self.metrics.public_connections.dec();
    }

    fn turned_away(&self) {
        self.metrics.public_connections_refused.inc();
    }
}

/// The session that takes jobs from RabbitMQ: readiness hangs on it.
#[derive(Debug)]
pub(super) struct AmqpObserver {
    pub(super) metrics: Arc<Metrics>,
    pub(super) component: Component,
}

impl amqp::Observe for AmqpObserver {
    fn connected(&self, connected: bool) {
        self.metrics.amqp_connected.set(i64::from(connected));
        if connected {
            self.component.ready();
        } else {
            self.component.not_ready("no session with RabbitMQ");
        }
    }

    fn session_ended(&self, end: SessionEnd) {
        self.metrics.amqp_sessions.with_label_values(&[end.as_str()]).inc();
    }
}

/// The session that publishes events: what it cannot publish stays in the outbox, so readiness does not hang on it.
#[derive(Debug)]
pub(super) struct PublisherObserver {
    pub(super) metrics: Arc<Metrics>,
}

impl amqp::Observe for PublisherObserver {
    fn connected(&self, _: bool) {}

    fn session_ended(&self, end: SessionEnd) {
        self.metrics.amqp_sessions.with_label_values(&[end.as_str()]).inc();
    }
}
