//! `man`: manual pages, made from the same words as `--help`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap_mangen::{Man, generate_to};

use super::exit::{Exit, Failure};
use super::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd man | man -l -
  campaignd man --dir ~/.local/share/man/man1")]
pub(super) struct Arguments {
    /// Write `campaignd.1`, `campaignd-run.1` and so on into this folder, which is made where it is missing
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn man(arguments: &Arguments, cli: clap::Command, out: Output) -> Result<Exit, Failure> {
    // `help` has a page a command of its own, which say nothing more.
    let cli = cli.disable_help_subcommand(true);
    match &arguments.dir {
        Some(dir) => std::fs::create_dir_all(dir)
            .and_then(|()| generate_to(cli, dir))
            .with_context(|| format!("cannot write manual pages into {}", dir.display()))?,
        None => {
            let mut page = Vec::new();
            Man::new(cli).render(&mut page)?;
            out.text(&String::from_utf8(page)?)?;
        }
    }
    Ok(Exit::Done)
}
