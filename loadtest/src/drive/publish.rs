//! Single messages into `campaignd.messages`: a mail each to a contact of its own, with a mark by which the sink knows
//! it. When each was published is written beside its number.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use serde_json::json;
use tokio::time::Instant;

use super::{now_micros, tell};

/// Messages without a confirm, at most.
const WINDOW: usize = 1_000;
const PERSISTENT: u8 = 2;

#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[arg(long)]
    amqp: String,
    /// The number of the first message, and of its contact: 7 is for C0000007
    #[arg(long, default_value_t = 0)]
    first: u32,
    #[arg(long)]
    count: u32,
    /// A second; absent: as fast as RabbitMQ confirms
    #[arg(long)]
    rate: Option<f64>,
    /// Their ids begin with it
    #[arg(long, default_value = "single")]
    prefix: String,
    /// Where `NUMBER MICROSECONDS` is written, when each was handed to the connection
    #[arg(long)]
    marks: PathBuf,
}

pub(super) async fn run(args: Publish) -> anyhow::Result<()> {
    let connection = Connection::connect(&args.amqp, ConnectionProperties::default())
        .await
        .context("RabbitMQ cannot be reached")?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(ShortString::from("application/json"));
    // Without `mandatory` a message that no queue takes is confirmed, too.
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut marks = std::io::BufWriter::new(std::fs::File::create(&args.marks)?);
    let mut waiting = VecDeque::with_capacity(WINDOW);
    let began = Instant::now();
    for sent in 0..args.count {
        if let Some(rate) = args.rate {
            tokio::time::sleep_until(began + Duration::from_secs_f64(f64::from(sent) / rate)).await;
        }
        let number = args.first + sent;
        let body = message(&args.prefix, number);
        writeln!(marks, "{number} {}", now_micros())?;
        let queue = ShortString::from("campaignd.messages");
        let sent =
            channel.basic_publish(ShortString::default(), queue, options, &body, properties.clone()).await?;
        waiting.push_back(sent);
        if waiting.len() == WINDOW
            && let Some(oldest) = waiting.pop_front()
        {
            taken(&oldest.await?)?;
        }
    }
    for confirm in waiting {
        taken(&confirm.await?)?;
    }
    marks.flush()?;
    tell(&json!({"messages": args.count, "seconds": began.elapsed().as_secs_f64()}));
    Ok(())
}

fn message(prefix: &str, number: u32) -> Vec<u8> {
    json!({
        "type": "message", "id": format!("{prefix}-{number}"), "campaign": prefix, "channel": "email",
        "purpose": "service", "template": "newsletter", "to": {"external_id": format!("C{number:07}")},
        "data": {"discount": format!("mark-{number}")},
    })
    .to_string()
    .into_bytes()
}

fn taken(confirm: &Confirmation) -> anyhow::Result<()> {
    ensure!(matches!(confirm, Confirmation::Ack(None)), "RabbitMQ did not take a message: is the daemon up?");
    Ok(())
}
