//! The simulators as programs: they listen, behave as their options say, and print what came each second.

mod behaviour;
mod listen;
mod push;
mod sink;
mod sms;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use campaignd_loadtest::callback;
use campaignd_loadtest::smtp::{self, Action, Event, Keep, Options};
use campaignd_loadtest::tally;

pub(crate) use push::{Apns, Fcm, Push, Wechat, apns, fcm, getui, jpush, wechat};
pub(crate) use sink::{Sink, sink};
pub(crate) use sms::{Sms, aliyun, smsc, tencent, twilio};

#[expect(clippy::print_stdout, reason = "the counts are the program's result")]
pub(crate) async fn smtp_sink(listen: SocketAddr, delay: Duration) -> anyhow::Result<()> {
    let mut options = Options { keep: Keep::Counts, ..Options::default() };
    if !delay.is_zero() {
        options = options.script(move |event| match event {
            Event::End { .. } => Action::Wait(delay),
            _ => Action::Go,
        });
    }
    let sink =
        smtp::Sink::start(listen, options).await.with_context(|| format!("cannot listen on {listen}"))?;
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

/// Prints each second what was taken and what became of the receipts, for as long as the program runs.
#[expect(clippy::print_stdout, reason = "the counts are the program's result")]
async fn print(
    listening: SocketAddr,
    counts: impl Fn() -> (tally::Counts, callback::Counts),
) -> anyhow::Result<()> {
    println!("listening on {listening}");
    let mut last = counts();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        let now = counts();
        if now != last {
            let (taken, receipts) = now;
            println!(
                "{} messages/s; {} messages to {} recipients, {} repeated; receipts: {} taken, {} refused, {} given up",
                taken.messages - last.0.messages,
                taken.messages,
                taken.recipients,
                taken.repeated,
                receipts.taken,
                receipts.refused,
                receipts.given_up
            );
        }
        last = now;
    }
}
