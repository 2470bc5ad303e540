//! `demo`: the product at work with nothing installed. A daemon on a store of its own, invented people, a campaign on
//! each channel through the sandbox, and people who open, click and unsubscribe over HTTP as real ones do.
//!
//! Uses no network but loopback, and leaves no files behind unless told where.

mod audience;
mod board;
mod campaigns;
mod funnel;
mod home;
mod people;
mod reader;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use hyper::StatusCode;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::audience::{Audience, Plans};
use self::board::Board;
use self::campaigns::Programme;
use self::funnel::{Account, accounts};
use self::home::Home;
use super::daemon::post_job;
use super::exit::{Exit, Failure, tell};
use super::output::Output;
use crate::app::{self, Listening};
use crate::report::Report;
use crate::store::Store;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(400);
/// Once everything is sent: how long no number may move before the demo takes it for the end. Longer than receipts take.
const QUIET: Duration = Duration::from_secs(4);
/// How long nothing may move while something is left to do.
const STUCK: Duration = Duration::from_secs(60);
/// The time over which single messages come in.
const MESSAGES: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd demo
  campaignd demo --exit --contacts 300
  campaignd demo --data shop              # and again later: it goes on where it was
  campaignd --config shop/config.toml report spring-sale

Reads no configuration and no environment variable of yours, and sends nothing to anyone.")]
pub(super) struct Arguments {
    /// How many people there are
    #[arg(long, default_value_t = 3_000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=200_000))]
    contacts: u32,
    /// End after the funnel instead of serving the pages
    #[arg(long)]
    exit: bool,
    /// Keep everything in this folder, and go on with what is there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Other people, other fates
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

pub(super) async fn demo(arguments: &Arguments, out: Output) -> Result<Exit, Failure> {
    let home = Home::open(arguments.data.as_deref())?;
    let config = home.config(arguments.contacts as usize, arguments.seed)?;
    let store = app::open_store(&config)?;
    let stop = CancellationToken::new();
    let (started, listening) = oneshot::channel();
    // Nobody listens any more where the demo has ended already.
    let tell_where = |listening| started.send(listening).unwrap_or_default();
    let daemon = app::run(config, home.config_path(), store.clone(), stop.clone(), tell_where);
    let mut daemon = pin!(Box::pin(daemon));
    let tour = Tour { arguments, home: &home, store, out };
    let toured = tokio::select! {
        // A signal has come: the daemon drains, and what the tour makes of that does not matter.
        biased;
        () = stop.cancelled() => Err(anyhow!("stopped before its end")),
        ended = &mut daemon => return Err(ended.err().unwrap_or_else(|| anyhow!("stopped before its end")).into()),
        toured = tour.run(listening) => toured,
    };
    if arguments.exit || toured.is_err() {
        stop.cancel();
    } else {
        tell(if home.is_kept() {
            "Ctrl-C ends the demo."
        } else {
            "Ctrl-C ends the demo and removes its files."
        });
    }
    let drained = daemon.await;
    let exit = toured?;
    drained?;
    Ok(exit)
}

/// Everything but the daemon.
struct Tour<'a> {
    arguments: &'a Arguments,
    home: &'a Home,
    store: Arc<dyn Store>,
    out: Output,
}

impl Tour<'_> {
    /// From the first contact to the funnel.
    async fn run(&self, listening: oneshot::Receiver<Listening>) -> Result<Exit> {
        let listening = listening.await.context("the daemon")?;
        let (size, seed) = (self.arguments.contacts as usize, self.arguments.seed);
        self.home.note(listening, size, seed)?;
        let admin = listening.admin;
        tell(&format!("Pages: http://{admin}/ and http://{admin}/sandbox, where the messages arrive.\n"));

        let programme = Programme::of(&people::people(size, seed));
        for job in &programme.contacts {
            self.post(listening, job).await?;
        }
        self.store.suppress(&programme.suppressed).await.context("suppressing")?;
        for job in &programme.campaigns {
            self.post(listening, job).await?;
        }
        let plans = Plans::default();
        let accounts = tokio::select! {
            accounts = self.watch(&programme, &plans) => accounts?,
            failed = Audience::new(listening, seed, plans.clone()).live() => return failed.map(|()| Exit::Failed),
            failed = self.send(listening, &programme.messages) => return failed.map(|()| Exit::Failed),
        };
        self.conclude(&accounts, listening).await
    }

    /// Hands in a job; one that came before changes nothing.
    async fn post(&self, listening: Listening, job: &Value) -> Result<()> {
        let (status, answer) =
            post_job(listening.admin, None, job.to_string()).await.context("the daemon")?;
        match status {
            StatusCode::ACCEPTED | StatusCode::OK => Ok(()),
            StatusCode::CONFLICT => {
                bail!(
                    "the folder holds another demo: name its --contacts and --seed, or another folder by --data"
                )
            }
            _ => bail!("the daemon answers {status}: {}", answer["detail"].as_str().unwrap_or_default()),
        }
    }

    /// Single messages, one after the other, as orders come in. Never returns unless one is refused.
    async fn send(&self, listening: Listening, messages: &[Value]) -> Result<()> {
        let pause = MESSAGES / u32::try_from(messages.len()).unwrap_or(u32::MAX).max(60);
        for message in messages {
            self.post(listening, message).await?;
            sleep(pause).await;
        }
        std::future::pending().await
    }

    /// Shows progress until everything is sent and read and no number moves any more, or until nothing goes on.
    async fn watch(&self, programme: &Programme, plans: &Plans) -> Result<Vec<Account>> {
        let mut now = accounts(&*self.store, &programme.expected).await?;
        let mut board = Board::new(&now)?;
        let mut moved = Instant::now();
        loop {
            let done = now.iter().all(Account::is_done) && plans.left() == 0;
            if moved.elapsed() > if done { QUIET } else { STUCK } {
                board.end(&now);
                return Ok(now);
            }
            sleep(LOOK).await;
            let next = accounts(&*self.store, &programme.expected).await?;
            board.show(&next);
            if next.iter().zip(&now).any(|(next, now)| !next.says_the_same(now)) {
                moved = Instant::now();
            }
            now = next;
        }
    }

    /// The funnel, the law, and where to look further.
    async fn conclude(&self, accounts: &[Account], listening: Listening) -> Result<Exit> {
        let reports: Vec<&Report> = accounts.iter().filter_map(|account| account.report.as_ref()).collect();
        let mut breaches = Vec::new();
        for account in accounts {
            breaches.extend(account.breaches(&*self.store).await?);
        }
        let recipients: i64 = reports.iter().map(|report| report.targeted).sum();
        self.out.show(&reports, || {
            let tables = funnel::tables(&reports);
            match breaches.len() {
                0 => format!(
                    "{tables}\n\nThe law of the ledger holds: each of {recipients} recipients has one fate.\n"
                ),
                _ => tables,
            }
        })?;
        if !self.arguments.exit || self.home.is_kept() {
            self.tell_where_to_look(listening);
        }
        for breach in &breaches {
            tell(&format!("error: the law of the ledger does not hold: {breach}"));
        }
        Ok(if breaches.is_empty() { Exit::Done } else { Exit::Failed })
    }

    fn tell_where_to_look(&self, Listening { admin, .. }: Listening) {
        let config = self.home.config_path();
        let (config, example) = (config.display(), campaigns::example());
        if !self.arguments.exit {
            tell(&format!("\n  reports    http://{admin}/\n  messages   http://{admin}/sandbox"));
        }
        tell(&format!("  one story  campaignd --config {config} explain spring-sale {example}\n"));
    }
}
