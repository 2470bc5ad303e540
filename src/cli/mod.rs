//! The command line: one file a command.
//!
//! Results go to standard output, progress, warnings and errors to standard error. The exit code is one of
//! [`Exit`]; nothing else is promised about the wording.

mod audit;
mod campaigns;
mod catalogue;
mod check;
mod completions;
mod contacts;
mod daemon;
mod dead;
mod demo;
mod enqueue;
mod exit;
mod explain;
mod job_data;
mod keys;
mod man;
mod migrate;
mod operator;
mod output;
mod preview;
mod records;
mod rendering;
mod report;
mod resolve;
mod run;
mod send_test;
mod session;
mod suppress;
mod tokens;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

#[cfg(any(test, fuzzing))]
pub(crate) use self::contacts::fuzzing as imported;
use self::exit::{Exit, Failure, tell};
use self::output::Output;
use crate::telemetry::logs;

/// What a command other than `run` logs where `RUST_LOG` says nothing: its errors say the rest.
const QUIET: &str = "warn,lapin=off";

/// Delivers campaigns: jobs from RabbitMQ or HTTP, one accountable delivery a recipient.
#[derive(Debug, Parser)]
#[command(name = "campaignd", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "config.toml")]
    config: PathBuf,
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  campaignd demo                                    # see it work, with nothing installed
  campaignd check                                   # is everything right?
  campaignd run                                     # the daemon
  campaignd contacts import people.csv --consent
  campaignd enqueue spring-sale.json
  campaignd report spring-sale-2026

Exit codes: 0 done, 1 failed or not found, 64 bad configuration or arguments, 65 bad input.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or SIGINT; SIGHUP reads rates and templates again
    #[command(after_help = "Example:\n  campaignd --config /etc/campaignd/config.toml run")]
    Run,
    /// See it work with nothing installed: people, campaigns on every channel, opens and clicks, reports
    Demo(demo::Arguments),
    /// Find everything that is wrong with the configuration and the templates; connects to nothing
    #[command(after_help = "Example:\n  campaignd check && systemctl reload campaignd")]
    Check,
    /// Bring the store's schema up to this version
    #[command(after_help = "Example:\n  campaignd migrate && campaignd run")]
    Migrate,
    /// Hand in a job, by RabbitMQ where configured, else by HTTP
    Enqueue(enqueue::Arguments),
    /// Import, show, export and erase contacts
    #[command(subcommand)]
    Contacts(contacts::Command),
    /// List and control campaigns
    Campaigns(campaigns::Arguments),
    /// A campaign in numbers: funnel, rates, links, hours
    Report(report::Arguments),
    /// Why a contact did or did not get a campaign: every decision and attempt
    Explain(explain::Arguments),
    /// Show a template's message as a contact would get it
    Preview(preview::Arguments),
    /// Send one marked test message through the real provider, outside reports
    SendTest(send_test::Arguments),
    /// Settle a delivery that is `unknown`, once you know what became of it
    Resolve(resolve::Arguments),
    /// Addresses that get nothing, whoever owns them
    #[command(subcommand)]
    Suppress(suppress::Command),
    /// Look at, retry or drop jobs that could not be accepted
    #[command(subcommand)]
    Dead(dead::Command),
    /// API tokens for the admin listener
    #[command(subcommand)]
    Tokens(tokens::Command),
    /// Keys that sign links, pixels and bounce addresses
    #[command(subcommand)]
    Keys(keys::Command),
    /// Who did what
    Audit(audit::Arguments),
    /// Print the JSON Schema of all jobs
    #[command(after_help = "Example:\n  campaignd schema > job.schema.json")]
    Schema,
    /// Print every metric, what it says and what to alert on
    #[command(after_help = "Example:\n  campaignd metrics | grep Alert")]
    Metrics,
    /// Print a script that completes the commands of a shell
    Completions(completions::Arguments),
    /// Print the manual page, or write one page a command into a folder
    Man(man::Arguments),
}

/// Reads the arguments, runs the command and says how it ended.
pub fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => start(cli).unwrap_or_else(|failure| failure.report()),
        Err(answer) => {
            let asked_for = answer.exit_code() == 0;
            match answer.print() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed,
                _ if asked_for => Exit::Done,
                _ => Exit::Usage,
            }
        }
    };
    exit.into()
}

fn start(cli: Cli) -> Result<Exit, Failure> {
    let out = Output { json: cli.json };
    if !matches!(cli.command, Command::Run) {
        let level = std::env::var("RUST_LOG").unwrap_or_else(|_| QUIET.to_owned());
        logs::start(logs::Format::Plain, &level).map_err(Failure::usage)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(execute(cli, out))
}

async fn execute(cli: Cli, out: Output) -> Result<Exit, Failure> {
    let config = &cli.config;
    match cli.command {
        Command::Run => Box::pin(run::run(config)).await,
        Command::Demo(arguments) => Box::pin(demo::demo(&arguments, out)).await,
        Command::Check => check::check(config, out),
        Command::Migrate => migrate::migrate(config, out).await,
        Command::Enqueue(arguments) => Box::pin(enqueue::enqueue(config, &arguments, out)).await,
        Command::Contacts(command) => Box::pin(contacts::execute(config, command, out)).await,
        Command::Campaigns(arguments) => campaigns::execute(config, arguments, out).await,
        Command::Report(arguments) => report::report(config, &arguments, out).await,
        Command::Explain(arguments) => explain::explain(config, &arguments, out).await,
        Command::Preview(arguments) => preview::preview(config, &arguments, out).await,
        Command::SendTest(arguments) => Box::pin(send_test::send_test(config, &arguments, out)).await,
        Command::Resolve(arguments) => resolve::resolve(config, &arguments, out).await,
        Command::Suppress(command) => suppress::execute(config, command, out).await,
        Command::Dead(command) => Box::pin(dead::execute(config, command, out)).await,
        Command::Tokens(command) => tokens::execute(config, command, out).await,
        Command::Keys(command) => keys::execute(config, command, out).await,
        Command::Audit(arguments) => audit::audit(config, arguments, out).await,
        Command::Schema => catalogue::schema(out),
        Command::Metrics => catalogue::metrics(out),
        Command::Completions(arguments) => completions::completions(&arguments, Cli::command(), out),
        Command::Man(arguments) => man::man(&arguments, Cli::command(), out),
    }
}

/// One `warning:` line for people.
fn warn(text: &str) {
    tell(&format!("warning: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_each_command_has_examples() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        let own = |cli: &'_ clap::Command| -> Vec<clap::Command> {
            cli.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect()
        };
        let outer = own(&cli);
        for command in outer.iter().flat_map(own).chain(outer.clone()) {
            let name = command.get_name();
            let help = command.clone().render_long_help().to_string();
            let examples = help.split_once("Example").map_or("", |(_, examples)| examples);
            assert!(examples.contains("campaignd ") && examples.contains(name), "{name}: no example");
        }
    }

    #[test]
    fn every_command_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
        let docs = std::fs::read_to_string(path).unwrap();
        let mut unmentioned = Vec::new();
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let inner = command.get_subcommands().map(|inner| format!("{name} {}", inner.get_name()));
            unmentioned.extend(std::iter::once(name.to_owned()).chain(inner).filter(|words| {
                // What a command does where it is named alone needs no line of its own.
                words != "campaigns list" && !docs.contains(&format!("campaignd {words}"))
            }));
        }
        assert_eq!(unmentioned, Vec::<String>::new());
    }
}
