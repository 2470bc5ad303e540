//! `enqueue`: a job on its way, by RabbitMQ where configured, else to the daemon's own HTTP API. A job that cannot
//! be read is refused here, before it travels.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::daemon::{post_job, reachable, token};
use super::exit::{Exit, Failure};
use super::output::Output;
use super::session::{broker, configuration};
use super::warn;
use crate::amqp::{Topology, WorkQueue, publish_job};
use crate::config::Config;
use crate::model::Job;
use crate::model::job::MAX_JOB_BYTES;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd enqueue spring-sale.json
  echo '{\"type\": \"control\", \"id\": \"stop-1\", \"campaign\": \"spring-sale-2026\", \"action\": \"pause\"}' \\
    | campaignd enqueue -

Handing in the same job again is safe: its type and id make it known.")]
pub(super) struct Arguments {
    /// The job as JSON; `-` reads standard input
    file: PathBuf,
}

pub(super) async fn enqueue(path: &Path, arguments: &Arguments, out: Output) -> Result<Exit, Failure> {
    let config = configuration(path)?;
    let body = read(&arguments.file)?;
    let job = Job::read(&body).map_err(Failure::input)?.job;
    if config.amqp.is_some() {
        publish(&config, &job, &body, out).await
    } else {
        post(&config, body, out).await
    }
}

/// The whole file, and one byte more than a job may have where it is longer.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(open(file)?) };
    let mut body = Vec::new();
    let limit = MAX_JOB_BYTES as u64 + 1;
    source.take(limit).read_to_end(&mut body).with_context(|| file.display().to_string())?;
    if body.len() > MAX_JOB_BYTES {
        return Err(Failure::input(anyhow!("$: a job has at most 16 MiB: split its audience")));
    }
    Ok(body)
}

/// A file that is an argument: that it cannot be opened is the argument's fault.
pub(super) fn open(file: &Path) -> Result<std::fs::File, Failure> {
    std::fs::File::open(file)
        .with_context(|| format!("cannot open {}", file.display()))
        .map_err(Failure::usage)
}

async fn publish(config: &Config, job: &Job, body: &[u8], out: Output) -> Result<Exit, Failure> {
    let topology = Topology::default();
    let queue = WorkQueue::of(job.kind());
    publish_job(&broker(config)?, &topology, queue, body).await?;
    let (kind, id, queue) = (job.kind(), job.id(), topology.queue(queue));
    out.show(&json!({"type": kind, "id": id, "result": "queued", "queue": queue}), || {
        format!("{kind} {id}: queued in {queue}")
    })?;
    Ok(Exit::Done)
}

async fn post(config: &Config, body: Vec<u8>, out: Output) -> Result<Exit, Failure> {
    let admin = reachable(config.http.admin);
    let (status, answer) = post_job(admin, token(config).as_ref(), body).await.with_context(|| {
        format!("no daemon answers at {admin}; start `campaignd run`, or set `url` in [amqp]")
    })?;
    let word = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    if status.is_success() {
        for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
            warn(warning.as_str().unwrap_or_default());
        }
        out.show(&answer, || format!("{} {}: {}", word("type"), word("id"), word("result")))?;
        return Ok(Exit::Done);
    }
    let refused = anyhow!("the daemon at {admin} answers {status}: {}", word("detail"));
    let fault_of_the_job =
        [StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY, StatusCode::PAYLOAD_TOO_LARGE];
    Err(if fault_of_the_job.contains(&status) { Failure::input(refused) } else { refused.into() })
}
