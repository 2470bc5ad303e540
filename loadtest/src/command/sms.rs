//! The providers of SMS.

use std::net::SocketAddr;

use anyhow::Context as _;
use campaignd_loadtest::aliyun::{self, Aliyun};
use campaignd_loadtest::smpp::{self, Smsc};
use campaignd_loadtest::tencent::{self, Tencent};
use campaignd_loadtest::twilio::{self, Twilio};
use clap::Args;

use super::behaviour::{Behaviour, Codes};
use super::listen::{local, set, unrecorded};
use super::print;

/// A provider of SMS that listens.
#[derive(Debug, Args)]
pub(crate) struct Sms {
    /// Default: 127.0.0.1, aliyun 18081, tencent 18083, twilio 18085, smsc 12775
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// The account: access key id, secret id, account SID or system id; default: that of the SDKs' captures
    #[arg(long)]
    account: Option<String>,
    /// Its secret, token or password
    #[arg(long)]
    secret: Option<String>,
    /// Where receipts and replies are posted
    #[arg(long)]
    receipts_to: Option<String>,
    #[command(flatten)]
    behaviour: Behaviour,
}

impl Sms {
    fn listen(&self, port: u16) -> SocketAddr {
        self.listen.unwrap_or_else(|| local(port))
    }
}

pub(crate) async fn aliyun(sms: Sms) -> anyhow::Result<()> {
    let codes = Codes { error: "isp.SYSTEM_ERROR", bad: "isv.MOBILE_NUMBER_ILLEGAL", failed: "MK:0001" };
    let mut options = aliyun::Options {
        qps: sms.behaviour.qps,
        rules: sms.behaviour.rules(codes),
        seed: sms.behaviour.seed(),
        http: unrecorded(),
        ..aliyun::Options::default()
    };
    options.receipts = sms.behaviour.plan(options.receipts);
    set(&mut options.account.access_key_id, sms.account.as_ref());
    set(&mut options.account.access_key_secret, sms.secret.as_ref());
    let service = Aliyun::start(sms.listen(18081), options).await.context("cannot listen")?;
    sms.receipts_to.into_iter().for_each(|url| service.callbacks().aim(url));
    print(service.addr(), || (service.tally().counts(), service.callbacks().counts())).await
}

pub(crate) async fn tencent(sms: Sms) -> anyhow::Result<()> {
    let codes = Codes {
        error: "InternalError.OtherError",
        bad: "InvalidParameterValue.IncorrectPhoneNumber",
        failed: "MK:0001",
    };
    let mut options = tencent::Options {
        qps: sms.behaviour.qps,
        rules: sms.behaviour.rules(codes),
        seed: sms.behaviour.seed(),
        http: unrecorded(),
        ..tencent::Options::default()
    };
    options.receipts = sms.behaviour.plan(options.receipts);
    set(&mut options.account.secret_id, sms.account.as_ref());
    set(&mut options.account.secret_key, sms.secret.as_ref());
    let service = Tencent::start(sms.listen(18083), options).await.context("cannot listen")?;
    sms.receipts_to.into_iter().for_each(|url| service.callbacks().aim(url));
    print(service.addr(), || (service.tally().counts(), service.callbacks().counts())).await
}

pub(crate) async fn twilio(sms: Sms) -> anyhow::Result<()> {
    let codes = Codes { error: "20503", bad: "21614", failed: "30003" };
    let mut options = twilio::Options {
        qps: sms.behaviour.qps,
        rules: sms.behaviour.rules(codes),
        seed: sms.behaviour.seed(),
        http: unrecorded(),
        ..twilio::Options::default()
    };
    options.receipts = sms.behaviour.plan(options.receipts);
    set(&mut options.account.account_sid, sms.account.as_ref());
    set(&mut options.account.auth_token, sms.secret.as_ref());
    let service = Twilio::start(sms.listen(18085), options).await.context("cannot listen")?;
    sms.receipts_to.into_iter().for_each(|url| service.callbacks().aim(url));
    print(service.addr(), || (service.tally().counts(), service.callbacks().counts())).await
}

/// Receipts go to whoever is bound: `--receipts-to` says nothing here.
pub(crate) async fn smsc(sms: Sms) -> anyhow::Result<()> {
    anyhow::ensure!(
        sms.receipts_to.is_none(),
        "--receipts-to: an SMSC sends receipts over the bound connections"
    );
    let codes = Codes { error: "0x08", bad: "0x0B", failed: "UNDELIV" };
    let mut options = smpp::Options {
        qps: sms.behaviour.qps,
        rules: sms.behaviour.rules(codes),
        seed: sms.behaviour.seed(),
        ..smpp::Options::default()
    };
    options.receipts = sms.behaviour.plan(options.receipts);
    set(&mut options.account.system_id, sms.account.as_ref());
    set(&mut options.account.password, sms.secret.as_ref());
    let service = Smsc::start(sms.listen(12775), options).await.context("cannot listen")?;
    print(service.addr(), || (service.tally().counts(), service.receipts())).await
}
