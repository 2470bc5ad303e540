//! The provider simulators as programs.

mod command;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use command::{Sms, Wechat};

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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::SmtpSink { listen, delay_ms } => {
            command::smtp_sink(listen, Duration::from_millis(delay_ms)).await
        }
        Command::Aliyun(sms) => command::aliyun(sms).await,
        Command::Tencent(sms) => command::tencent(sms).await,
        Command::Twilio(sms) => command::twilio(sms).await,
        Command::Smsc(sms) => command::smsc(sms).await,
        Command::Wechat(args) => command::wechat(args).await,
    }
}
