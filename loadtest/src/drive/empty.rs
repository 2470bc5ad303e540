//! A RabbitMQ without the daemon's queues, so that the next daemon finds no job of the last one.

use anyhow::Context as _;
use clap::Args;
use lapin::options::QueueDeleteOptions;
use lapin::{Connection, ConnectionProperties};

#[derive(Debug, Args)]
pub(crate) struct Empty {
    #[arg(long)]
    amqp: String,
}

pub(super) async fn run(args: Empty) -> anyhow::Result<()> {
    let connection = Connection::connect(&args.amqp, ConnectionProperties::default())
        .await
        .context("RabbitMQ cannot be reached")?;
    let channel = connection.create_channel().await?;
    for queue in ["campaignd.jobs", "campaignd.messages", "campaignd.dead"] {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    }
    Ok(())
}
