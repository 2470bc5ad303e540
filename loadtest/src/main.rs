//! The provider simulators, sinks and load drivers as programs.

mod command;
mod drive;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use command::{Apns, Fcm, Push, Sink, Sms, Wechat};

#[derive(Parser)]
#[command(about = "Provider simulators for campaignd, and what its measurements need")]
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
    /// Take messages as fast as one thread can, for measuring; judge and keep nothing
    Sink(Sink),
    /// Load the daemon, or one of its neighbours without it
    #[command(subcommand)]
    Drive(drive::Drive),
    /// Be Alibaba Cloud's SMS service
    Aliyun(Sms),
    /// Be Tencent Cloud's SMS service
    Tencent(Sms),
    /// Be Twilio
    Twilio(Sms),
    /// Be an SMSC that speaks SMPP 3.4
    Smsc(Sms),
    /// Be WeChat's official account platform
    Wechat(Wechat),
    /// Be Firebase Cloud Messaging
    Fcm(Fcm),
    /// Be Apple's push service
    Apns(Apns),
    /// Be JPush
    Jpush(Push),
    /// Be Getui
    Getui(Push),
}

impl Command {
    /// What measures others leaves them the rest of the machine.
    fn on_one_thread(&self) -> bool {
        matches!(self, Command::Sink(_) | Command::Drive(_))
    }
}

fn main() -> anyhow::Result<()> {
    let command = Cli::parse().command;
    let mut runtime = match command.on_one_thread() {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(run(command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Drive(what) => drive::drive(what).await,
        Command::Sink(args) => command::sink(args).await,
        Command::SmtpSink { listen, delay_ms } => {
            command::smtp_sink(listen, Duration::from_millis(delay_ms)).await
        }
        Command::Aliyun(sms) => command::aliyun(sms).await,
        Command::Tencent(sms) => command::tencent(sms).await,
        Command::Twilio(sms) => command::twilio(sms).await,
        Command::Smsc(sms) => command::smsc(sms).await,
        Command::Wechat(args) => command::wechat(args).await,
        Command::Fcm(args) => command::fcm(args).await,
        Command::Apns(args) => command::apns(args).await,
        Command::Jpush(args) => command::jpush(args).await,
        Command::Getui(args) => command::getui(args).await,
    }
}
