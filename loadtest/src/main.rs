//! The provider simulators as programs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use campaignd_loadtest::smtp::{Action, Event, Keep, Options, Sink};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Provider simulators for campaignd")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take mail in over SMTP, deliver nothing, print what came each second
    SmtpSink {
        #[arg(long, default_value = "127.0.0.1:2525")]
        listen: SocketAddr,
        /// Answer each final dot after so many milliseconds
        #[arg(long, default_value_t = 0)]
        delay_ms: u64,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::SmtpSink { listen, delay_ms } => smtp_sink(listen, Duration::from_millis(delay_ms)).await,
    }
}

#[expect(clippy::print_stdout, reason = "the counts are the program's result")]
async fn smtp_sink(listen: SocketAddr, delay: Duration) -> anyhow::Result<()> {
    let mut options = Options { keep: Keep::Counts, ..Options::default() };
    if !delay.is_zero() {
        options = options.script(move |event| match event {
            Event::End { .. } => Action::Wait(delay),
            _ => Action::Go,
        });
    }
    let sink = Sink::start(listen, options).await.with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening on {}", sink.addr());
    let mut last = sink.counts();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        let now = sink.counts();
        if now != last {
            println!(
                "{} messages/s, {} MB/s; {} messages over {} connections in all",
                now.messages - last.messages,
                (now.bytes - last.bytes) / 1_000_000,
                now.messages,
                now.connections
            );
        }
        last = now;
    }
}
