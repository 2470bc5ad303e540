//! `schema` and `metrics`: what this version takes and what it tells, from memory.

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::output::{Output, table};
use crate::model::job;
use crate::telemetry::Metrics;

/// The JSON Schema of all jobs.
pub(super) fn schema(out: Output) -> Result<Exit, Failure> {
    out.json(&job::schema())?;
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Metric {
    name: &'static str,
    r#type: &'static str,
    labels: &'static [&'static str],
    #[serde(skip_serializing_if = "<[f64]>::is_empty")]
    buckets: &'static [f64],
    help: &'static str,
}

/// Every metric that `/metrics` may show.
pub(super) fn metrics(out: Output) -> Result<Exit, Failure> {
    let metrics: Vec<Metric> = Metrics::catalogue()
        .map(|metric| Metric {
            name: metric.name,
            r#type: metric.kind,
            labels: metric.labels,
            buckets: metric.buckets,
            help: metric.help,
        })
        .collect();
    out.show(&metrics, || {
        table(
            ["NAME", "TYPE", "LABELS", "HELP"],
            metrics.iter().map(|metric| {
                [
                    metric.name.to_owned(),
                    metric.r#type.to_owned(),
                    metric.labels.join(","),
                    metric.help.to_owned(),
                ]
            }),
        )
    })?;
    Ok(Exit::Done)
}
